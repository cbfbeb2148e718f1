"""API keys get new secrets: how they are counted, and which of them end when."""

from datetime import timedelta

import pytest

from ledger.domain.access import ended_by, key_credential, key_of
from schemas.access import ApiKeyRevoked, ApiKeyRotated, RecordApiKeyCreated, RevokeApiKey
from schemas.access import RotateApiKey as Rotate
from tests.support.decisions import NOON, World, types


def made(**more: object) -> World:
    """Return a world with key 3."""
    fields = {"name": "till", "key_prefix": "sl_live_1_abc", "permissions": ("write",), **more}
    return World().given(RecordApiKeyCreated(key_id=3, **fields))  # type: ignore[arg-type]


def test_a_rotation_counts_up_and_says_until_when_the_old_secret_is_good():
    """With no hours at all it ends with the event."""
    world = made()
    (first,) = world.do(Rotate(key_id=3, key_prefix="sl_live_1_def", overlap_hours=36))
    assert first.stream == "access-key-3"
    assert first.event == ApiKeyRotated(
        key_id=3,
        key_prefix="sl_live_1_def",
        generation=1,
        old_valid_until=NOON + timedelta(hours=36),
    )
    (second,) = world.do(Rotate(key_id=3, key_prefix="sl_live_1_ghi"))
    assert (second.event.generation, second.event.old_valid_until) == (2, None)


def test_a_key_that_is_over_gets_no_new_secret():
    """Revoked, expired, or never made."""
    rotate = Rotate(key_id=3, key_prefix="p")
    assert types(made().given(RevokeApiKey(key_id=3)).do(rotate)) == ["api_key_over"]
    assert types(made(expires_at=NOON).do(rotate)) == ["api_key_over"]
    assert types(World().do(rotate)) == ["api_key_not_found"]
    later = made(expires_at=NOON + timedelta(seconds=1))
    assert types(later.do(rotate)) == ["ApiKeyRotated"]


def test_a_rotated_key_can_be_revoked_once():
    """As any other."""
    world = made().given(Rotate(key_id=3, key_prefix="p"))
    assert types(world.do(RevokeApiKey(key_id=3))) == ["ApiKeyRevoked"]
    assert world.do(RevokeApiKey(key_id=3)) == []


@pytest.mark.parametrize(("key_id", "generation"), [(1, 0), (2**40 - 1, 5), (7, 2**20)])
def test_a_secrets_number_tells_its_key(key_id: int, generation: int):
    """The first secret's is the key's id; all fit a bigint."""
    credential = key_credential(key_id, generation)
    assert key_of(credential) == key_id
    assert (credential == key_id) == (generation == 0)
    assert credential < 2**63


def test_which_secrets_end():
    """At most the last two are ever good; a revocation ends both of them."""
    revoked = ApiKeyRevoked(key_id=3)
    at_once = ApiKeyRotated(key_id=3, key_prefix="p", generation=2)
    later = ApiKeyRotated(key_id=3, key_prefix="p", generation=2, old_valid_until=NOON)
    assert ended_by(revoked, 0) == [3]
    assert ended_by(revoked, 2) == [key_credential(3, 2), key_credential(3, 1)]
    assert ended_by(at_once, 2) == [key_credential(3, 1), 3]
    assert ended_by(later, 2) == [3]
