"""Proving a tenant's ledger: the log against itself, and every read model against the log.

All that is stored is read in one snapshot, while the service runs. The log is read once, in
order: each leaf is hashed again from the stored bytes, the Merkle tree is built anew, and every
projection is folded into temporary tables that are then compared with the stored ones. Memory
grows with the number of items that have stock, by some 200 bytes each, not with the log.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple, cast

import asyncpg

from ledger import merkle
from ledger.domain.decision import RecordedEvent
from ledger.domain.movements import UNRESTRICTED, claim_of, legs
from ledger.errors import UnreadableEvent
from ledger.mapper import decode_event
from ledger.store import Head, Pool, read_head
from projections import proofs
from projections.comparing import (
    STATEMENT_TIMEOUT_S,
    Difference,
    Side,
    differences,
    digest,
    table_names,
)
from projections.engine import Engine
from projections.log_reading import BATCH_BYTES_MAX, folded_types, is_unknown, of_types
from projections.projection import SCHEMA, Connection, Projection
from schemas.location import LocationOpened, LocationRevised
from schemas.stock import CountVarianceRevised, ReservationExtended

FRESH: Final = "pg_temp"
BATCH: Final = 20_000
FAULTS_SHOWN_MAX: Final = 5
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ZERO: Final = Decimal(0)

Progress = Callable[[int, int], None]
"""Called with how many events are done, and of how many in all."""


class Check(NamedTuple):
    """One thing proved, or not: how much of it was looked at, and the first faults."""

    name: str
    checked: int
    faults: Sequence[str]

    @property
    def ok(self) -> bool:
        return not self.faults


class Verdict(NamedTuple):
    """What was found of a tenant's ledger as of a position."""

    tenant_id: int
    position: int
    seconds: float
    checks: Sequence[Check]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


class _Faults:
    """The first faults of one check, and how much was checked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.checked = 0
        self._found: list[str] = []
        self._more = 0

    def add(self, text: str) -> None:
        if len(self._found) < FAULTS_SHOWN_MAX:
            self._found.append(text)
        else:
            self._more += 1

    def check(self) -> Check:
        more = [f"and {self._more} more"] if self._more else []
        return Check(self.name, self.checked, [*self._found, *more])


def _no_progress(done: int, total: int) -> None:
    """Show nothing."""


async def verify(
    pool: Pool,
    fresh: Connection,
    engine: Engine,
    tenant_id: int,
    progress: Progress = _no_progress,
) -> Verdict:
    """Prove a tenant's ledger in one snapshot; raise LookupError when there is no such tenant.

    Faults are reported, never raised. What is stored is read through the pool, as the service
    reads it. ``fresh`` is a new connection of the owner's, since the service's role may not
    make temporary tables; close it afterwards, which is what drops them.
    """
    started = time.monotonic()
    async with pool.acquire() as live:
        try:
            # The tables are locked, as any reader locks them, before the snapshot is taken:
            # so no rebuild can put tables in their place that the snapshot does not see.
            names = ", ".join(f"{SCHEMA}.{table}" for table in table_names(engine.projections))
            await live.execute(
                f"BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE {names} IN ACCESS SHARE MODE;"
                f"SELECT set_config('ledger.tenant', '{int(tenant_id)}', true);"
                "SET LOCAL work_mem = '64MB'; SET LOCAL jit = off"
            )
            connection = cast(Connection, live)
            head = await read_head(connection, tenant_id)
            await fresh.execute(
                f"SELECT set_config('ledger.tenant', '{int(tenant_id)}', false);"
                "SET client_min_messages = warning"
            )
            verification = _Verification(connection, fresh, engine, tenant_id, head, progress)
            checks = await verification.run()
        finally:
            if not live.is_closed():
                await live.execute("ROLLBACK")
    return Verdict(tenant_id, head.position, time.monotonic() - started, checks)


_READ: Final = f"""
SELECT position, stream, version, type, schema_version, data::text, meta::text, effective_at,
       recorded_at, leaf_hash
