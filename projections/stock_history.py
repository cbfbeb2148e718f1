"""Stock in two times: what there was as of any time, as it was known at any position.

A figure is the sum of an item's entries (`projections.stock_history_fold`) that are effective by
a time and known at a position. They are kept so that the sum is found by some look-ups, however
many there are and however many were recorded late:

- Most entries come in the order in which things happened. Those that are effective no earlier
  than every one before them are *straight*: in order of both times, so that the ones asked for
  are the first so many. ``stock_history_straight`` keeps them in chunks, each with the sums of all
  before it: two look-ups, and a chunk to add up.
- The others are *late*. ``stock_history_late`` keeps them in chunks in the order in which they
  were recorded. Every ``fan`` chunks are also kept as a run in ``stock_history_sorted``: in order
  of when they were effective, in chunks with the sums of those before them in the run; every
  ``fan`` such runs as a longer one; and so on for some levels (a merge-sort tree that grows by
  appending, as in the logarithmic method: Bentley and Saxe, 1980). What was known at a position
  is some whole runs, one look-up each, and the rest of a chunk.

What does not fill a chunk yet is in the item's row. Nothing that was written to a chunk changes
any more, and what is in which chunk depends on nothing but the log. ``stock_history_begin`` tells
since when an item had any: a row each time that this turned out to be earlier than was known.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.projection import BALANCE, Columns, Connection, Statements
from projections.stock_history_fold import (
    ENTRY,
    FIGURES,
    FOR_EVER,
    PURCHASE_EVENTS,
    STOCK_EVENTS,
    Item,
    Unfolded,
    millionths,
    quantity_of,
    sums_of,
    unfold,
)
from schemas.common import Event

if TYPE_CHECKING:
    from projections.stock_history_bulk import StockHistoryBulk


class Shape(NamedTuple):
    """How many entries a chunk has, how many chunks or runs a run has, and the levels of runs."""

    chunk: int = 16
    fan: int = 8
    levels: int = 4


SHAPE: Final = Shape()

_SUMS: Final = tuple(f"{figure} {BALANCE}" for figure in FIGURES)
_ITEM = Columns(
    "product_id bigint",
    "location_id bigint",
    "earliest bigint",
    "latest bigint",
    "straight_chunks bigint",
    "late_chunks bigint",
    "straight bytea",
    "late bytea",
)
_BEGIN = Columns("product_id bigint", "location_id bigint", "position bigint", "at bigint")
_STRAIGHT = Columns(
    "product_id bigint",
    "location_id bigint",
    "number bigint",
    "at bigint",
    "position bigint",
    *_SUMS,
    "entries bytea",
)
_LATE = Columns(
    "product_id bigint",
    "location_id bigint",
    "number bigint",
    "position bigint",
    "entries bytea",
)
_SORTED = Columns(
    "product_id bigint",
    "location_id bigint",
    "level smallint",
    "run bigint",
    "chunk bigint",
    "at bigint",
    *_SUMS,
    "entries bytea",
)
_CLAIM = Columns(
    "product_id bigint", "location_id bigint", 'reservation_id text COLLATE "C"', "steps text"
)
_PURCHASE = Columns("purchase_order_id bigint", "content text")


def _append(table: str) -> str:
    return f"""
        INSERT INTO {{schema}}.{table}
        SELECT n.* FROM unnest((SELECT $1::text::{{schema}}.{table}[])) AS n
    """


_SQL = Statements(
    items="""
        SELECT h.product_id, h.location_id, h.earliest, h.latest, h.straight_chunks,
               h.late_chunks, h.straight, h.late
        FROM unnest($2::bigint[], $3::bigint[]) AS w (product_id, location_id)
        JOIN {schema}.stock_history_item h
            ON h.tenant_id = $1 AND h.product_id = w.product_id AND h.location_id = w.location_id
    """,
    keep_items=f"""
        INSERT INTO {{schema}}.stock_history_item
        SELECT n.* FROM unnest((SELECT $1::text::{{schema}}.stock_history_item[])) AS n
        ON CONFLICT (tenant_id, product_id, location_id) DO UPDATE
        SET {_ITEM.overwrite(keep={"product_id", "location_id"})}
    """,
    chunk_before=f"""
        SELECT h.product_id, h.location_id, {", ".join(f"h.{figure}" for figure in FIGURES)},
               h.entries
        FROM unnest($2::bigint[], $3::bigint[], $4::bigint[])
            AS w (product_id, location_id, number)
        JOIN {{schema}}.stock_history_straight h
            ON h.tenant_id = $1 AND h.product_id = w.product_id
            AND h.location_id = w.location_id AND h.number = w.number
    """,
    begin=f"""
        INSERT INTO {{schema}}.stock_history_begin (tenant_id, {_BEGIN.listed})
        SELECT $1, n.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS n
    """,
    append_straight=_append("stock_history_straight"),
    append_late=_append("stock_history_late"),
    append_sorted=_append("stock_history_sorted"),
    late_of_runs="""
        SELECT w.product_id, w.location_id, w.run, h.entries
        FROM unnest($2::bigint[], $3::bigint[], $4::bigint[])
            AS w (product_id, location_id, run)
        JOIN {schema}.stock_history_late h
            ON h.tenant_id = $1 AND h.product_id = w.product_id AND h.location_id = w.location_id
            AND h.number >= w.run * $5::bigint AND h.number < (w.run + 1) * $5::bigint
        ORDER BY w.product_id, w.location_id, w.run, h.number
    """,
    runs_of_runs="""
        SELECT w.product_id, w.location_id, w.run, h.entries
        FROM unnest($2::bigint[], $3::bigint[], $4::bigint[])
            AS w (product_id, location_id, run)
        JOIN {schema}.stock_history_sorted h
            ON h.tenant_id = $1 AND h.product_id = w.product_id AND h.location_id = w.location_id
            AND h.level = $6::smallint
            AND h.run >= w.run * $5::bigint AND h.run < (w.run + 1) * $5::bigint
        ORDER BY w.product_id, w.location_id, w.run, h.run, h.chunk
    """,
    keep_claims=f"""
        INSERT INTO {{schema}}.stock_history_claim (tenant_id, {_CLAIM.listed})
        SELECT $1, n.* FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[]) AS n
        ON CONFLICT (tenant_id, product_id, location_id, reservation_id) DO UPDATE
        SET steps = excluded.steps
    """,
    end_claims="""
        DELETE FROM {schema}.stock_history_claim h
        USING unnest($2::bigint[], $3::bigint[], $4::text[])
            AS w (product_id, location_id, reservation_id)
        WHERE h.tenant_id = $1 AND h.product_id = w.product_id
          AND h.location_id = w.location_id AND h.reservation_id = w.reservation_id
    """,
    keep_purchases=f"""
        INSERT INTO {{schema}}.stock_history_purchase (tenant_id, {_PURCHASE.listed})
        SELECT $1, n.* FROM unnest($2::bigint[], $3::text[]) AS n
        ON CONFLICT (tenant_id, purchase_order_id) DO UPDATE SET content = excluded.content
    """,
    end_purchases="""
        DELETE FROM {schema}.stock_history_purchase
        WHERE tenant_id = $1 AND purchase_order_id = ANY ($2::bigint[])
    """,
)

_OF_ITEM: Final = ("tenant_id", "product_id", "location_id")


class StockHistory:
    """Keeps every item's entries. ``shape`` is for tests: other than `SHAPE` it is read with it."""

    name: ClassVar[str] = "stock_history"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "stock_history_item": _OF_ITEM,
        "stock_history_begin": (*_OF_ITEM, "position"),
        "stock_history_straight": (*_OF_ITEM, "number"),
        "stock_history_late": (*_OF_ITEM, "number"),
        "stock_history_sorted": (*_OF_ITEM, "level", "run", "at", "chunk"),
        "stock_history_claim": (*_OF_ITEM, "reservation_id"),
        "stock_history_purchase": ("tenant_id", "purchase_order_id"),
    }
    event_types: ClassVar[frozenset[type[Event]]] = STOCK_EVENTS | PURCHASE_EVENTS

    def __init__(self, shape: Shape = SHAPE) -> None:
        self._shape = shape
        self._chunk_bytes = shape.chunk * ENTRY.size

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables."""
        columns = (_ITEM, _BEGIN, _STRAIGHT, _LATE, _SORTED, _CLAIM, _PURCHASE)
        storage = ("WITH (fillfactor = 70)", "", "", "", "", "WITH (fillfactor = 80)", "")
        created = zip(columns, self.tables.items(), storage, strict=True)
        of_item = ", ".join(_OF_ITEM)
        return (
            "".join(each.create(schema, table, key, how) for each, (table, key), how in created)
            + f"""
            CREATE INDEX ON {schema}.stock_history_straight ({of_item}, at, number);
            CREATE INDEX ON {schema}.stock_history_straight ({of_item}, position, number);
            CREATE INDEX ON {schema}.stock_history_late ({of_item}, position, number);
            """
        )

    def bulk_fold(self, tenant_id: int) -> "StockHistoryBulk":
        """Return the quick way into empty tables."""
        # It takes a moment to load: only where it is needed.
        from projections.stock_history_bulk import StockHistoryBulk

        return StockHistoryBulk(tenant_id, self._shape)

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Add the events' entries to what each item has open; write the chunks that are full."""
        if not events:
            return
        unfolded = await unfold(connection, schema, tenant_id, events)
        sql = _SQL.of(schema)
        if unfolded.begun or unfolded.changes:
            items = await self._items(connection, sql, tenant_id, unfolded)
            await _write_begun(connection, sql, tenant_id, unfolded, items)
            await self._write_straight(connection, sql, tenant_id, items)
            await self._write_late(connection, sql, tenant_id, items)
            await connection.execute(sql["keep_items"], _array(_item_rows(tenant_id, items)))
        await _write_claims(connection, sql, tenant_id, unfolded)

    async def _items(
        self, connection: Connection, sql: Mapping[str, str], tenant_id: int, unfolded: Unfolded
    ) -> "dict[Item, _Open]":
        """Return the items with what the events add to them, the full chunks taken off."""
        items = {item: _Open() for item in (*unfolded.begun, *unfolded.changes)}
        rows = await connection.fetch(sql["items"], tenant_id, *zip(*items, strict=True))
        for product_id, location_id, *rest in rows:
            items[product_id, location_id] = _Open(*rest)
        for item, changes in unfolded.changes.items():
            open_ = items[item]
            straight, late, latest = [open_.straight], [open_.late], open_.latest
            for at, packed, own in changes:
                if own and at >= latest:
                    latest = at
                    straight.append(packed)
                else:
                    late.append(packed)
            open_.latest = latest
            open_.full_straight, open_.straight = self._full(b"".join(straight))
            open_.full_late, open_.late = self._full(b"".join(late))
            open_.straight_chunks += len(open_.full_straight)
            open_.late_chunks += len(open_.full_late)
        return items

    def _full(self, entries: bytes) -> tuple[list[bytes], bytes]:
        """Return the full chunks of some entries, and the rest."""
        size = self._chunk_bytes
        whole = len(entries) // size * size
        return [entries[start : start + size] for start in range(0, whole, size)], entries[whole:]

    async def _write_straight(
        self,
        connection: Connection,
        sql: Mapping[str, str],
        tenant_id: int,
        items: "Mapping[Item, _Open]",
    ) -> None:
        full = {item: open_ for item, open_ in items.items() if open_.full_straight}
        if not full:
            return
        first = {
            item: open_.straight_chunks - len(open_.full_straight) for item, open_ in full.items()
        }
        sums: dict[Item, list[int]] = {}
        rows = await connection.fetch(
            sql["chunk_before"],
            tenant_id,
            *zip(*full, strict=True),
            [number - 1 for number in first.values()],
        )
        for product_id, location_id, *before, entries in rows:
            sums[product_id, location_id] = _plus(
                [millionths(quantity) for quantity in before], entries
            )
        written: list[str] = []
        for item, open_ in full.items():
            so_far = sums.get(item, _NOTHING)
            for number, entries in enumerate(open_.full_straight, first[item]):
                at, position, *_ = ENTRY.unpack_from(entries)
                written.append(
                    f"({tenant_id},{item[0]},{item[1]},{number},{at},{position},"
                    f"{_quantities(so_far)},{_bytes(entries)})"
                )
                so_far = _plus(so_far, entries)
        await connection.execute(sql["append_straight"], _array(written))

    async def _write_late(
        self,
        connection: Connection,
        sql: Mapping[str, str],
        tenant_id: int,
        items: "Mapping[Item, _Open]",
    ) -> None:
        """Write the chunks, and the runs that are full with them, level by level."""
        full = {item: open_ for item, open_ in items.items() if open_.full_late}
        if not full:
            return
        written: list[str] = []
        grown: dict[Item, tuple[int, int]] = {}
        for item, open_ in full.items():
            first = open_.late_chunks - len(open_.full_late)
            grown[item] = first, open_.late_chunks
            for number, entries in enumerate(open_.full_late, first):
                position = ENTRY.unpack_from(entries)[1]
                written.append(
                    f"({tenant_id},{item[0]},{item[1]},{number},{position},{_bytes(entries)})"
                )
        await connection.execute(sql["append_late"], _array(written))
        fan = self._shape.fan
        for level in range(1, self._shape.levels + 1):
            grown = {item: (before // fan, now // fan) for item, (before, now) in grown.items()}
            runs = [
                (*item, run) for item, (before, now) in grown.items() for run in range(before, now)
            ]
            if not runs:
                return
            await self._write_runs(connection, sql, tenant_id, level, runs)

    async def _write_runs(
        self,
        connection: Connection,
        sql: Mapping[str, str],
        tenant_id: int,
        level: int,
        runs: Sequence[tuple[int, int, int]],
    ) -> None:
        statement, more = ("late_of_runs", ()) if level == 1 else ("runs_of_runs", (level - 1,))
        # Some at a time: those of the highest level are megabytes each.
        at_once = max(1, RUN_ENTRIES_MAX // (self._shape.chunk * self._shape.fan**level))
        for start in range(0, len(runs), at_once):
            parts: dict[tuple[int, int, int], list[bytes]] = {}
            for *run, entries in await connection.fetch(
                sql[statement],
                tenant_id,
                *zip(*runs[start : start + at_once], strict=True),
                self._shape.fan,
                *more,
            ):
                parts.setdefault((run[0], run[1], run[2]), []).append(entries)
            for run, chunks in parts.items():
                await connection.execute(
                    sql["append_sorted"], _array(self._sorted(tenant_id, level, run, chunks))
                )

    def _sorted(
        self, tenant_id: int, level: int, run: tuple[int, int, int], chunks: Sequence[bytes]
    ) -> Iterable[str]:
        """Yield the rows of a run: entries in order of when they were effective."""
        product_id, location_id, number = run
        for place, (at, sums, part) in enumerate(run_of(chunks, self._chunk_bytes)):
            yield (
                f"({tenant_id},{product_id},{location_id},{level},{number},{place},{at},"
                f"{_quantities(sums)},{_bytes(part)})"
            )


def run_of(chunks: Sequence[bytes], chunk_bytes: int) -> Iterator[tuple[int, Sequence[int], bytes]]:
    """Yield a run's chunks: from when on they are, the sums of those before them, the entries.

    ``chunks`` are those that it is made of, in order of when they were recorded.
    """
    size = ENTRY.size
    # Packed, they are in the order of their bytes.
    entries = b"".join(
        sorted(
            chunk[start : start + size] for chunk in chunks for start in range(0, len(chunk), size)
        )
    )
    sums = _NOTHING
    for start in range(0, len(entries), chunk_bytes):
        part = entries[start : start + chunk_bytes]
        yield ENTRY.unpack_from(part)[0], sums, part
        sums = _plus(sums, part)


RUN_ENTRIES_MAX: Final = 131_072
"""So many entries of runs are sorted in memory at a time, or one run."""


class _Open(msgspec.Struct):
    """An item: what does not fill a chunk yet, how many chunks there are, and which are new."""

    earliest: int = FOR_EVER
    latest: int = 0
    straight_chunks: int = 0
    late_chunks: int = 0
    straight: bytes = b""
    late: bytes = b""
    full_straight: list[bytes] = []
    full_late: list[bytes] = []


def _item_rows(tenant_id: int, items: Mapping[Item, _Open]) -> Iterable[str]:
    for (product_id, location_id), open_ in items.items():
        yield (
            f"({tenant_id},{product_id},{location_id},{open_.earliest},{open_.latest},"
            f"{open_.straight_chunks},{open_.late_chunks},{_bytes(open_.straight)},"
            f"{_bytes(open_.late)})"
        )


async def _write_begun(
    connection: Connection,
    sql: Mapping[str, str],
    tenant_id: int,
    unfolded: Unfolded,
    items: Mapping[Item, _Open],
) -> None:
    """Note where in the log an item came to have begun earlier than was known before."""
    rows: list[tuple[int, int, int, int]] = []
    for item, begun in unfolded.begun.items():
        open_ = items[item]
        for at, position in begun:
            if at < open_.earliest:
                open_.earliest = at
                rows.append((*item, position, at))
    if rows:
        await connection.execute(sql["begin"], tenant_id, *zip(*rows, strict=True))


async def _write_claims(
    connection: Connection, sql: Mapping[str, str], tenant_id: int, unfolded: Unfolded
) -> None:
    ended = [key for key, steps in unfolded.claims.items() if not steps]
    if ended:
        await connection.execute(sql["end_claims"], tenant_id, *zip(*ended, strict=True))
    kept = [
        (*key, msgspec.json.encode(steps).decode())
        for key, steps in unfolded.claims.items()
        if steps
    ]
    if kept:
        await connection.execute(sql["keep_claims"], tenant_id, *zip(*kept, strict=True))
    over = [number for number, purchase in unfolded.purchases.items() if purchase is None]
    if over:
        await connection.execute(sql["end_purchases"], tenant_id, over)
    open_ = [
        (number, msgspec.json.encode(purchase).decode())
        for number, purchase in unfolded.purchases.items()
        if purchase is not None
    ]
    if open_:
        await connection.execute(sql["keep_purchases"], tenant_id, *zip(*open_, strict=True))


_NOTHING: Final = [0] * len(FIGURES)


def _plus(sums: Sequence[int], entries: bytes) -> list[int]:
    return [a + b for a, b in zip(sums, sums_of(entries), strict=False)]


def _quantities(sums: Sequence[int]) -> str:
    return ",".join(str(quantity_of(each)) if each else "0" for each in sums)


def _bytes(value: bytes) -> str:
    r"""Return bytes as a field of a row within the text of an array: each ``\`` twice quoted."""
    return "\\\\\\\\x" + value.hex()


def _array(rows: Iterable[str]) -> str:
    return '{"' + '","'.join(rows) + '"}'
