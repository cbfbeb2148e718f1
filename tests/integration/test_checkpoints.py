"""Signed checkpoints, and the proofs that lead to them, on a real log."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from deploy.address import DatabaseAddress
from deploy.checkpoints import NotesFile, SigningKeys
from ledger import checkpoints, merkle_proofs
from ledger.checkpoints import (
    HistoryChanged,
    Signed,
    consistency_path,
    extend,
    inclusion_path,
)
from ledger.notes import Signer, VerifierKey, opened
from ledger.store import Pool, read_head, tenant_transaction
from projections.engine import Engine
from schemas.supplier import SupplierRegistered
from tests.support.written_log import Scribe

AT = datetime(2030, 5, 1, 12, tzinfo=UTC)


async def _rewrite(database: DatabaseAddress, statements: str) -> None:
    """Do what only somebody with every right can do."""
    connection = await asyncpg.connect(**database.administrator)
    try:
        await connection.execute(f"SET session_replication_role = replica; {statements}")
    finally:
        await connection.close()


class Notary:
    """A log, and whoever signs it."""

    def __init__(self, pool: Pool, tenant_id: int, folder: Path) -> None:
        self.pool = pool
        self.tenant_id = tenant_id
        self.scribe = Scribe(pool, Engine([], []), tenant_id)
        self.keys = SigningKeys(folder / "keys", "stockledger")
        self.folder = folder / "notes"
        self.memory = NotesFile(self.folder)
        self.written = 0

    @property
    def signers(self) -> Sequence[Signer]:
        return self.keys.signers()

    async def write(self, count: int) -> None:
        first = self.written + 1
        self.written += count
        await self.scribe.write(
            *(
                (f"supplier-{n}", SupplierRegistered(supplier_id=n, name="A"))
                for n in range(first, self.written + 1)
            )
        )

    async def sign(self) -> Signed | None:
        _, signed = await extend(self.pool, self.tenant_id, self.signers, self.memory, AT)
        return signed

    async def must_sign(self) -> Signed:
        signed = await self.sign()
        assert signed is not None
        return signed

    def forget(self) -> None:
        """Start anew, as another process: what is on the disk is what is remembered."""
        self.memory = NotesFile(self.folder)


@pytest.fixture
async def notary(pool: Pool, tenant_id: int, tmp_path: Path) -> Notary:
    """An empty log with a signer."""
    return Notary(pool, tenant_id, tmp_path)


async def test_what_is_new_is_signed_once(notary: Notary) -> None:
    """A note of the head's root, that the key opens; nothing where nothing is new."""
    assert await notary.sign() is None
    await notary.write(5)
    signed = await notary.must_sign()
    async with tenant_transaction(notary.pool, notary.tenant_id) as connection:
        head = await read_head(connection, notary.tenant_id)
    found = opened(signed.note, [VerifierKey.parse(signed.keys[0])])
    assert (found.size, found.root) == (head.position, head.root) == (5, head.root)
    assert await notary.sign() is None
    await notary.write(1)
    assert (await notary.must_sign()).checkpoint.size == 6


