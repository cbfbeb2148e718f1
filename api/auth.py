"""Signing in (seed 003, "Authentication")."""

import math
import time
from collections import OrderedDict
from typing import Final

from api.context import Call
from api.credentials import SESSION_LIFETIME, Passwords, email_digest, new_session
from api.decoding import BodyDecoder
from api.endpoint import Routes
from api.problems import Problem
from api.reply import Reply, encode
from api.writes import json_body
from ledger.store import tenant_transaction
from schemas.http_access import LoginBody, LoginReply, SignedInUser

routes = Routes("Authentication")

ACCOUNT_ATTEMPTS_MAX: Final = 10
ADDRESS_ATTEMPTS_MAX: Final = 50
WINDOW_S: Final = 300.0
_WATCHED_MAX: Final = 20_000

_BODY = BodyDecoder(LoginBody)

_USER = """
SELECT user_id, name, email, password_hash, role, is_active
FROM access.app_user WHERE tenant_id = $1 AND user_id = $2
"""


class AttemptLimit:
    """Counts failed attempts under a name in windows of five minutes; remembers a bounded number
    of names, the longest unused being forgotten first."""

    def __init__(self, attempts_max: int) -> None:
        self._attempts_max = attempts_max
        self._windows: OrderedDict[bytes, tuple[float, int]] = OrderedDict()

    def check(self, name: bytes) -> None:
        """Raise Problem (429) with Retry-After when too many attempts have failed."""
        began, attempts = self._windows.get(name, (0.0, 0))
        remaining = began + WINDOW_S - time.monotonic()
        if attempts >= self._attempts_max and remaining > 0:
            seconds = math.ceil(remaining)
            raise Problem(
                "too_many_attempts",
                f"Too many attempts to sign in have failed; try again in {seconds} seconds.",
                headers=[(b"retry-after", b"%d" % seconds)],
            )

    def failed(self, name: bytes) -> None:
        """Count a failed attempt."""
        now = time.monotonic()
        began, attempts = self._windows.pop(name, (now, 0))
        if began + WINDOW_S <= now:
            began, attempts = now, 0
        self._windows[name] = (began, attempts + 1)
        while len(self._windows) > _WATCHED_MAX:
            self._windows.popitem(last=False)

    def succeeded(self, name: bytes) -> None:
        """Forget the failed attempts under a name."""
        self._windows.pop(name, None)

    def withdraw(self, name: bytes) -> None:
        """Take back one attempt that was counted and did not fail after all."""
        began, attempts = self._windows.get(name, (0.0, 0))
        if attempts:
            self._windows[name] = (began, attempts - 1)


class SignIn:
    """What signing in needs besides the database. One an application."""

    def __init__(self) -> None:
        self.passwords = Passwords()
        self.accounts = AttemptLimit(ACCOUNT_ATTEMPTS_MAX)
        self.addresses = AttemptLimit(ADDRESS_ATTEMPTS_MAX)


def sign_in_of(call: Call) -> SignIn:
    """Return the application's."""
    return call.scope["litestar_app"].state.sign_in


@routes.add(
    "POST",
    "/api/auth/login",
    "Sign in",
    role=None,
    scope=None,
    body=LoginBody,
    replies={200: LoginReply},
    problems=("wrong_login", "too_many_attempts"),
)
async def login(call: Call) -> Reply:
    """Exchange an address and a password for a token that lasts eight hours."""
    body = _BODY.decode(await json_body(call))
    sign_in = sign_in_of(call)
    digest, address = email_digest(body.email), call.address.encode()
    sign_in.addresses.check(address)
    sign_in.accounts.check(digest)
    # Counted before the slow check, so that attempts at the same time count as well.
    sign_in.addresses.failed(address)
    sign_in.accounts.failed(digest)
    pool = call.house.pool
    found = await pool.fetchrow("SELECT tenant_id, user_id FROM access.tenant_of_login($1)", digest)
    user = None
    if found is not None:
        async with tenant_transaction(pool, found["tenant_id"]) as connection:
            user = await connection.fetchrow(_USER, found["tenant_id"], found["user_id"])
    stored = None if user is None else user["password_hash"]
    matches = await sign_in.passwords.matches(stored, body.password)
    if found is None or user is None or not matches or not user["is_active"]:
        raise Problem("wrong_login", "The address or the password is wrong; check both.")
    sign_in.accounts.succeeded(digest)
    sign_in.addresses.withdraw(address)
    now = call.house.now()
    async with tenant_transaction(pool, found["tenant_id"]) as connection:
        await connection.execute(
            "UPDATE access.app_user SET last_login_at = $3 WHERE tenant_id = $1 AND user_id = $2",
            found["tenant_id"],
            user["user_id"],
            now,
        )
    secret = call.house.settings.jwt_secret
    assert secret, "the gate was made with it"
    token = new_session(
        secret,
        tenant_id=found["tenant_id"],
        user_id=user["user_id"],
        role=user["role"],
        name=user["name"],
        now=now,
    )
    reply = LoginReply(
        token=token,
        expires_at=now + SESSION_LIFETIME,
        user=SignedInUser(
            id=user["user_id"], name=user["name"], email=user["email"], role=user["role"]
        ),
    )
    return Reply(200, encode(reply))
