"""The projections of lots and serial numbers, and the proofs about them."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from deploy.address import DatabaseAddress
from ledger.domain.decision import RecordedEvent
from ledger.store import Pool, tenant_transaction
from projections.engine import Engine
from projections.lots import count_lots, list_lots
from projections.serials import count_serials, list_serials, serials_at
from schemas.lot import LotRegistered, LotRevised, SerialMoved, SerialRegistered
from schemas.stock import (
    CountVarianceRevised,
    LotPart,
    MovementReversed,
    QuarantineReleased,
    StockAdjusted,
    StockCounted,
    StockIssued,
    StockQuarantined,
    StockReceived,
    TransferExpected,
    TransferLost,
    TransferReceived,
    TransferShipped,
)
from tests.integration.test_verify import tamper
from tests.support.proving import prove
from tests.support.written_log import Scribe

ENGINE = Engine()
DAY = date(2030, 5, 20)


@pytest.fixture
def scribe(pool: Pool, tenant_id: int) -> Scribe:
    """An empty log with its projections."""
    return Scribe(pool, ENGINE, tenant_id)


def moved(event: Any, quantity: str, lots: dict[int, str], at: int = 1, **more: Any) -> Any:
    """Make an entry about stock of product 1."""
    parts = tuple(LotPart(lot_id=lot_id, quantity=Decimal(q)) for lot_id, q in lots.items())
    amount = {"variance": Decimal(quantity)} if event is StockCounted else {}
    if event is not StockCounted:
        amount = {"quantity": Decimal(quantity)}
    fields: dict[str, Any] = {"product_id": 1, "location_id": at, "lots": parts, **amount, **more}
    return f"stock-1-{at}", event(**fields)


HISTORY: tuple[Any, ...] = (
    ("lot-1", LotRegistered(lot_id=1, product_id=1, lot="A", expiry_date=DAY)),
    moved(StockReceived, "20", {1: "15"}),
    ("lot-2", LotRegistered(lot_id=2, product_id=1, lot="B", notes="n")),
    moved(StockReceived, "10", {2: "10"}),
    moved(StockIssued, "4", {1: "4"}),
    moved(StockAdjusted, "-1", {1: "1"}),
    moved(StockAdjusted, "2", {2: "2"}),
    moved(StockQuarantined, "3", {1: "3"}),
    moved(QuarantineReleased, "1", {1: "1"}, disposition="scrap"),
    moved(TransferShipped, "6", {2: "5"}, transfer_id=1, to_location_id=2),
    moved(TransferExpected, "6", {2: "5"}, at=2, transfer_id=1, from_location_id=1),
    moved(TransferReceived, "2", {2: "2"}, at=2, transfer_id=1, from_location_id=1),
    moved(TransferLost, "1", {2: "1"}, at=2, transfer_id=1, from_location_id=1),
    moved(StockCounted, "-2", {2: "2"}, counted=Decimal(1), expected=Decimal(3)),
    moved(CountVarianceRevised, "1", {2: "1"}, count_position=14),
    ("lot-1", LotRevised(lot_id=1, product_id=1, lot="A", removal_date=DAY)),
    moved(
        MovementReversed,
        "4",
        {1: "4"},
        reversed_position=5,
        reversed_type="StockIssued",
        from_account="customer",
        from_location_id=1,
        to_account="unrestricted",
        to_location_id=1,
    ),
)
LEVELS = [(1, 1, 11, 2, 0), (2, 1, 6, 0, 0), (2, 2, 2, 0, 2)]


async def rows(scribe: Scribe, query: str) -> list[tuple[Any, ...]]:
    """Read as the tenant does."""
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        return [tuple(row) for row in await connection.fetch(query)]


_LEVELS = """
    SELECT lot_id, location_id, unrestricted, quarantine, in_transit
    FROM projections.lot_level ORDER BY 1, 2
