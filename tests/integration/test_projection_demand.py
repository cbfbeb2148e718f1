"""The projections of demand and of ingestion batches: whatever batches the log is folded in."""

from datetime import date
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from deploy.address import DatabaseAddress
from ledger.store import Pool, tenant_transaction
from projections.demand import Demand, DemandFilter, demand_by_period
from projections.engine import Engine
from projections.following import catch_up
from projections.import_batches import (
    list_batches,
    list_refusals,
    read_batch,
    read_chunks,
)
from schemas.common import Event
from schemas.demand import DemandLine, DemandRecorded, ImportBatchReversed
from schemas.import_batch import (
    ImportBatchClosed,
    ImportBatchOpened,
    ImportChunkRecorded,
    ImportKind,
    LineRefusal,
)
from schemas.product import ProductRegistered
from tests.support.postgres import create_tenant
from tests.support.proving import prove
from tests.support.written_log import Scribe, Written

DEMAND = Demand()
INTRUDER = "2, 'day', '2026-03-01', 'b', 1, 1"
MARCH = date(2026, 3, 1), date(2026, 3, 31)


@pytest.fixture
def scribe(pool: Pool, tenant_id: int) -> Scribe:
    """An empty log."""
    return Scribe(pool, Engine(), tenant_id)


def batch(name: str, *events: Event) -> list[Written]:
    """Return events as those of a batch's stream."""
    return [(f"import-{name}", event) for event in events]


def opened(name: str, kind: ImportKind = "demand") -> Event:
    """Return the beginning of a batch."""
    return ImportBatchOpened(
        batch_id=name, kind=kind, source_name="feed", source_digest="", options={"period": "day"}
    )


def told(name: str, chunk: int, *lines: tuple[int, str, int, Any], refused: int = 0) -> Event:
    """Return a chunk: products, quantities, days of March and periods."""
    first = chunk * 1_000 + 1
    return DemandRecorded(
        batch_id=name,
        chunk=chunk,
        first_line=first,
        last_line=first + len(lines) + refused - 1,
        digest=f"{name}-{chunk}",
        lines=tuple(
            DemandLine(
                line=first + n,
                product_id=product_id,
                quantity=Decimal(quantity),
                order_date=date(2026, 3, day),
                period=period,
            )
            for n, (product_id, quantity, day, period) in enumerate(lines)
        ),
        refusals=tuple(
            LineRefusal(line=first + len(lines) + n, code="product_not_found", detail="none")
            for n in range(refused)
        ),
    )


def closed(name: str, accepted: int, refused: int = 0) -> Event:
    """Return the end of a batch."""
    return ImportBatchClosed(
        batch_id=name, lines=accepted + refused, accepted=accepted, refused=refused
    )


PRODUCTS: list[Written] = [
    (
        f"product-{number}",
        ProductRegistered(
            product_id=number, name=f"P{number}", sku=f"P{number}", base_price=Decimal(1),
            scale=scale,
        ),
    )
    for number, scale in ((1, 0), (2, 2))
]  # fmt: skip

ENTRIES: list[Written] = [
    *PRODUCTS,
    *batch("a", opened("a"), told("a", 0, (1, "3", 4, "week"), (2, "0.75", 4, "day"))),
    *batch("b", opened("b"), told("b", 0, (1, "5", 6, "week"), refused=2)),
    *batch("a", told("a", 1, (1, "4", 8, "week"), (1, "31", 1, "month"), refused=1)),
    *batch("a", closed("a", 4, 1)),
    *batch("c", opened("c"), told("c", 0, (2, "9.99", 9, "month"))),
    *batch("b", ImportBatchReversed(batch_id="b", reason="twice")),
    *batch("files", opened("files", "products")),
    *batch(
        "files",
        ImportChunkRecorded(
            batch_id="files", chunk=0, first_line=2, last_line=9, accepted=7, refused=1,
            refusals=(LineRefusal(line=5, code="bad_price", detail="x"),),
        ),
    ),
]  # fmt: skip


async def report(scribe: Scribe, group_by: Any = "day") -> dict[tuple[int, int], Decimal]:
    """Fold what is new; return March by product and day of the month."""
    assert await catch_up(scribe.pool, DEMAND, scribe.tenant_id) is not None
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        rows, _, _ = await demand_by_period(
            connection, scribe.tenant_id, DemandFilter(*MARCH), group_by, 1_000, 0
        )
    return {(row["product_id"], row["period"].day): row["quantity"] for row in rows}


async def table(scribe: Scribe, name: str) -> list[tuple[Any, ...]]:
    """Return a table's rows without the tenant, times as none."""
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        rows = await connection.fetch(f"SELECT * FROM projections.{name}")
    return sorted(
        tuple(None if name.endswith("_at") else value for name, value in list(row.items())[1:])
        for row in rows
    )


