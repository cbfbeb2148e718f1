"""Credentials to principals: API keys against the database, session tokens by signature.

What has been verified is remembered for a minute, under the credential's SHA-256, in a bounded
table. That is safe for revocation: every read and every write asks the database, in its own
transaction, whether the credential is still good.
"""

import time
from collections import OrderedDict
from typing import Any, Final

import jwt

from api.context import Principal
from api.credentials import hash_api_key, is_well_formed, read_session, tenant_of_key
from api.problems import unauthenticated
from ledger.domain.access import key_credential
from ledger.store import Pool, tenant_transaction

INBOUND_WEBHOOKS: Final = "/wp-json/mulopimfwc/v1/webhook/"
REMEMBERED_MAX: Final = 10_000
REMEMBERED_S: Final = 60.0
_SECRET_BYTES_MAX: Final = 4096

_TENANT_OF_KEY = "SELECT tenant_id FROM access.tenant_of_key($1)"

# The secret before the last one may still be good; it has an end of its own.
_KEY = """
SELECT key_id, name, permissions, revoked_at,
       CASE WHEN key_hash = $2 THEN generation ELSE generation - 1 END AS generation,
       CASE WHEN key_hash = $2 THEN expires_at
            ELSE least(expires_at, previous_valid_until) END AS expires_at
FROM access.api_key WHERE tenant_id = $1 AND (key_hash = $2 OR previous_hash = $2)
"""


class Verifier:
    """Finds whom a credential belongs to."""

    def __init__(self, pool: Pool, jwt_secret: str | None) -> None:
        if not jwt_secret:
            raise ValueError("jwt_secret must be set before the API is made")
        self._pool = pool
        self._jwt_secret = jwt_secret
        self._remembered: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    def remembered(self, secret: bytes) -> Principal | None:
        """Return the principal of a credential verified less than a minute ago, if it lasts."""
        entry = self._remembered.get(hash_api_key(secret))
        if entry is None:
            return None
        principal, until = entry
        return principal if time.time() < until else None

    async def verify(self, secret: bytes) -> Principal:
        """Return the principal of a credential; raise Problem (401) when it is no good."""
        if len(secret) > _SECRET_BYTES_MAX:
            raise unauthenticated("This credential is too long to be one of ours.")
        try:
            text = secret.decode("ascii")
        except UnicodeDecodeError:
            raise unauthenticated("This credential is not one of ours.") from None
        principal = (
            self._user(text)
            if text.count(".") == 2 and text.startswith("eyJ")
            else await self._key(text)
        )
        until = time.time() + REMEMBERED_S
        if principal.expires_at is not None:
            until = min(until, principal.expires_at)
        self._remembered[hash_api_key(secret)] = (principal, until)
        while len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return principal

    def _user(self, token: str) -> Principal:
        try:
            claims: dict[str, Any] = read_session(self._jwt_secret, token)
            user_id, tenant_id = int(claims["user"]), int(claims["tenant"])
        except jwt.ExpiredSignatureError:
            raise unauthenticated("This session has expired; sign in again.") from None
        except (jwt.InvalidTokenError, ValueError, TypeError):
            raise unauthenticated("This token is not valid; sign in again.") from None
        return Principal(
            tenant_id=tenant_id,
            kind="user",
            id=user_id,
            name=claims["name"],
            role=claims["role"],
            scopes=("read", "write"),
            credential=("user", user_id),
            actor=f"user:{user_id}",
            expires_at=float(claims["exp"]),
        )

    async def _key(self, secret: str) -> Principal:
        wrong = unauthenticated("This API key is not valid; check it, or make a new one.")
        if not is_well_formed(secret):
            raise wrong
        digest = hash_api_key(secret)
        tenant_id = tenant_of_key(secret)
        if tenant_id is None or tenant_id >= 2**31:
            tenant_id = await self._pool.fetchval(_TENANT_OF_KEY, digest)
        if tenant_id is None:
            raise wrong
        async with tenant_transaction(self._pool, tenant_id) as connection:
            row = await connection.fetchrow(_KEY, tenant_id, digest)
        if row is None or row["revoked_at"] is not None:
            raise wrong
        expires_at = None if row["expires_at"] is None else row["expires_at"].timestamp()
        if expires_at is not None and expires_at <= time.time():
            raise unauthenticated("This API key has expired; use its new secret, or a new key.")
        scopes = tuple(row["permissions"])
        key_id: int = row["key_id"]
        return Principal(
            tenant_id=tenant_id,
            kind="key",
            id=key_id,
            name=row["name"],
            role="admin" if "write" in scopes else "staff",
            scopes=scopes,
            credential=("key", key_credential(key_id, row["generation"])),
            actor=f"key:{key_id}",
            expires_at=expires_at,
        )


def credential_of(headers: dict[bytes, bytes], path: str = "") -> bytes | None:
    """Return the credential a request carries, from X-API-Key or as a bearer; None without one.

    What is pushed to an inbound webhook has its own header, and no other counts there.
    """
    if path.startswith(INBOUND_WEBHOOKS):
        return headers.get(b"x-webhook-secret")
    secret = headers.get(b"x-api-key")
    if secret is not None:
        return secret
    authorization = headers.get(b"authorization")
    if authorization is None:
        return None
    scheme, _, secret = authorization.partition(b" ")
    return secret.strip() if scheme.lower() == b"bearer" else b""
