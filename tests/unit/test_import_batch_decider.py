"""Ingestion batches, and who was let in: each thing is recorded once."""

from typing import Any

import pytest

from ledger.domain.refusals import ChunkAlreadyRecorded, ImportCountsDiffer
from schemas.access import RecordApiKeyCreated, RecordUserAdded, RevokeApiKey, UserAdded
from schemas.import_batch import CloseImportBatch, OpenImportBatch, RecordImportChunk
from tests.support.decisions import World, types

BATCH: dict[str, Any] = {"batch_id": "b1"}
OPEN: dict[str, Any] = {
    **BATCH,
    "kind": "order-lines",
    "source_name": "lines.csv",
    "source_digest": "sha256:1",
    "options": {"a": "1", "b": "2"},
}


def opening(**change: Any) -> dict[str, Any]:
    """Return the usual fields with some changed."""
    return {**OPEN, **change}


def chunk(number: int, first: int, last: int, accepted: int, refused: int) -> RecordImportChunk:
    return RecordImportChunk(
        **BATCH,
        chunk=number,
        first_line=first,
        last_line=last,
        accepted=accepted,
        refused=refused,
    )


def test_opening_the_same_file_again_is_nothing_to_do():
    """Whatever the file is called by now, and in whatever order the options come."""
    world = World().given(OpenImportBatch(**OPEN))
    renamed = opening(source_name="copy.csv", options={"b": "2", "a": "1"})
    assert world.do(OpenImportBatch(**renamed)) == []


@pytest.mark.parametrize(
    "change", [{"source_digest": "sha256:2"}, {"options": {}}, {"kind": "products"}]
)
def test_a_batch_id_stands_for_one_file_read_in_one_way(change: dict[str, Any]):
    """Anything else under it is refused."""
    world = World().given(OpenImportBatch(**OPEN))
    assert types(world.do(OpenImportBatch(**opening(**change)))) == ["import_batch_conflict"]


def test_a_chunk_is_recorded_once_and_in_order():
    """The second time it is refused, so that the commit it is part of has no effect."""
    world = World().given(OpenImportBatch(**OPEN), chunk(0, 1, 10, 9, 1))
    assert world.do(chunk(0, 1, 10, 9, 1)) == ChunkAlreadyRecorded(
        batch_id="b1", chunk=0, next_chunk=1
    )
    assert types(world.do(chunk(2, 21, 30, 10, 0))) == ["chunk_out_of_order"]
    assert types(world.do(chunk(1, 10, 30, 10, 0))) == ["invalid_command"]
    assert types(world.do(chunk(1, 12, 11, 0, 0))) == ["invalid_command"]
    assert types(world.do(chunk(1, 11, 12, 2, 1))) == ["import_counts_differ"]
    assert types(world.do(chunk(1, 11, 20, 8, 0))) == ["ImportChunkRecorded"]


def test_a_batch_is_closed_when_its_counts_add_up():
    """Every line is accepted or refused, once."""
    world = World().given(OpenImportBatch(**OPEN), chunk(0, 1, 10, 9, 1))
    refused = world.do(CloseImportBatch(**BATCH, lines=11, accepted=9, refused=1))
    assert refused == ImportCountsDiffer(batch_id="b1", field="lines", stated=11, actual=10)
    close = CloseImportBatch(**BATCH, lines=10, accepted=9, refused=1)
    assert types(world.do(close)) == ["ImportBatchClosed"]
    assert world.do(close) == []
    assert world.do(OpenImportBatch(**OPEN)) == []
    assert types(world.do(chunk(1, 11, 12, 2, 0))) == ["import_batch_closed"]
    assert types(world.do(chunk(0, 1, 10, 9, 1))) == ["chunk_already_recorded"]


def test_a_batch_has_to_be_opened_first():
    """A chunk of nothing is refused."""
    assert types(World().do(chunk(0, 1, 1, 1, 0))) == ["import_batch_not_found"]


def test_keys_are_created_and_revoked_once():
    """The same again is already so."""
    world = World()
    create = RecordApiKeyCreated(
        key_id=3, name="till", key_prefix="sl_x", permissions=("read", "write")
    )
    assert types(world.do(RevokeApiKey(key_id=3))) == ["api_key_not_found"]
    assert types(world.do(create)) == ["ApiKeyCreated"]
    assert world.do(create) == []
    assert types(world.do(RevokeApiKey(key_id=3))) == ["ApiKeyRevoked"]
    assert world.do(RevokeApiKey(key_id=3)) == []


def test_a_users_address_is_not_in_the_log():
    """A person's data does not go into a log kept for ever."""
    add = RecordUserAdded(user_id=2, name="Ann", email="ann@example.com", role="staff")
    (recorded,) = World().do(add)
    assert recorded.event == UserAdded(user_id=2, role="staff")