async def test_what_is_known_of_a_week_is_spread_together(scribe: Scribe) -> None:
    """3 and 4 in one week are a day each, whichever day and chunk they were told by."""
    await scribe.write(*ENTRIES)
    found = await report(scribe)
    assert [found[1, day] for day in range(1, 11)] == [1, 2, 2, 2, 2, 2, 2, 2, 1, 1]
    assert found[2, 4] == Decimal("1.08")
    assert [found[2, day] for day in (7, 8, 31)] == [
        Decimal("0.33"), Decimal("0.32"), Decimal("0.32")
    ]  # fmt: skip
    assert await report(scribe, "month") == {(1, 1): 38, (2, 1): Decimal("10.74")}


async def test_a_page_of_the_report_and_one_product(scribe: Scribe) -> None:
    """In the order of products and periods; the sum is of all pages."""
    await scribe.write(*ENTRIES)
    await report(scribe)
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        wanted = DemandFilter(date(2026, 3, 2), date(2026, 3, 20), 2)
        rows, total, quantity = await demand_by_period(
            connection, scribe.tenant_id, wanted, "week", 2, 1
        )
    assert [(row["sku"], row["period"], row["quantity"]) for row in rows] == [
        ("P2", date(2026, 3, 9), Decimal("2.24")), ("P2", date(2026, 3, 16), Decimal("1.6"))
    ]  # fmt: skip
    # 0.75 on one day, and of the month's 9.99 six days of 0.33 and thirteen of 0.32.
    assert (total, quantity) == (3, Decimal("6.89"))


async def test_batches_tell_how_far_they_are_and_what_was_refused(scribe: Scribe) -> None:
    """Open, closed or reversed; the chunks of a feed with what they were made of."""
    await scribe.write(*ENTRIES)
    tenant_id = scribe.tenant_id
    async with tenant_transaction(scribe.pool, tenant_id) as connection:
        rows, total = await list_batches(connection, tenant_id, "demand", None, 10, 0)
        assert total == 3
        assert {row["batch_id"]: row["status"] for row in rows} == {
            "a": "closed", "b": "reversed", "c": "open"
        }  # fmt: skip
        assert [
            (await list_batches(connection, tenant_id, None, status, 10, 0))[1]
            for status in ("open", "closed", "reversed")
        ] == [2, 1, 1]
        first = await read_batch(connection, tenant_id, "a")
        assert first is not None
        assert (first["accepted"], first["refused"], first["chunks"]) == (4, 1, 2)
        assert await read_batch(connection, tenant_id, "z") is None
        chunks = await read_chunks(connection, tenant_id, "a", 1)
        assert chunks == {1: (1_001, 1_003, 2, 1, "a-1")}
        refused = await list_refusals(connection, tenant_id, "b", 1, 1)
        assert [tuple(row) for row in refused] == [(3, "product_not_found", "none")]
        files = await list_refusals(connection, tenant_id, "files", 9)
        assert [tuple(row) for row in files] == [(5, "bad_price", "x")]


async def test_one_batch_or_many_give_the_same_rows(database: DatabaseAddress, pool: Pool) -> None:
    """And `verify`, which folds in a third way and adds the events up, agrees."""
    contents: list[Any] = []
    for whole in (True, False):
        scribe = Scribe(pool, Engine(), await create_tenant(database))
        if whole:
            await scribe.write(*ENTRIES)
        for entry in () if whole else ENTRIES:
            await scribe.write(entry)
            await report(scribe)
        await report(scribe)
        names = [*DEMAND.tables, "import_chunk", "import_refusal"]
        contents.append([await table(scribe, name) for name in names])
        verdict = await prove(database, pool, scribe.engine, scribe.tenant_id)
        wanted = {"demand = lines recorded", *(f"{name} = log" for name in names)}
        found = {check.name: check.faults for check in verdict.checks if check.name in wanted}
        assert found == {name: [] for name in wanted}
    assert contents[0] == contents[1]
    assert [len(rows) for rows in contents[0]] == [4, 5, 4]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE projections.demand SET quantity = quantity + 1 WHERE period = 'month'",
        "UPDATE projections.demand SET lines = 9 WHERE batch_id = 'c'",
        "DELETE FROM projections.demand WHERE batch_id = 'a' AND period = 'day'",
        f"INSERT INTO projections.demand SELECT tenant_id, {INTRUDER} FROM ledger.head",
    ],
)
async def test_a_figure_that_is_not_the_events_is_found(
    database: DatabaseAddress, scribe: Scribe, statement: str
) -> None:
    """By adding the events up, and by folding them."""
    await scribe.write(*ENTRIES)
    await report(scribe)
    connection = await asyncpg.connect(**database.administrator)
    await connection.execute(statement)
    await connection.close()
    verdict = await prove(database, scribe.pool, scribe.engine, scribe.tenant_id)
    broken = {check.name for check in verdict.checks if check.faults}
    assert broken == {"demand = lines recorded", "demand = log"}
