"""The stock projection: levels, movements, holds, and what is asked of them."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from deploy.address import DatabaseAddress
from ledger.store import Pool, tenant_transaction
from projections import stock_queries
from projections.engine import Engine
from projections.past import Moment
from projections.stock_history_queries import open_history
from projections.stock_levels import StockLevels, plan_of_move
from projections.stock_queries import LevelFilter, MovementFilter
from schemas.common import Event
from schemas.location import LocationOpened
from schemas.product import ProductRegistered
from schemas.stock import (
    MovementReversed,
    QuarantineReleased,
    ReservationExtended,
    ReservationReleased,
    StockAdjusted,
    StockCounted,
    StockIssued,
    StockQuarantined,
    StockReceived,
    StockReserved,
    TransferExpected,
    TransferLost,
    TransferReceived,
    TransferShipped,
)
from tests.support.postgres import create_tenant
from tests.support.written_log import START, Scribe


@pytest.fixture
def scribe(pool: Pool, tenant_id: int) -> Scribe:
    """An empty log with its projections."""
    return Scribe(pool, Engine(), tenant_id)


def at(location: int, event_type: type[Event], quantity: str, **more: Any) -> tuple[str, Event]:
    """Make an event of product 7's stream at a location."""
    event: Any = event_type
    return f"stock-7-{location}", event(
        product_id=7, location_id=location, quantity=Decimal(quantity), **more
    )


async def catalogue(scribe: Scribe) -> None:
    """Register product 7, with a reorder level of 5, and locations 1 and 2."""
    await scribe.write(
        (
            "product-7",
            ProductRegistered(
                product_id=7,
                name="Widget",
                sku="WGT-500",
                base_price=Decimal("49.99"),
                cost_price=Decimal("2.50"),
                reorder_level=Decimal(5),
            ),
        ),
        ("location-1", LocationOpened(location_id=1, name="Sydney", code="SYD")),
        ("location-2", LocationOpened(location_id=2, name="Melbourne", code="MEL")),
    )


async def level(scribe: Scribe, location: int) -> dict[str, Any]:
    """Read a level of product 7."""
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        row = await stock_queries.level_of(connection, scribe.tenant_id, 7, location)
    assert row is not None
    return dict(row)


async def movements(scribe: Scribe) -> list[dict[str, Any]]:
    """Read all movements, oldest first."""
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        rows = await stock_queries.list_movements(connection, scribe.tenant_id, limit=100)
    return [dict(row) for row in reversed(rows)]


async def test_every_account_is_kept(scribe: Scribe) -> None:
    """Each kind of movement takes from one account what it gives the other."""
    await catalogue(scribe)
    await scribe.write(
        at(1, StockReceived, "100.5"),
        at(1, StockIssued, "10"),
        at(1, StockAdjusted, "-0.5"),
        at(1, StockQuarantined, "20"),
        at(1, QuarantineReleased, "5"),
        at(1, QuarantineReleased, "3", disposition="scrap"),
        at(1, TransferShipped, "8", transfer_id=1, to_location_id=2),
        at(2, TransferExpected, "8", transfer_id=1, from_location_id=1),
        at(2, TransferReceived, "6", transfer_id=1, from_location_id=1),
        at(2, TransferLost, "1", transfer_id=1, from_location_id=1),
    )
    one, two = await level(scribe, 1), await level(scribe, 2)
    assert (one["on_hand"], one["quarantine"], one["available"]) == (79, 12, 67)
    assert (two["on_hand"], two["in_transit"]) == (6, 1)
    assert (one["version"], two["version"]) == (7, 3)
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        total = await connection.fetchval(
            "SELECT sum(unrestricted + quarantine + in_transit + supplier + customer "
            "+ adjustment + loss) FROM projections.stock_level"
        )
    assert total == 0


async def test_balances_within_a_batch_chain(scribe: Scribe) -> None:
    """Several movements of one item in one batch each hold the balance right after them."""
    await scribe.write(
        at(1, StockReceived, "10"),
        at(1, StockIssued, "4"),
        at(1, StockReceived, "1"),
        at(1, StockIssued, "2"),
    )
    await scribe.write(at(1, StockReceived, "1"))
    rows = await movements(scribe)
    unrestricted = [
        row["to_balance" if row["to_account"] == "unrestricted" else "from_balance"] for row in rows
    ]
    assert unrestricted == [10, 6, 7, 5, 6]
    assert [row["quantity"] for row in rows] == [10, -4, 1, -2, 1]