FROM (
    SELECT *, sum(pg_column_size(data)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) AS bytes
    FROM ledger.event WHERE tenant_id = $1 AND position > $2 ORDER BY position LIMIT $3
) AS next
WHERE bytes <= {BATCH_BYTES_MAX} OR position = $2 + 1
ORDER BY position
"""

_CHECKPOINTS: Final = """
SELECT size, root FROM proof.checkpoint WHERE tenant_id = $1 ORDER BY size
"""


class _Verification:
    def __init__(
        self,
        connection: Connection,
        fresh: Connection,
        engine: Engine,
        tenant_id: int,
        head: Head,
        progress: Progress,
    ) -> None:
        self._connection = connection
        self._fresh = fresh
        self._engine = engine
        self._tenant_id = tenant_id
        self._head = head
        self._progress = progress
        self._positions = _Faults("positions 1, 2, 3 …")
        self._clock = _Faults("recorded_at never goes back")
        self._leaves = _Faults("leaf hashes")
        self._readable = _Faults("events readable")
        self._signed = _Faults("signed checkpoints")
        self._position = 0
        self._recorded_at = _EPOCH
        self._types = folded_types(engine.projections)
        self._availability = _Availability()
        self._folding: dict[Projection, int] = {}
        self._unfolded: dict[Projection, str] = {}

    async def run(self) -> list[Check]:
        """Do every check, in the order of the verdict."""
        parked = await self._prepare()
        tree = await self._read_log()
        log_checks = [
            faults.check()
            for faults in (self._positions, self._clock, self._leaves, self._readable)
        ]
        log_proofs = [await self._prove(proof) for proof in (proofs.STREAMS, proofs.IDEMPOTENCY)]
        checks = [*log_checks, tree, self._signed.check(), *log_proofs]
        for projection in self._engine.projections:
            checks += await self._compare(projection)
        checks.append(parked)
        checks += [await self._prove(proof) for proof in proofs.STOCK]
        checks.append(self._availability.faults.check())
        return checks

    async def _prove(self, proof: proofs.Proof) -> Check:
        return Check(
            proof.name,
            *await proofs.prove(self._connection, self._tenant_id, proof, STATEMENT_TIMEOUT_S),
        )

    async def _prepare(self) -> Check:
        """Make the temporary tables; find how far each projection is stored."""
        faults = _Faults("following projections run")
        for projection in self._engine.projections:
            await self._fresh.execute(projection.ddl(FRESH))
            self._folding[projection] = self._head.position
            if self._engine.is_following(projection):
                faults.checked += 1
                row = await self._connection.fetchrow(
                    """
                    SELECT position, parked_position, parked_reason FROM projections.checkpoint
                    WHERE tenant_id = $1 AND name = $2
                    """,
                    self._tenant_id,
                    projection.name,
                )
                self._folding[projection] = row["position"] if row else 0
                if row and row["parked_reason"]:
                    faults.add(
                        f"{projection.name} is parked before position {row['parked_position']}: "
                        f"{row['parked_reason']}"
                    )
        return faults.check()

    async def _read_log(self) -> Check:
        """Go through the log once; return the check of its tree.

        While the database folds one batch and reads the next, the one between is hashed.
        """
        frontier: list[bytes] = []
        size, last = 0, 0
        due = deque(await self._connection.fetch(_CHECKPOINTS, self._tenant_id))
        reading = self._start_reading(0)
        folding: asyncio.Task[None] | None = None
        try:
            while rows := await reading:
                last = rows[-1][0]
                reading = self._start_reading(last)
                leaves, events = self._examine(rows)
                while due and due[0]["size"] <= size + len(leaves):
                    part = due[0]["size"] - size
                    merkle.append(frontier, size, leaves[:part])
                    size, leaves = size + part, leaves[part:]
                    self._compare_signed(due.popleft(), frontier)
                merkle.append(frontier, size, leaves)
                size += len(leaves)
                self._availability.watch(events)
                if folding is not None:
                    await folding
                folding = asyncio.create_task(self._fold(events))
                self._progress(min(last, self._head.position), self._head.position)
            if folding is not None:
                await folding
        finally:
            tasks: list[asyncio.Task[Any]] = [reading] if folding is None else [reading, folding]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for checkpoint in due:
            self._signed.add(f"{checkpoint['size']} events were signed; the log ends at {size}")
        if last != self._head.position:
            self._positions.add(f"the head is at {self._head.position}, the log ends at {last}")
        return self._tree(frontier, size)

    def _compare_signed(self, checkpoint: asyncpg.Record, frontier: list[bytes]) -> None:
        self._signed.checked += 1
        if merkle.root(frontier) != checkpoint["root"]:
            self._signed.add(
                f"the first {checkpoint['size']} events are not those that were signed"
            )

    def _start_reading(self, after: int) -> "asyncio.Task[list[asyncpg.Record]]":
        return asyncio.create_task(
            self._connection.fetch(
                _READ, self._tenant_id, after, BATCH, timeout=STATEMENT_TIMEOUT_S
            )
        )

    def _examine(self, rows: list[asyncpg.Record]) -> tuple[list[bytes], list[RecordedEvent]]:
        """Check rows against each other and their hashes; return leaves and decoded events."""
        leaves: list[bytes] = []
        events: list[RecordedEvent] = []
        for row in rows:
            position, stream, version, type_name, schema_version, data, _, effective_at = row[:8]
            recorded_at = row[8]
            if position != self._position + 1:
                self._positions.add(f"position {position} follows position {self._position}")
            self._position = position
            if recorded_at < self._recorded_at:
                self._clock.add(f"position {position} was recorded before the one before it")
            self._recorded_at = recorded_at
            leaf = _leaf(self._tenant_id, row)
            leaves.append(leaf)
            if leaf != row[9]:
                self._leaves.add(
                    f"position {position} ({type_name}) is not as it was when it was hashed"
                )
            if type_name in self._types or is_unknown(stream, type_name):
                try:
                    event = decode_event(type_name, schema_version, data)
                except UnreadableEvent as error:
                    self._readable.add(f"position {position}: {error}")
                    continue
                events.append(
                    RecordedEvent(position, stream, version, event, effective_at, recorded_at)
                )
        for faults in (self._positions, self._clock, self._leaves, self._readable):
            faults.checked += len(rows)
        return leaves, events

    def _tree(self, frontier: list[bytes], size: int) -> Check:
        faults = _Faults("Merkle tree")
        faults.checked = size
        root = merkle.root(frontier)
        if root != self._head.root:
            faults.add(f"the log's root is {root.hex()}, the head's is {self._head.root.hex()}")
        elif frontier != self._head.frontier:
            faults.add("the head's frontier is not that of the log")
        return faults.check()

    async def _fold(self, events: list[RecordedEvent]) -> None:
        """Fold a batch afresh; a projection that cannot is left out from there on."""
        for projection, target in self._folding.items():
            if projection in self._unfolded:
                continue
            mine = of_types(events, projection.event_types)
            if mine and mine[-1].position > target:
                mine = [event for event in mine if event.position <= target]
            if not mine:
                continue
            try:
                async with self._fresh.transaction():
                    await projection.apply(self._fresh, FRESH, self._tenant_id, mine)
            except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError,
                    TypeError, LookupError) as error:  # fmt: skip
                self._unfolded[projection] = (
                    f"positions {mine[0].position} to {mine[-1].position} cannot be folded: "
                    f"{type(error).__name__}: {error}"
                )

    async def _compare(self, projection: Projection) -> list[Check]:
        checks: list[Check] = []
        for table, key in projection.tables.items():
            name = f"{table} = log"
            if projection in self._unfolded:
                checks.append(Check(name, 0, [self._unfolded[projection]]))
                continue
            stored, fresh = await asyncio.gather(
                digest(self._connection, SCHEMA, table, self._tenant_id),
                digest(self._fresh, FRESH, table, self._tenant_id),
            )
            found: list[Difference] = []
            if stored != fresh:
                async with self._fresh.transaction():
                    found = await differences(
                        self._tenant_id,
                        table,
                        key,
                        stored=Side(self._connection, SCHEMA),
                        expected=Side(self._fresh, FRESH),
                        limit=FAULTS_SHOWN_MAX,
                    )
            checks.append(Check(name, stored.rows, [str(difference) for difference in found]))
        return checks


def _leaf(tenant_id: int, row: asyncpg.Record) -> bytes:
    position, stream, version, type_name, schema_version, data, meta, effective, recorded, _ = row
    return merkle.leaf_hash(
        tenant_id,
        position,
        stream,
        version,
        type_name,
        schema_version,
        data.encode(),
        meta.encode(),
        (effective - _EPOCH) // _MICROSECOND,
        (recorded - _EPOCH) // _MICROSECOND,
    )


class _Seen(NamedTuple):
    """A stock event, and what was available before it."""

    recorded: RecordedEvent
    before: Decimal

    def pairs_with(self, later: RecordedEvent) -> bool:
        """Tell whether one of the two is the revision of a count that the other called for.

        They are recorded together, whichever raises available first, and are judged as one.
        """
        mine = self.recorded
        return (
            (mine.stream, mine.version + 1, mine.recorded_at)
            == (later.stream, later.version, later.recorded_at)
        ) and isinstance(mine.event, CountVarianceRevised) != isinstance(
            later.event, CountVarianceRevised
        )


class _Availability:
    """Invariant I6 in the log's order: nothing takes available below its location's limit.

    Available is unrestricted less the holds that had not expired when the event was recorded.
    What does not lower it may leave it below the limit, where the limit was raised meanwhile.
    """

    def __init__(self) -> None:
        self.faults = _Faults("no oversell (I6)")
        self._unrestricted: dict[tuple[int, int], Decimal] = {}
        self._holds: dict[tuple[int, int], dict[str, tuple[Decimal, datetime | None]]] = {}
        self._limits: dict[int, Decimal] = {}
        self._last: _Seen | None = None

    def watch(self, events: Sequence[RecordedEvent]) -> None:
        """Take the next events into account."""
        for recorded in events:
            event: Any = recorded.event
            if isinstance(event, LocationOpened | LocationRevised):
                self._limits[event.location_id] = event.stock_limit
            elif recorded.stream.startswith("stock-"):
                self.faults.checked += 1
                self._watch_stock(recorded, event)

    def _watch_stock(self, recorded: RecordedEvent, event: Any) -> None:
        item = event.product_id, event.location_id
        before = self._available(item, recorded.recorded_at)
        if (leg := legs(event)) is not None:
            if leg.to_account == UNRESTRICTED:
                self._move((event.product_id, leg.to_location_id), leg.quantity)
            if leg.from_account == UNRESTRICTED:
                self._move((event.product_id, leg.from_location_id), -leg.quantity)
        self._claim(item, event)
        available = self._available(item, recorded.recorded_at)
        earlier, self._last = self._last, _Seen(recorded, before)
        if available >= before or available >= (limit := self._limits.get(item[1], _ZERO)):
            return
        if earlier is not None and earlier.pairs_with(recorded) and available >= earlier.before:
            return
        self.faults.add(
            f"position {recorded.position} leaves {available} available of product {item[0]} "
            f"at location {item[1]}, whose limit is {limit}"
        )

    def _move(self, item: tuple[int, int], quantity: Decimal) -> None:
        self._unrestricted[item] = self._unrestricted.get(item, _ZERO) + quantity

    def _available(self, item: tuple[int, int], now: datetime) -> Decimal:
        unrestricted = self._unrestricted.get(item, _ZERO)
        holds = self._holds.get(item)
        if holds is None:
            return unrestricted
        live = [left for left, expires in holds.values() if expires is None or expires > now]
        return unrestricted - sum(live, _ZERO)

    def _claim(self, item: tuple[int, int], event: Any) -> None:
        if isinstance(event, ReservationExtended):
            holds = self._holds.get(item, {})
            if event.reservation_id in holds:
                left, _ = holds[event.reservation_id]
                holds[event.reservation_id] = left, event.expires_at
        elif (claim := claim_of(event)) is not None:
            name, change = claim
            holds = self._holds.setdefault(item, {})
            left, expires_at = holds.pop(name, (_ZERO, getattr(event, "expires_at", None)))
            if left + change > 0:
                holds[name] = left + change, expires_at
            elif not holds:
                del self._holds[item]
