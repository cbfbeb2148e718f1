"""API keys, sessions and passwords."""

import asyncio
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from api.credentials import (
    Passwords,
    hash_api_key,
    is_well_formed,
    masked,
    new_api_key,
    new_session,
    read_session,
    tenant_of_key,
)

SECRET = "a secret of at least 32 characters"


@pytest.mark.parametrize("tenant_id", [1, 35, 36, 2**31 - 1])
def test_a_new_key_is_well_formed_and_names_its_tenant(tenant_id: int) -> None:
    """So that it is refused, or looked up, without asking for the tenant."""
    key = new_api_key(tenant_id)
    assert is_well_formed(key)
    assert tenant_of_key(key) == tenant_id
    assert len(hash_api_key(key)) == 32


def test_one_mistyped_character_is_noticed_by_the_checksum() -> None:
    """Wherever it stands."""
    key = new_api_key(7)
    for index in range(len("sl_live_"), len(key)):
        mistyped = key[:index] + ("x" if key[index] != "x" else "y") + key[index + 1 :]
        assert not is_well_formed(mistyped)


def test_two_keys_differ_and_a_masked_one_tells_nothing_that_opens() -> None:
    """Only the part that is listed is left of it."""
    assert new_api_key(1) != new_api_key(1)
    assert len(masked(new_api_key(1))) == 15


def test_a_session_lasts_eight_hours() -> None:
    """And not a second longer."""
    now = datetime.now(UTC)
    live = new_session(SECRET, tenant_id=1, user_id=2, role="staff", name="J", now=now)
    assert read_session(SECRET, live)["user"] == 2
    over = new_session(
        SECRET, tenant_id=1, user_id=2, role="staff", name="J", now=now - timedelta(hours=8)
    )
    with pytest.raises(jwt.ExpiredSignatureError):
        read_session(SECRET, over)


def test_a_session_that_is_not_signed_by_us_is_refused() -> None:
    """Neither with another secret nor with none."""
    claims = {"sub": "1", "tenant": 1, "user": 1, "role": "owner", "name": "J", "exp": 9e9}
    for token in (
        jwt.encode(claims, "another secret of at least 32 chars", algorithm="HS256"),
        jwt.encode(claims, "", algorithm="none"),
    ):
        with pytest.raises(jwt.InvalidTokenError):
            read_session(SECRET, token)


def test_passwords_match_themselves_only() -> None:
    """And an unknown user's never does."""

    async def check() -> None:
        passwords = Passwords(threads=1)
        stored = await passwords.hash("correct horse")
        assert await passwords.matches(stored, "correct horse")
        assert not await passwords.matches(stored, "wrong horse")
        assert not await passwords.matches(None, "correct horse")
        assert not await passwords.matches("no hash", "correct horse")

    asyncio.run(check())