async def test_one_batch_or_many_give_the_same_rows(database: DatabaseAddress, pool: Pool) -> None:
    """Folding is the same whatever the sizes of the batches."""
    entries = [
        at(1, StockReceived, "50"),
        at(1, StockReserved, "5", reservation_id="a", expires_at=START + timedelta(days=900)),
        at(1, StockReserved, "4", reservation_id="b"),
        at(1, StockIssued, "2", reservation_id="a"),
        at(1, TransferShipped, "8", transfer_id=1, to_location_id=2),
        at(2, TransferReceived, "8", transfer_id=1, from_location_id=1),
        at(1, ReservationReleased, "4", reservation_id="b"),
        at(1, StockReserved, "3", reservation_id="b", owner="again"),
        (
            "stock-7-1",
            ReservationExtended(product_id=7, location_id=1, reservation_id="a", expires_at=None),
        ),
        at(1, ReservationReleased, "1", reservation_id="a"),
    ]
    whole = Scribe(pool, Engine(), await create_tenant(database))
    single = Scribe(pool, Engine(), await create_tenant(database))
    await whole.write(*entries)
    for entry in entries:
        await single.write(entry)
    contents: list[list[Any]] = []
    for scribe in (whole, single):
        async with tenant_transaction(pool, scribe.tenant_id) as connection:
            contents.append(
                [
                    await connection.fetch(
                        "SELECT product_id, location_id, unrestricted, in_transit, reserved, "
                        "next_expiry, movements, version, position "
                        "FROM projections.stock_level ORDER BY 1, 2"
                    ),
                    await connection.fetch(
                        "SELECT position, type, quantity, from_balance, to_balance "
                        "FROM projections.movement ORDER BY 1"
                    ),
                    await connection.fetch(
                        "SELECT reservation_id, reserved, quantity_left, owner, expires_at, "
                        "position FROM projections.reservation ORDER BY 1"
                    ),
                ]
            )
    assert contents[0] == contents[1]
    assert [tuple(row)[:4] for row in contents[0][2]] == [("a", 5, 2, None), ("b", 3, 3, "again")]


async def test_expired_holds_count_no_longer(scribe: Scribe) -> None:
    """A read leaves out what has expired, though nobody has released it."""
    await catalogue(scribe)
    long_ago = START - timedelta(days=10_000)
    far_off = START + timedelta(days=10_000)
    await scribe.write(
        at(1, StockReceived, "10"),
        at(1, StockReserved, "2", reservation_id="old", expires_at=long_ago),
        at(1, StockReserved, "3", reservation_id="new", expires_at=far_off),
        at(1, StockReserved, "1", reservation_id="open"),
    )
    row = await level(scribe, 1)
    assert (row["reserved"], row["available"]) == (4, 6)
    await scribe.write(at(1, ReservationReleased, "2", reservation_id="old", cause="expired"))
    row = await level(scribe, 1)
    assert (row["reserved"], row["available"]) == (4, 6)


async def test_a_reversal_points_both_ways(scribe: Scribe) -> None:
    """The reversing movement names the reversed one, and the other way round."""
    await scribe.write(at(1, StockReceived, "10"))
    await scribe.write(
        (
            "stock-7-1",
            MovementReversed(
                product_id=7,
                location_id=1,
                reversed_position=1,
                reversed_type="StockReceived",
                quantity=Decimal(10),
                from_account="unrestricted",
                from_location_id=1,
                to_account="supplier",
                to_location_id=1,
            ),
        )
    )
    first, second = await movements(scribe)
    assert (first["reverses"], first["reversed_by"]) == (None, 2)
    assert (second["reverses"], second["reversed_by"]) == (1, None)
    assert second["from_balance"] == second["to_balance"] == 0


async def test_lists_and_totals(scribe: Scribe) -> None:
    """Levels, low stock, the summary and movements by filter."""
    await catalogue(scribe)
    await scribe.write(
        at(1, StockReceived, "20"),
        at(2, StockReceived, "5", reference="PO-1"),
        at(1, StockIssued, "2", notes="gone"),
        (
            "stock-7-2",
            StockCounted(
                product_id=7,
                location_id=2,
                counted=Decimal(5),
                expected=Decimal(5),
                variance=Decimal(0),
            ),
        ),
        ("stock-70-1", StockReceived(product_id=70, location_id=1, quantity=Decimal(1))),
    )
    tenant_id = scribe.tenant_id
    async with tenant_transaction(scribe.pool, tenant_id) as connection:
        low = await stock_queries.list_levels(
            connection, tenant_id, LevelFilter(low_stock=True), limit=10
        )
        assert [(row["sku"], row["location_name"], row["on_hand"]) for row in low] == [
            ("WGT-500", "Melbourne", 5)
        ]
        assert await stock_queries.count_levels(connection, tenant_id) == 3
        behind = await stock_queries.list_levels(connection, tenant_id, after=(7, 1), limit=10)
        assert [(row["product_id"], row["location_id"]) for row in behind] == [(7, 2), (70, 1)]
        assert dict(await stock_queries.summary(connection, tenant_id)) == {
            "total_skus": 1,
            "total_stock_value": Decimal("57.5"),
            "low_stock_count": 1,
            "out_of_stock_count": 0,
            "locations": 2,
        }
        of_seven = await stock_queries.list_movements(
            connection, tenant_id, MovementFilter(product_id=7), limit=10
        )
        assert [(row["type"], row["quantity"]) for row in of_seven] == [
            ("StockIssued", -2),
            ("StockReceived", 5),
            ("StockReceived", 20),
        ]
        assert (of_seven[0]["notes"], of_seven[1]["reference"]) == ("gone", "PO-1")
        assert of_seven[0]["actor_name"] == "Jane Doe"
        for where, count in (
            (MovementFilter(), 4),
            (MovementFilter(product_id=7), 3),
            (MovementFilter(product_id=7, location_id=1), 2),
            (MovementFilter(location_id=1, types=["StockReceived"]), 2),
        ):
            assert await stock_queries.count_movements(connection, tenant_id, where) == count
            rows = await stock_queries.list_movements(connection, tenant_id, where, limit=10)
            assert len(rows) == count


