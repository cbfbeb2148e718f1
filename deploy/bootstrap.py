"""The first start: a tenant, its owner and an API key, so that there is somebody to serve."""

import re
import secrets
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import uuid4

from api.credentials import (
    KEY_MARK,
    Passwords,
    email_digest,
    hash_api_key,
    is_well_formed,
    key_prefix,
    new_api_key,
    tenant_of_key,
)
from deploy.settings import InvalidSettings, Settings
from deploy.wiring import House
from ledger.ports import Meta
from ledger.store import Connection, tenant_transaction
from ledger.submission import Item, Outcome, Rendered, Submission
from schemas.access import RecordApiKeyCreated, RecordUserAdded

FIRST_TENANT: Final = 1
USER_ID: Final = 1
KEY_ID: Final = 1
OWNER_NAME: Final = "Owner"
KEY_NAME: Final = "First key"


class Founded(NamedTuple):
    """A new tenant, with the secrets of its owner and key, which can be shown this once.

    ``shown_password`` and ``shown_api_key`` are None where the caller gave them. miPOS's clients
    name the tenant by ``inventory_system_id``, and its owner by ``user_id_tps``.
    """

    tenant_id: int
    tenant: str
    email: str
    api_key: str
    shown_password: str | None
    shown_api_key: str | None
    inventory_system_id: str
    user_id_tps: str = str(USER_ID)


async def bootstrap(house: House) -> Founded | None:
    """Make the first tenant, its owner and its key where there is no tenant; else return None.

    A start that was cut off after the tenant is gone on with. Raises InvalidSettings when the
    bootstrap settings cannot be met.
    """
    settings = house.all_settings
    _require_usable_key(settings)
    async with house.admin() as connection:
        tenants = [row[0] for row in await connection.fetch("SELECT ledger.tenant_ids()")]
    if tenants not in ([], [FIRST_TENANT]):
        return None
    name = settings.bootstrap_tenant or "Default"
    if not tenants:
        await create_tenant(house, name)
    async with tenant_transaction(house.pool, FIRST_TENANT) as connection:
        if await connection.fetchval("SELECT EXISTS (SELECT FROM access.app_user)"):
            return None
        name = (await connection.fetchval("SELECT name FROM ledger.tenant")) or name
    return await _admit(
        house,
        FIRST_TENANT,
        name,
        email=settings.bootstrap_owner_email,
        password=settings.bootstrap_owner_password,
        api_key=settings.bootstrap_api_key,
    )


async def found_tenant(
    house: House,
    name: str,
    *,
    email: str,
    password: str | None = None,
    time_zone: str = "UTC",
) -> Founded:
    """Make a tenant with an owner, whose address must be new, and an API key.

    Raises asyncpg.UniqueViolationError when another tenant's slug or user is the same.
    """
    tenant_id = await create_tenant(house, name, time_zone=time_zone)
    return await _admit(house, tenant_id, name, email=email, password=password, api_key=None)


async def create_tenant(house: House, name: str, *, time_zone: str = "UTC") -> int:
    """Make a tenant that nobody may use yet; return its id."""
    async with house.admin() as connection:
        tenant_id: Any = await connection.fetchval(
            "SELECT ledger.create_tenant($1, $2, $3, $4, $5)",
            slug(name),
            name,
            time_zone,
            uuid4(),
            house.now(),
        )
    return tenant_id


def _require_usable_key(settings: Settings) -> None:
    """Refuse a given key that looks like one of ours and is none: no request could use it."""
    key = settings.bootstrap_api_key
    if key is None or not key.startswith(KEY_MARK):
        return
    if not is_well_formed(key) or tenant_of_key(key) != FIRST_TENANT:
        raise InvalidSettings(
            [
                (
                    f"STOCKLEDGER_BOOTSTRAP_API_KEY: a key that begins with {KEY_MARK} must be one "
                    "that Stockledger made for its first tenant; any other 24 characters do"
                )
            ]
        )


async def _admit(
    house: House,
    tenant_id: int,
    name: str,
    *,
    email: str,
    password: str | None,
    api_key: str | None,
) -> Founded:
    """Write a new tenant's owner and key, and that they came to be, in one transaction."""
    chosen_password = password or secrets.token_urlsafe(12)
    key = api_key or new_api_key(tenant_id)
    password_hash = await Passwords(threads=1).hash(chosen_password)
    permissions = ("read", "write")

    async def write_rows(connection: Connection, _outcomes: Sequence[Outcome]) -> None:
        now = house.now()
        await connection.execute(
            """
            INSERT INTO access.app_user
                (tenant_id, user_id, name, email, password_hash, role, created_at)
            VALUES ($6, $1, $2, $3, $4, 'owner', $5)
            """,
            USER_ID,
            OWNER_NAME,
            email,
            password_hash,
            now,
            tenant_id,
        )
        await connection.execute(
            "INSERT INTO access.login_directory (email_digest, tenant_id, user_id) "
            "VALUES ($1, $2, $3)",
            email_digest(email),
            tenant_id,
            USER_ID,
        )
        await connection.execute(
            """
            INSERT INTO access.api_key
                (tenant_id, key_id, name, key_prefix, key_hash, permissions, created_by, created_at)
            VALUES ($7, $1, $2, $3, $4, $5, 'system:bootstrap', $6)
            """,
            KEY_ID,
            KEY_NAME,
            key_prefix(key),
            hash_api_key(key),
            list(permissions),
            now,
            tenant_id,
        )

    await house.committer.submit(
        Submission(
            tenant_id=tenant_id,
            items=[
                Item(RecordUserAdded(user_id=USER_ID, name=OWNER_NAME, email=email, role="owner")),
                Item(
                    RecordApiKeyCreated(
                        key_id=KEY_ID,
                        name=KEY_NAME,
                        key_prefix=key_prefix(key),
                        permissions=permissions,
                    )
                ),
            ],
            meta=Meta(actor="system:bootstrap", source="bootstrap"),
            render=_require_accepted,
            side_effect=write_rows,
        )
    )
    async with tenant_transaction(house.pool, tenant_id) as connection:
        system_id = await connection.fetchval(_INVENTORY_SYSTEM, tenant_id)
    return Founded(
        tenant_id,
        name,
        email,
        key,
        shown_password=None if password else chosen_password,
        shown_api_key=None if api_key else key,
        inventory_system_id=str(system_id),
    )


_INVENTORY_SYSTEM: Final = "SELECT inventory_system_id FROM ledger.tenant WHERE tenant_id = $1"


def _require_accepted(outcomes: Sequence[Outcome]) -> Rendered:
    for outcome in outcomes:
        if outcome.refusal is not None:
            raise RuntimeError(f"the first tenant could not be set up: {outcome.refusal}")
    return Rendered(201, b"")


def slug(name: str) -> str:
    """Return a tenant's name as it is written in addresses: lower case, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-") or "tenant"