"""


async def test_lots_add_up_what_moves_of_them(scribe: Scribe) -> None:
    """In each account, whichever way a movement goes; what is of no lot is not theirs."""
    await scribe.write(*HISTORY)
    assert await rows(scribe, _LEVELS) == LEVELS
    said = await rows(
        scribe,
        """SELECT lot_id, lot, expiry_date, removal_date, notes, version, position
           FROM projections.lot ORDER BY 1""",
    )
    assert said == [(1, "A", None, DAY, None, 2, 16), (2, "B", None, None, "n", 1, 3)]


@pytest.mark.parametrize("size", [1, 3, 17])
async def test_batches_of_any_size_give_the_same_rows(scribe: Scribe, size: int) -> None:
    """Also of units that are registered in one batch and move in the next."""
    units: tuple[Any, ...] = (
        ("serial-1", SerialRegistered(serial_id=1, product_id=2, serial="S1")),
        moved_unit(1, 1, "in_stock"),
        moved_unit(1, 1, "sold"),
        ("serial-2", SerialRegistered(serial_id=2, product_id=2, serial="S2")),
        moved_unit(2, 2, "in_transit"),
    )
    everything = (*HISTORY, *units)
    written: list[RecordedEvent] = []
    for start in range(0, len(everything), size):
        written += await scribe.write(*everything[start : start + size])
    assert await rows(scribe, _LEVELS) == LEVELS
    found = await rows(
        scribe,
        """SELECT serial_id, serial, location_id, status, moved_at, version, position
           FROM projections.serial ORDER BY 1""",
    )
    sold, sent = written[-3], written[-1]
    assert found == [
        (1, "S1", 1, "sold", sold.effective_at, 3, sold.position),
        (2, "S2", 2, "in_transit", sent.effective_at, 2, sent.position),
    ]


def moved_unit(serial_id: int, location_id: int, status: Any) -> Any:
    """Make an entry about a unit of product 2."""
    event = SerialMoved(serial_id=serial_id, product_id=2, location_id=location_id, status=status)
    return f"serial-{serial_id}", event


async def test_lots_are_found_by_product_place_and_expiry(scribe: Scribe) -> None:
    """With what is on hand, everywhere or at the place."""
    await scribe.write(*HISTORY[:13])
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        filters: tuple[tuple[dict[str, Any], list[Any]], ...] = (
            ({}, [(1, 9), (2, 9)]),
            ({"product_id": 2}, []),
            ({"location_id": 2}, [(2, 2)]),
            ({"expires_by": DAY}, [(1, 9)]),
            ({"expires_by": DAY - timedelta(days=1)}, []),
            ({"location_id": 2, "in_stock": True}, [(2, 2)]),
            ({"location_id": 3}, []),
        )
        for where, expected in filters:
            found = await list_lots(connection, scribe.tenant_id, **where, limit=10)
            assert [(row["lot_id"], row["on_hand"]) for row in found] == expected, where
            assert await count_lots(connection, scribe.tenant_id, **where) == len(expected), where
        rest = await list_lots(connection, scribe.tenant_id, after=1, limit=10)
        assert [row["lot_id"] for row in rest] == [2]


async def test_units_are_found_by_product_place_and_status(scribe: Scribe) -> None:
    """The ones known longest first."""
    entries: list[Any] = []
    for serial_id, place, status in (
        (1, 1, "in_stock"), (2, 1, "sold"), (3, 1, "in_stock"), (4, 2, "in_stock")
    ):  # fmt: skip
        registered = SerialRegistered(serial_id=serial_id, product_id=2, serial=f"S{serial_id}")
        entries += [(f"serial-{serial_id}", registered), moved_unit(serial_id, place, status)]
    await scribe.write(*entries)
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        tenant_id = scribe.tenant_id
        assert await serials_at(connection, tenant_id, 2, 1, "in_stock", 9) == [1, 3]
        assert await serials_at(connection, tenant_id, 2, 1, "in_stock", 1) == [1]
        assert await serials_at(connection, tenant_id, 1, 1, "in_stock", 9) == []
        filters: tuple[tuple[dict[str, Any], list[int]], ...] = (
            ({}, [1, 2, 3, 4]),
            ({"status": "sold"}, [2]),
            ({"location_id": 1, "status": "in_stock"}, [1, 3]),
            ({"product_id": 1}, []),
        )
        for where, expected in filters:
            found = await list_serials(connection, tenant_id, **where, limit=10)
            assert [row["serial_id"] for row in found] == expected, where
            assert await count_serials(connection, tenant_id, **where) == len(expected), where


@pytest.fixture
async def proven(scribe: Scribe) -> Scribe:
    """A sound history of lots and units."""
    received = StockReceived(product_id=2, location_id=1, quantity=Decimal(2), serials=(1,))
    await scribe.write(
        *HISTORY,
        ("stock-2-1", received),
        ("serial-1", SerialRegistered(serial_id=1, product_id=2, serial="S1")),
        moved_unit(1, 1, "in_stock"),
    )  # fmt: skip
    return scribe


TRACKED = ("lot = log", "lot_level = log", "serial = log",
           "lots within stock levels", "serials within stock levels")  # fmt: skip


async def faults(database: DatabaseAddress, scribe: Scribe) -> dict[str, str]:
    """Return what is wrong with lots and serials, by check."""
    verdict = await prove(database, scribe.pool, ENGINE, scribe.tenant_id)
    by_name = {check.name: "\n".join(check.faults) for check in verdict.checks}
    assert set(TRACKED) <= by_name.keys()
    return {name: by_name[name] for name in TRACKED if by_name[name]}


async def test_a_sound_history_of_lots_and_units_is_green(
    database: DatabaseAddress, proven: Scribe
) -> None:
    """The tables are what the log says, and within what is on hand."""
    assert await faults(database, proven) == {}


@pytest.mark.parametrize(
    ("statement", "check", "where"),
    [
        ("UPDATE projections.lot SET lot = 'X' WHERE lot_id = 2", "lot = log", "lot is X"),
        (
            "UPDATE projections.lot_level SET quarantine = 3 WHERE lot_id = 1",
            "lots within stock levels",
            "product 1 at location 1",
        ),
        (
            "UPDATE projections.lot_level SET in_transit = -1 WHERE location_id = 2",
            "lots within stock levels",
            "the least is -1",
        ),
        (
            "UPDATE projections.lot_level SET location_id = 9 WHERE location_id = 2",
            "lots within stock levels",
            "location 9",
        ),
        (
            "UPDATE projections.serial SET status = 'quarantined'",
            "serials within stock levels",
            "product 2 at location 1",
        ),
        ("UPDATE projections.serial SET status = 'sold'", "serial = log", "status is sold"),
    ],
)
async def test_what_is_wrong_with_lots_and_units_is_found(
    database: DatabaseAddress, proven: Scribe, statement: str, check: str, where: str
) -> None:
    """By the check that is meant for it."""
    await tamper(database, statement)
    found = await faults(database, proven)
    assert where in found.get(check, ""), found
