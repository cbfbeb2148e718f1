"""API keys, passwords and session tokens: made and checked here, stored nowhere in clear.

A key is ``sl_live_`` + the tenant's id in base 36 + ``_`` + 43 random base-62 characters (256
bits) + a CRC-32 of all that in 6 base-62 characters. The checksum lets a mistyped key be
refused without asking the database, and lets secret scanners recognise a real one.
"""

import asyncio
import secrets
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

KEY_MARK: Final = "sl_live_"
KEY_PREFIX_LENGTH: Final = 14
SESSION_LIFETIME: Final = timedelta(hours=8)

PASSWORD_COST: dict[str, Any] = {}
"""Parameters of argon2id other than the library's, which are those of RFC 9106."""

_BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH: Final = 43
_CHECKSUM_LENGTH: Final = 6
_SECRET_BYTES_MAX: Final = 4096


def new_api_key(tenant_id: int) -> str:
    """Return a new API key of a tenant. It is shown once and only its hash is kept."""
    random = "".join(secrets.choice(_BASE62) for _ in range(_RANDOM_LENGTH))
    body = f"{KEY_MARK}{_in_base(tenant_id, _BASE36, 1)}_{random}"
    return body + _checksum(body)


def hash_api_key(secret: str | bytes) -> bytes:
    """Return the SHA-256 of a key, which is what is stored and looked up (32 bytes).

    A fast hash is right here: keys are 256 random bits, so there is nothing to guess.
    """
    return sha256(secret.encode() if isinstance(secret, str) else secret).digest()


def is_well_formed(secret: str) -> bool:
    """Return whether a key can be real; False for ``sl_live_`` keys whose checksum is wrong.

    Keys of another form may have been chosen by an operator, and are left to the look-up.
    """
    if not secret.isascii() or not 16 <= len(secret) <= _SECRET_BYTES_MAX:
        return False
    if not secret.startswith(KEY_MARK):
        return True
    body, checksum = secret[:-_CHECKSUM_LENGTH], secret[-_CHECKSUM_LENGTH:]
    return tenant_of_key(secret) is not None and _checksum(body) == checksum


def tenant_of_key(secret: str) -> int | None:
    """Return the tenant that an ``sl_live_`` key names, or None where it names none."""
    if not secret.startswith(KEY_MARK):
        return None
    digits, underscore, rest = secret[len(KEY_MARK) :].partition("_")
    if not underscore or len(rest) < 32 + _CHECKSUM_LENGTH or not 1 <= len(digits) <= 6:
        return None
    if any(digit not in _BASE36 for digit in digits):
        return None
    return int(digits, 36)


def key_prefix(secret: str) -> str:
    """Return the part of a key that may be shown, to tell one from another."""
    return secret[:KEY_PREFIX_LENGTH]


def masked(secret: str) -> str:
    """Return what a replay shows in place of a key that was shown already (invariant I3)."""
    return key_prefix(secret) + "…"


def email_digest(email: str) -> bytes:
    """Return the SHA-256 under which the login directory knows an address (case ignored)."""
    return sha256(email.strip().casefold().encode()).digest()


class Passwords:
    """Argon2id in a bounded pool of threads, so that sign-ins never stall the event loop.

    A sign-in for an unknown address costs the same as one for a known address: it is checked
    against a dummy hash.
    """

    def __init__(self, threads: int = 2) -> None:
        self._hasher = PasswordHasher(**PASSWORD_COST)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._dummy = self._hasher.hash(secrets.token_urlsafe(16))

    async def hash(self, password: str) -> str:
        """Return the encoded argon2id hash of a new password."""
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, self._hasher.hash, password
        )

    async def matches(self, stored: str | None, password: str) -> bool:
        """Return whether a password is the one stored; with None stored, False as slowly."""
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, self._matches, stored, password
        )

    def _matches(self, stored: str | None, password: str) -> bool:
        try:
            self._hasher.verify(self._dummy if stored is None else stored, password)
        except (VerificationError, InvalidHashError, UnicodeError):
            return False
        return stored is not None


def new_session(
    secret: str, *, tenant_id: int, user_id: int, role: str, name: str, now: datetime
) -> str:
    """Return a session token (JWT, HS256) that lasts eight hours."""
    return jwt.encode(
        {
            "sub": str(user_id),
            "tenant": tenant_id,
            "user": user_id,
            "role": role,
            "name": name,
            "iat": now,
            "exp": now + SESSION_LIFETIME,
        },
        secret,
        algorithm="HS256",
    )


def read_session(secret: str, token: str) -> dict[str, Any]:
    """Return a session token's claims; raise jwt.InvalidTokenError unless it is ours and live."""
    return jwt.decode(
        token,
        secret,
        algorithms=["HS256"],
        options={"require": ["exp", "sub", "tenant", "user", "role", "name"]},
    )


def _checksum(body: str) -> str:
    return _in_base(zlib.crc32(body.encode()), _BASE62, _CHECKSUM_LENGTH)


def _in_base(number: int, digits: str, width: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, len(digits))
        text = digits[digit] + text
    return text.rjust(width, digits[0])
