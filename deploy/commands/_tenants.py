"""Tenants, for the commands that work on one: found by name, or made with a key of its own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from api.credentials import hash_api_key, key_prefix, new_api_key
from ledger.ports import Meta
from ledger.store import Connection, Pool, tenant_transaction
from ledger.submission import Item, Outcome, Rendered, Submission
from schemas.access import RecordApiKeyCreated

if TYPE_CHECKING:
    from deploy.wiring import House

_KEY_ID: Final = 1
_ACTOR: Final = "system:command-line"


async def tenant_named(pool: Pool, slug: str | None) -> int:
    """Return the id of the tenant with this slug; with None, of the first one there is.

    Raises LookupError, saying what there is, when there is no such tenant.
    """
    slugs: dict[str, int] = {}
    async with pool.acquire() as connection:
        tenant_ids = [row[0] for row in await connection.fetch("SELECT ledger.tenant_ids()")]
    for tenant_id in tenant_ids:
        async with tenant_transaction(pool, tenant_id) as connection:
            name = await connection.fetchval(
                "SELECT slug FROM ledger.tenant WHERE tenant_id = $1", tenant_id
            )
            slugs[name] = tenant_id
            if slug in (None, name):
                return tenant_id
    if not slugs:
        raise LookupError("there is no tenant yet: start the service once, with make run")
    raise LookupError(f"there is no tenant {slug!r}; there are: {', '.join(slugs)}")


async def create_tenant_with_key(house: "House", slug: str, name: str) -> tuple[int, str]:
    """Make a tenant and an API key that may read and write; return its id and the key.

    Raises asyncpg.UniqueViolationError when the slug is taken.
    """
    async with house.admin() as connection:
        tenant_id: int = await connection.fetchval(
            "SELECT ledger.create_tenant($1, $2, 'UTC', $3, $4)", slug, name, uuid4(), house.now()
        )
    api_key = new_api_key(tenant_id)
    command = RecordApiKeyCreated(
        key_id=_KEY_ID,
        name="First key",
        key_prefix=key_prefix(api_key),
        permissions=("read", "write"),
    )

    async def keep_hash(connection: Connection, _outcomes: Sequence[Outcome]) -> None:
        await connection.execute(
            """
            INSERT INTO access.api_key
                (tenant_id, key_id, name, key_prefix, key_hash, permissions, created_by, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            """,
            tenant_id,
            command.key_id,
            command.name,
            command.key_prefix,
            hash_api_key(api_key),
            list(command.permissions),
            _ACTOR,
            house.now(),
        )

    await house.committer.submit(
        Submission(
            tenant_id=tenant_id,
            items=[Item(command)],
            meta=Meta(actor=_ACTOR, source="command-line"),
            render=_rendered,
            side_effect=keep_hash,
        )
    )
    return tenant_id, api_key


def _rendered(outcomes: Sequence[Outcome]) -> Rendered:
    refusal = outcomes[0].refusal
    if refusal is not None:
        raise RuntimeError(f"the key could not be made: {refusal.detail()}")
    return Rendered(201, b"")
