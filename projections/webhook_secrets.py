"""What webhooks are signed with: made here, kept in ``webhook.secret``, shown once.

A secret is ``whsec_`` and 32 random bytes in base64, as Standard Webhooks has it. It must be
kept as it is, since it signs; it is in no event, no log and no kept response.
"""

import base64
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from projections.projection import Connection

SECRET_MARK: Final = "whsec_"  # noqa: S105 (a mark, not a secret)
SECRET_BYTES: Final = 32
_SHOWN_LENGTH: Final = 10


def new_secret() -> str:
    """Return a new secret."""
    return SECRET_MARK + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def masked_secret(secret: str) -> str:
    """Return what a replay shows in place of a secret that was shown already (invariant I3)."""
    return secret[:_SHOWN_LENGTH] + "…"


async def keep_secret(
    connection: Connection, tenant_id: int, endpoint_id: int, secret: str, at: datetime
) -> None:
    """Store an endpoint's first secret, in the transaction that creates it."""
    await connection.execute(_KEEP, tenant_id, endpoint_id, secret, at)


async def rotate_secret(
    connection: Connection,
    tenant_id: int,
    endpoint_id: int,
    secret: str,
    at: datetime,
    *,
    old_until: datetime,
) -> None:
    """Store a new secret; those before it sign beside it until ``old_until``, or their own end."""
    await connection.execute(_END_OLD, tenant_id, endpoint_id, old_until)
    await connection.execute(_KEEP, tenant_id, endpoint_id, secret, at)


async def forget_secrets(connection: Connection, tenant_id: int, endpoint_id: int) -> None:
    """Delete all secrets of an endpoint that is deleted."""
    await connection.execute(
        "DELETE FROM webhook.secret WHERE tenant_id = $1 AND endpoint_id = $2",
        tenant_id,
        endpoint_id,
    )


async def signing_secrets(
    connection: Connection, tenant_id: int, endpoint_ids: Sequence[int]
) -> Mapping[int, list[tuple[str, datetime | None]]]:
    """Return the secrets of endpoints, newest first, each with the time until which it signs."""
    found: dict[int, list[tuple[str, datetime | None]]] = {}
    for row in await connection.fetch(_SIGNING, tenant_id, endpoint_ids):
        found.setdefault(row["endpoint_id"], []).append((row["secret"], row["signs_until"]))
    return found


_KEEP: Final = """
INSERT INTO webhook.secret (tenant_id, endpoint_id, number, secret, created_at)
SELECT $1, $2, coalesce(max(number), 0) + 1, $3, $4
FROM webhook.secret WHERE tenant_id = $1 AND endpoint_id = $2
"""

_END_OLD: Final = """
UPDATE webhook.secret SET signs_until = least(coalesce(signs_until, $3), $3)
WHERE tenant_id = $1 AND endpoint_id = $2
"""

_SIGNING: Final = """
SELECT endpoint_id, secret, signs_until FROM webhook.secret
WHERE tenant_id = $1 AND endpoint_id = ANY ($2::bigint[])
ORDER BY endpoint_id, number DESC
"""
