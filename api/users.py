"""Users and the tenant they belong to."""

import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import asyncpg
import msgspec

from api.auth import sign_in_of
from api.context import ROLE_RANK, Call
from api.credentials import email_digest
from api.decoding import BodyDecoder
from api.endpoint import Routes
from api.problems import Problem
from api.reads import answer, reading
from api.reply import Reply, encode
from api.writes import commit, json_body, made, rendered
from ledger.store import Connection, tenant_transaction
from ledger.submission import Outcome, Rendered
from schemas.access import RecordUserAdded, UserAdded
from schemas.http_access import TenantReply, UserBody, UserReply, UsersReply

routes = Routes("Users and tenant")

USERS_LISTED_MAX: Final = 1000
_BODY = BodyDecoder(UserBody)

_LIST = """
SELECT user_id, name, email, role, is_active, created_at, last_login_at
FROM access.app_user WHERE tenant_id = $1 ORDER BY user_id LIMIT $2
"""


@routes.add("GET", "/api/users", "List users", role="admin", scope=None, replies={200: UsersReply})
async def list_users(call: Call) -> Reply:
    """All users of the tenant."""
    async with reading(call) as read:
        rows = await read.connection.fetch(_LIST, read.tenant_id, USERS_LISTED_MAX)
        total = await read.connection.fetchval(
            "SELECT count(*) FROM access.app_user WHERE tenant_id = $1", read.tenant_id
        )
    assert total is not None, "a count always has a row"
    users = [
        UserReply(
            id=row["user_id"],
            name=row["name"],
            email=row["email"],
            role=row["role"],
            is_active=row["is_active"],
            created_at=row["created_at"],
            last_login_at=row["last_login_at"],
        )
        for row in rows
    ]
    return answer(UsersReply(users=users, total=total), read.position)


_INSERT = """
INSERT INTO access.app_user
    (tenant_id, user_id, name, email, password_hash, role, is_active, created_at)
VALUES ($1, $2, $3, $4, $5, $6, true, $7)
"""

_LIST_LOGIN = """
INSERT INTO access.login_directory (email_digest, tenant_id, user_id) VALUES ($1, $2, $3)
"""


@routes.add(
    "POST",
    "/api/users",
    "Add a user",
    role="admin",
    scope=None,
    body=UserBody,
    replies={201: UserReply},
    problems=("email_taken",),
    commits=True,
)
async def add_user(call: Call) -> Reply:
    """Let somebody sign in. Nobody can give a role above their own."""
    body = _BODY.decode(await json_body(call))
    caller = call.caller
    if ROLE_RANK[body.role] > ROLE_RANK[caller.role]:
        raise Problem("forbidden", f"Only one who has the role '{body.role}' can give it.")
    taken = Problem("email_taken", "Another user signs in with this address; use another.")
    digest = email_digest(body.email)
    async with tenant_transaction(
        call.house.pool, caller.tenant_id, credential=caller.credential
    ) as connection:
        known = await connection.fetchval("SELECT 1 FROM access.tenant_of_login($1)", digest)
        # A replay finds the address taken by its own first request; the committer tells.
        if known is not None and b"idempotency-key" not in call.headers:
            raise taken
        user_id = await connection.fetchval(
            "SELECT coalesce(max(user_id), 0) + 1 FROM access.app_user WHERE tenant_id = $1",
            caller.tenant_id,
        )
    password_hash = await sign_in_of(call).passwords.hash(body.password)
    command = made(
        RecordUserAdded,
        {"user_id": user_id, "name": body.name, "email": body.email, "role": body.role},
    )

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        if not outcomes[0].events:
            again = Problem("id_taken", "Another user was added at this moment; try again.")
            return Rendered(again.status, encode(again.document()))
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, UserAdded)
        return rendered(
            201,
            UserReply(
                id=event.user_id,
                name=body.name,
                email=body.email,
                role=event.role,
                is_active=True,
                created_at=recorded.recorded_at,
            ),
        )

    async def insert(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, UserAdded)
        await connection.execute(
            _INSERT,
            caller.tenant_id,
            event.user_id,
            body.name,
            body.email,
            password_hash,
            event.role,
            recorded.recorded_at,
        )
        await connection.execute(_LIST_LOGIN, digest, caller.tenant_id, event.user_id)

    try:
        return await commit(
            call, _without_password(call, body), [command], render, side_effect=insert
        )
    except asyncpg.UniqueViolationError:
        raise taken from None


def _without_password(call: Call, body: UserBody) -> bytes:
    """Return the body as it may be kept under an Idempotency-Key: with a keyed hash of the
    password, so that a second request with another password is still told apart."""
    secret = (call.house.settings.jwt_secret or "").encode()
    mark = hmac.new(secret, body.password.encode(), sha256).hexdigest()
    return encode(msgspec.structs.replace(body, password=mark))


_TENANT = """
SELECT tenant_id, slug, name, time_zone, inventory_system_id::text AS inventory_system_id,
       created_at
FROM ledger.tenant WHERE tenant_id = $1
"""


@routes.add("GET", "/api/tenant", "The tenant", replies={200: TenantReply})
async def get_tenant(call: Call) -> Reply:
    """The tenant that the credentials belong to, and its ledger's position."""
    async with reading(call) as read:
        row = await read.connection.fetchrow(_TENANT, read.tenant_id)
    assert row is not None, "the head refers to it"
    reply = TenantReply(
        id=row["tenant_id"],
        slug=row["slug"],
        name=row["name"],
        time_zone=row["time_zone"],
        inventory_system_id=row["inventory_system_id"],
        created_at=row["created_at"],
        position=read.position,
    )
    return answer(reply, read.position)