async def test_each_movement_keeps_its_own_times(scribe: Scribe) -> None:
    """Also where events of one batch share a time, or not, in turn."""
    past, other = START - timedelta(days=3), START - timedelta(days=2)

    def receipt(*effective_at: Any) -> Any:
        return *at(1, StockReceived, "1"), *effective_at

    recorded = await scribe.write(
        receipt(past), receipt(), receipt(past), receipt(other), receipt(), receipt(past)
    )
    assert [(row["effective_at"], row["recorded_at"]) for row in await movements(scribe)] == [
        (event.effective_at, event.recorded_at) for event in recorded
    ]


async def test_times_survive_a_batch_of_several_commits(scribe: Scribe) -> None:
    """As a rebuild folds them: what was recorded at one time took effect at another's."""
    first = await scribe.write(at(1, StockReceived, "1"))
    second = await scribe.write((*at(1, StockReceived, "1"), first[0].recorded_at))
    third = await scribe.write((*at(1, StockReceived, "1"), first[0].recorded_at))
    events = [*first, *second, *third]
    # The very same object stands for a time twice, as it may in a batch that was decoded.
    events.append(third[0]._replace(position=4, version=4, effective_at=third[0].recorded_at))
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        await connection.execute("DELETE FROM projections.movement")
        await StockLevels().apply(connection, "projections", scribe.tenant_id, events)
        rows = await connection.fetch(
            "SELECT effective_at, recorded_at FROM projections.movement ORDER BY position"
        )
    assert [tuple(row) for row in rows] == [
        (event.effective_at, event.recorded_at) for event in events
    ]


async def test_explain_runs_through_every_event(scribe: Scribe) -> None:
    """Claims are shown too, and on hand runs along the stream."""
    await scribe.write(
        at(1, StockReceived, "10"),
        at(1, StockReserved, "4", reservation_id="a"),
        at(1, StockQuarantined, "3"),
        at(1, StockIssued, "1"),
        at(1, StockIssued, "1"),
    )
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        rows = await stock_queries.explain(connection, scribe.tenant_id, 7, 1, limit=4)
    assert [(row["type"], row["on_hand_after"]) for row in rows] == [
        ("StockIssued", 8),
        ("StockIssued", 9),
        ("StockQuarantined", 10),
        ("StockReserved", 10),
    ]


async def test_the_past_as_it_was_and_as_it_was_known(scribe: Scribe) -> None:
    """A movement recorded late changes what was, not what was known."""
    stream, received = at(1, StockReceived, "10")
    first = await scribe.write((stream, received, START - timedelta(days=10)))
    stream, issued = at(1, StockIssued, "3")
    await scribe.write((stream, issued, START - timedelta(days=5)))
    on_hand: dict[str, Decimal] = {}
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        for name, as_of, position in (
            ("now", None, 2),
            ("before", START - timedelta(days=11), 2),
            ("between", START - timedelta(days=6), 2),
            ("later", START - timedelta(days=4), 2),
            ("later, known first", START - timedelta(days=4), first[0].position),
        ):
            past = await open_history(connection, scribe.tenant_id, Moment(position, as_of))
            on_hand[name] = (await past.levels([(7, 1)]))[7, 1].on_hand
    assert on_hand == {
        "now": 7, "before": 0, "between": 10, "later": 7, "later, known first": 10
    }  # fmt: skip


async def test_the_plan_joins_by_hashing_whatever_the_batch(scribe: Scribe) -> None:
    """The one statement of a batch never compares every movement with every level."""
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        plan = await plan_of_move(connection)
    assert "Nested Loop" not in plan
    assert plan.count("Hash Join") + plan.count("Merge Join") == 2
