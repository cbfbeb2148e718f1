"""Signed checkpoints of each log, and the proofs that lead to them.

Whoever signs goes over the new leaves once, keeps every 256th node of the tree, and signs the
root where it is the head's. What was signed last is also remembered outside the database: a log
that is not what was signed, as after its database was rewritten or put back to an older state, is
signed no further.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Final, NamedTuple, Protocol, cast

import asyncpg
import structlog

from ledger import merkle
from ledger.feed import Feed
from ledger.merkle_proofs import (
    KEPT_EVERY,
    Node,
    Range,
    append_keeping,
    consistency,
    inclusion,
    nodes,
    root_of,
)
from ledger.notes import Checkpoint, Signer, sign
from ledger.session import CONNECTION_LOST
from ledger.store import Connection, Pool, read_head, tenant_transaction

INTERVAL_S: Final = 1.0
TENANTS_POLL_S: Final = 5.0
LEAVES_MAX: Final = 100_000
RETRY_S: Final = 5.0
STOPPED_RETRY_S: Final = 60.0

log = structlog.get_logger(__name__)


class HistoryChanged(Exception):
    """A log is not what was signed of it before; nothing more of it will be signed."""


class Signed(NamedTuple):
    """A checkpoint as it is kept: its note, who signed, and when."""

    checkpoint: Checkpoint
    note: str
    keys: Sequence[str]
    signed_at: datetime


class Memory(Protocol):
    """What is remembered of checkpoints outside the database."""

    def last(self, origin: str) -> Checkpoint | None:
        """Return what was signed last of a log, as far as it is known here."""
        ...

    def keep(self, signed: Signed) -> None:
        """Remember a checkpoint, durably, before anybody else is told of it."""
        ...


Outlet = Callable[[int, Signed], None]
"""Told each new checkpoint, with its tenant, to be passed on; it must not wait."""


# --- signing ----------------------------------------------------------------------------


async def run_signing(
    pool: Pool,
    feed: Feed,
    signers: Callable[[], Sequence[Signer]],
    memory: Memory,
    now: Callable[[], datetime],
    outlets: Sequence[Outlet] = (),
) -> None:
    """Sign a checkpoint of every log that has grown, at most every second, until cancelled.

    Several processes may run this: each log is gone over by one at a time.
    """
    async with asyncio.TaskGroup() as tasks:
        known: set[int] = set()
        while True:
            try:
                async with pool.acquire() as connection:
                    rows = await connection.fetch("SELECT ledger.tenant_ids()")
            except (*CONNECTION_LOST, asyncpg.PostgresError) as error:
                log.warning("tenants_unreadable", error=str(error))
                rows = []
            for tenant_id in {row[0] for row in rows} - known:
                known.add(tenant_id)
                tasks.create_task(_follow(pool, feed, signers, memory, now, outlets, tenant_id))
            await asyncio.sleep(TENANTS_POLL_S)


async def _follow(
    pool: Pool,
    feed: Feed,
    signers: Callable[[], Sequence[Signer]],
    memory: Memory,
    now: Callable[[], datetime],
    outlets: Sequence[Outlet],
    tenant_id: int,
) -> None:
    while True:
        try:
            size, signed = await extend(pool, tenant_id, signers(), memory, now())
            if signed is not None:
                for outlet in outlets:
                    outlet(tenant_id, signed)
            news = cast(AsyncGenerator[object, None], feed.follow(tenant_id, size, batch=1))
            async with aclosing(news):
                await anext(news)
            await asyncio.sleep(INTERVAL_S)
        except HistoryChanged as fault:
            log.error("history_changed", tenant_id=tenant_id, reason=str(fault))
            await asyncio.sleep(STOPPED_RETRY_S)
        except (*CONNECTION_LOST, asyncpg.PostgresError, OSError) as error:
            log.warning("signing_retries", tenant_id=tenant_id, error=str(error), seconds=RETRY_S)
            await asyncio.sleep(RETRY_S)
        except Exception:
            # A key that cannot be read, say: what else this process does must go on.
            log.exception("signing_failed", tenant_id=tenant_id)
            await asyncio.sleep(STOPPED_RETRY_S)


async def extend(
    pool: Pool, tenant_id: int, signers: Sequence[Signer], memory: Memory, now: datetime
) -> tuple[int, Signed | None]:
    """Go over what is new in a log and sign it; return how far that is, and the new checkpoint.

    There is none where nothing is new, or where another process is at it. Raises HistoryChanged,
    having signed nothing, when the log is not what was signed before.
    """
    while True:
        try:
            async with tenant_transaction(pool, tenant_id) as connection:
                size, end, signed = await _extend(connection, tenant_id, signers, memory, now)
        except HistoryChanged as fault:
            async with tenant_transaction(pool, tenant_id) as connection:
                await connection.execute(_STOP, tenant_id, str(fault))
            raise
        if signed is not None or size == end:
            return size, signed


async def _extend(
    connection: Connection,
    tenant_id: int,
    signers: Sequence[Signer],
    memory: Memory,
    now: datetime,
) -> tuple[int, int, Signed | None]:
    """Go over the next leaves; return how far that is, how far it is to go, and the checkpoint."""
    await connection.execute(_BEGIN, tenant_id)
    tree = await connection.fetchrow(_TREE, tenant_id)
    if tree is None:
        size: int = await connection.fetchval(_SIZE, tenant_id)
        return size, size, None
    size, frontier = tree["size"], list(tree["frontier"])
    head = await read_head(connection, tenant_id)
    origin = origin_of(tree["log_id"])
    if not tree["stopped"] and head.position == size:
        return size, size, None
    if head.position < size:
        raise HistoryChanged(f"the log ends at {head.position}; {size} events have been signed")
    await _compare(connection, tenant_id, memory.last(origin), size)
    end = min(head.position, size + LEAVES_MAX)
    leaves = [row[0] for row in await connection.fetch(_LEAVES, tenant_id, size, end)]
    if len(leaves) != end - size:
        raise HistoryChanged(f"of the events from {size + 1} to {end} some are missing")
    kept = append_keeping(frontier, size, leaves)
    root = merkle.root(frontier)
    if end == head.position and root != head.root:
        raise HistoryChanged(f"the events up to {end} do not have the root that the head says")
    await connection.execute(_GO_ON, tenant_id, end, frontier)
    if kept:
        await connection.execute(
            _KEEP,
            tenant_id,
            [node.height for node, _ in kept],
            [node.number for node, _ in kept],
            [found for _, found in kept],
        )
    if end < head.position or not end:
        return end, head.position, None
    checkpoint = Checkpoint(origin, end, root)
    keys = [str(signer.key) for signer in signers]
    signed = Signed(checkpoint, sign(checkpoint, signers), keys, now)
    await connection.execute(_SIGNED, tenant_id, end, root, signed.note, keys, now)
    memory.keep(signed)
    return end, end, signed


async def _compare(
    connection: Connection, tenant_id: int, remembered: Checkpoint | None, size: int
) -> None:
    """Raise HistoryChanged unless the tree begins with what is remembered of it."""
    if remembered is None:
        return
    if remembered.size > size:
        # Signed and remembered by a process that ended before its commit: the log goes on there.
        head = await read_head(connection, tenant_id)
        if head.position < remembered.size:
            raise HistoryChanged(
                f"the log ends at {head.position}; {remembered.size} events have been signed"
            )
        rows = await connection.fetch(_LEAVES, tenant_id, size, remembered.size)
        frontier = list(await connection.fetchval(_FRONTIER, tenant_id))
        merkle.append(frontier, size, [row[0] for row in rows])
        root = merkle.root(frontier)
    else:
        (root,) = await roots(connection, tenant_id, [Range(0, remembered.size)])
    if root != remembered.root:
        raise HistoryChanged(
            f"the first {remembered.size} events are not those that have been signed"
        )


def origin_of(log_id: object) -> str:
    """Return the name of a log in its checkpoints."""
    return f"stockledger/{log_id}"


# --- proofs -----------------------------------------------------------------------------


async def roots(connection: Connection, tenant_id: int, ranges: Sequence[Range]) -> list[bytes]:
    """Return the roots of ranges of leaves, none behind what has been signed.

    Raises HistoryChanged where parts of the tree are missing. The statements are three or four,
    whatever the size of the log, and read some hundred rows.
    """
    wanted = {node for leaves in ranges for node in nodes(leaves)}
    found = await _hashes(connection, tenant_id, wanted)
    return [root_of(leaves, found.__getitem__) for leaves in ranges]


async def inclusion_path(
    connection: Connection, tenant_id: int, position: int, size: int
) -> list[bytes]:
    """Return the hashes that prove that the event at a position is among the first ``size``."""
    return await roots(connection, tenant_id, inclusion(position - 1, size))


async def consistency_path(
    connection: Connection, tenant_id: int, old: int, new: int
) -> list[bytes]:
    """Return the hashes that prove that a log of ``new`` events begins with that of ``old``."""
    return await roots(connection, tenant_id, consistency(old, new))


async def _hashes(
    connection: Connection, tenant_id: int, wanted: Iterable[Node]
) -> dict[Node, bytes]:
    """Return the hashes of nodes, from the kept ones and the leaves below them."""
    parts: dict[int, set[int]] = defaultdict(set)
    below: dict[Node, tuple[int, range]] = {}
    for node in wanted:
        base = node.height - node.height % KEPT_EVERY
        width = 1 << node.height - base
        numbers = range(node.number * width, (node.number + 1) * width)
        below[node] = base, numbers
        parts[base].update(numbers)
    read: dict[tuple[int, int], bytes] = {}
    for base, numbers in parts.items():
        if base:
            rows = await connection.fetch(_NODES, tenant_id, base, sorted(numbers))
        else:
            rows = await connection.fetch(_LEAVES_AT, tenant_id, [n + 1 for n in sorted(numbers)])
        if len(rows) != len(numbers):
            raise HistoryChanged("parts of the tree over the log are missing")
        read |= {(base, number): found for number, found in rows}
    hashes: dict[Node, bytes] = {}
    for node, (base, numbers) in below.items():
        frontier: list[bytes] = []
        merkle.append(frontier, 0, [read[base, number] for number in numbers])
        (hashes[node],) = frontier
    return hashes


_BEGIN: Final = "INSERT INTO proof.tree (tenant_id) VALUES ($1) ON CONFLICT DO NOTHING"

_TREE: Final = """
SELECT log_id, size, frontier, stopped FROM proof.tree WHERE tenant_id = $1
FOR UPDATE SKIP LOCKED
"""

_SIZE: Final = "SELECT size FROM proof.tree WHERE tenant_id = $1"

_FRONTIER: Final = "SELECT frontier FROM proof.tree WHERE tenant_id = $1"

_STOP: Final = "UPDATE proof.tree SET stopped = $2 WHERE tenant_id = $1"

_GO_ON: Final = """
UPDATE proof.tree SET size = $2, frontier = $3, stopped = NULL WHERE tenant_id = $1
"""

_LEAVES: Final = """
SELECT leaf_hash FROM ledger.event
WHERE tenant_id = $1 AND position > $2 AND position <= $3 ORDER BY position
"""

_LEAVES_AT: Final = """
SELECT position - 1, leaf_hash FROM ledger.event
WHERE tenant_id = $1 AND position = ANY ($2::bigint[])
"""

_NODES: Final = """
SELECT number, hash FROM proof.node
WHERE tenant_id = $1 AND height = $2 AND number = ANY ($3::bigint[])
"""

_KEEP: Final = """
INSERT INTO proof.node (tenant_id, height, number, hash)
SELECT $1, n.* FROM unnest($2::smallint[], $3::bigint[], $4::bytea[]) AS n
"""

_SIGNED: Final = """
INSERT INTO proof.checkpoint (tenant_id, size, root, note, keys, signed_at)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
"""