async def test_every_event_and_every_beginning_is_proven(
    notary: Notary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over some subtrees that are kept, gone over in pieces that do not fit them."""
    monkeypatch.setattr(checkpoints, "LEAVES_MAX", 190)
    sizes: list[int] = []
    roots: dict[int, bytes] = {}
    for count in (3, 250, 260, 512, 7):
        await notary.write(count)
        signed = await notary.must_sign()
        sizes.append(signed.checkpoint.size)
        roots[signed.checkpoint.size] = signed.checkpoint.root
    async with tenant_transaction(notary.pool, notary.tenant_id) as connection:
        leaves = [
            row[0]
            for row in await connection.fetch(
                "SELECT leaf_hash FROM ledger.event ORDER BY position"
            )
        ]
        for size in sizes:
            for position in {1, 2, size // 2, 255, 256, 257, 512, 513, size} & set(
                range(1, size + 1)
            ):
                path = await inclusion_path(connection, notary.tenant_id, position, size)
                root = merkle_proofs.included_root(position - 1, size, leaves[position - 1], path)
                assert root == roots[size], (position, size)
        for old in sizes:
            for new in sizes:
                if old <= new:
                    path = await consistency_path(connection, notary.tenant_id, old, new)
                    found = merkle_proofs.consistent_roots(old, new, roots[old], path)
                    assert found == (roots[old], roots[new])
        kept = await connection.fetchval("SELECT count(*) FROM proof.node")
        assert kept == sizes[-1] // 256


@pytest.mark.parametrize(
    "rewrite",
    [
        "UPDATE ledger.event SET leaf_hash = sha256('x') WHERE position = 6",
        "DELETE FROM ledger.event WHERE position = 6; UPDATE ledger.head SET position = 5",
        "UPDATE ledger.head SET root = sha256('x')",
    ],
    ids=["a leaf", "an end cut off", "a root"],
)
async def test_a_log_that_is_not_what_was_signed_is_signed_no_further(
    notary: Notary, database: DatabaseAddress, rewrite: str
) -> None:
    """Somebody with every right changes it; the signer stops, says why, and signs nothing."""
    await notary.write(4)
    await notary.must_sign()
    await notary.write(2)
    if "end" in rewrite or "DELETE" in rewrite:
        await notary.must_sign()
    await _rewrite(database, rewrite)
    with pytest.raises(HistoryChanged):
        await notary.sign()
    async with tenant_transaction(notary.pool, notary.tenant_id) as connection:
        assert await connection.fetchval("SELECT stopped FROM proof.tree")
        assert await connection.fetchval("SELECT max(size) FROM proof.checkpoint") in (4, 6)
    with pytest.raises(HistoryChanged):
        await notary.sign()


async def test_a_database_that_was_put_back_is_told_by_the_file(
    notary: Notary, database: DatabaseAddress
) -> None:
    """Every table agrees with every other, and yet the file remembers another history."""
    await notary.write(300)
    await notary.must_sign()
    # As if everything had been made anew: another history, and a tree that fits it.
    await _rewrite(
        database,
        "UPDATE proof.tree SET size = 0, frontier = '{}'; DELETE FROM proof.node;"
        "DELETE FROM proof.checkpoint; DELETE FROM ledger.event;"
        "UPDATE ledger.head SET position = 0, root = sha256(''), frontier = '{}'",
    )
    notary.scribe = Scribe(notary.pool, Engine([], []), notary.tenant_id)
    notary.scribe.now += timedelta(days=1)
    notary.written = 0
    await notary.write(100)
    notary.forget()
    with pytest.raises(HistoryChanged, match="300 events have been signed"):
        await notary.sign()
    await notary.write(250)
    with pytest.raises(HistoryChanged, match="not those that have been signed"):
        await notary.sign()


async def test_a_note_that_was_kept_before_a_crash_took_the_commit_back_is_no_lie(
    notary: Notary,
) -> None:
    """The file is ahead of the table: the log is compared as far as the file says, and goes on."""
    await notary.write(10)
    signed = await notary.must_sign()
    await notary.write(10)
    ahead = await notary.must_sign()
    async with tenant_transaction(notary.pool, notary.tenant_id) as connection:
        await connection.execute(
            "UPDATE proof.tree SET size = 10, frontier = ("
            "SELECT array_agg(h ORDER BY n) FROM unnest($1::bytea[]) WITH ORDINALITY AS f (h, n))",
            await _frontier(notary, 10),
        )
    notary.forget()
    await notary.write(1)
    again = await notary.must_sign()
    assert [s.checkpoint.size for s in (signed, ahead, again)] == [10, 20, 21]


async def _frontier(notary: Notary, size: int) -> list[bytes]:
    async with tenant_transaction(notary.pool, notary.tenant_id) as connection:
        rows = await connection.fetch(
            "SELECT leaf_hash FROM ledger.event WHERE position <= $1 ORDER BY position", size
        )
    frontier: list[bytes] = []
    merkle_proofs.append_keeping(frontier, 0, [row[0] for row in rows])
    return frontier


async def test_a_line_cut_off_is_passed_over(notary: Notary) -> None:
    """A crash in the middle of a write leaves the note before it as the last."""
    await notary.write(2)
    signed = await notary.must_sign()
    path = notary.memory.path(signed.checkpoint.origin)
    with path.open("ab") as file:
        file.write(b'\n{"signed_at":"2030-05-01T12:00:00Z","size":9,"no')
    notary.forget()
    assert notary.memory.last(signed.checkpoint.origin) == signed.checkpoint
    await notary.write(2)
    notary.forget()
    assert (await notary.must_sign()).checkpoint.size == 4
    notary.forget()
    last = notary.memory.last(signed.checkpoint.origin)
    assert last is not None
    assert last.size == 4


def test_keys_are_ones_own_and_the_old_one_signs_along_for_a_week(tmp_path: Path) -> None:
    """Only their owner may read them; after a week the new one signs alone."""
    keys = SigningKeys(tmp_path / "keys", "stockledger")
    start = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    (first,) = keys.signers(start)
    assert keys.signers(start + 60) == [first]
    second = keys.rotate(start + 3600)
    names = [str(signer.key) for signer in keys.signers(start + 3601)]
    assert names == [str(second.key), str(first.key)]
    assert [s.key for s in keys.signers(start + 3600 + 8 * 86400)] == [second.key]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()} == {0o600}
    again = SigningKeys(tmp_path / "keys", "stockledger")
    assert [str(signer.key) for _, signer in again.all()] == [str(second.key), str(first.key)]
    assert base64.b64decode(str(first.key).split("+", 2)[2])[0] == 1
