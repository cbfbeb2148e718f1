"""The projections of webhooks: receivers, who is told of what, and the messages themselves."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from deploy.address import DatabaseAddress
from ledger.domain.decision import RecordedEvent
from ledger.store import Pool, tenant_transaction
from projections.engine import Engine
from projections.following import catch_up
from projections.log_reading import of_types
from projections.projection import SCHEMA
from projections.webhook_messages import WebhookMessages
from schemas.import_batch import ImportBatchClosed, ImportBatchOpened
from schemas.integration import (
    ItemLinked,
    ItemUnlinked,
    StockDivergenceDetected,
    StoreLinked,
    StoreUnlinked,
)
from schemas.location import LocationOpened
from schemas.order import OrderCancelled, OrderFulfilled, OrderPaid, OrderPlaced
from schemas.product import AlternativeUnit, ProductRegistered, ProductRevised
from schemas.purchase import (
    PurchaseLine,
    PurchaseOrderCreated,
    PurchaseOrderReceived,
    ReceivedLine,
)
from schemas.stock import (
    MovementReversed,
    QuarantineReleased,
    ReservationReleased,
    StockAdjusted,
    StockCounted,
    StockIssued,
    StockQuarantined,
    StockReceived,
    StockReserved,
    TransferReceived,
    TransferShipped,
)
from schemas.webhook import (
    WebhookEndpointCreated,
    WebhookEndpointDeleted,
    WebhookEndpointDisabled,
    WebhookEndpointEnabled,
    WebhookEndpointRevised,
    WebhookEndpointVerified,
    WebhookSecretRotated,
)
from tests.support.proving import prove
from tests.support.written_log import Scribe

ENGINE = Engine()
PROJECTION = WebhookMessages()
ALL: Any = (
    "stock.changed",
    "stock.low",
    "order.status_changed",
    "import_batch.closed",
    "purchase_order.received",
    "stock.divergence",
)


@pytest.fixture
def scribe(pool: Pool, tenant_id: int) -> Scribe:
    """An empty log with its projections."""
    return Scribe(pool, ENGINE, tenant_id)


def qty(text: str) -> Decimal:
    return Decimal(text)


def product(number: int, event: Any = ProductRegistered, **more: Any) -> Any:
    """Make an entry about a product."""
    said: dict[str, Any] = {"sku": f"P-{number}", **more}
    return f"product-{number}", event(
        product_id=number, name=f"Product {number}", base_price=qty("9.99"), **said
    )


def place(number: int, zone: str = "UTC") -> Any:
    """Make an entry about a location."""
    return f"location-{number}", LocationOpened(
        location_id=number, name=f"Place {number}", code=f"L{number}", time_zone=zone
    )


def stock(event: Any, *, product_id: int = 1, location_id: int = 1, **more: Any) -> Any:
    """Make an entry about stock."""
    name = f"stock-{product_id}-{location_id}"
    return name, event(product_id=product_id, location_id=location_id, **more)


def received(quantity: str, **more: Any) -> Any:
    return stock(StockReceived, quantity=qty(quantity), **more)


def issued(quantity: str, **more: Any) -> Any:
    return stock(StockIssued, quantity=qty(quantity), **more)


def endpoint(number: int = 1, topics: Any = ALL, *, verified: bool = True, **more: Any) -> Any:
    """Make an entry about a receiver."""
    return f"webhook-{number}", WebhookEndpointCreated(
        endpoint_id=number,
        url="https://example.com/hook",
        topics=topics,
        verified=verified,
        **more,
    )


async def rows(scribe: Scribe, query: str) -> list[tuple[Any, ...]]:
    """Read as the tenant does."""
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        return [tuple(row) for row in await connection.fetch(query)]


async def messages(scribe: Scribe) -> list[tuple[Any, ...]]:
    """Bring the messages up to date; return position, n, topic, item and data of each."""
    await catch_up(scribe.pool, PROJECTION, scribe.tenant_id)
    found = await rows(
        scribe,
        "SELECT position, n, topic, item, data FROM projections.webhook_message ORDER BY 1, 2",
    )
    return [(*row[:4], json.loads(row[4], parse_float=Decimal)) for row in found]


async def told(scribe: Scribe) -> list[tuple[Any, ...]]:
    """Return position and topic of each message."""
    return [(row[0], row[2]) for row in await messages(scribe)]


async def test_endpoints_are_what_was_last_said_and_done(scribe: Scribe):
    """One row each; one that is deleted has none."""
    await scribe.write(endpoint(1, verified=False), endpoint(2, kind="3", receiver_id="77"))
    await scribe.write(
        ("webhook-1", WebhookEndpointVerified(endpoint_id=1)),
        ("webhook-1", WebhookSecretRotated(endpoint_id=1, overlap_hours=24)),
        ("webhook-2", WebhookEndpointDisabled(endpoint_id=2, cause="gone")),
        endpoint(3),
        ("webhook-3", WebhookEndpointDeleted(endpoint_id=3)),
    )
    found = await rows(
        scribe,
        """SELECT endpoint_id, verified, disabled_cause, kind, receiver_id, version, position,
                  extract(epoch FROM previous_secret_until - secret_rotated_at)::integer
           FROM projections.webhook_endpoint ORDER BY 1""",
    )
    assert found == [
        (1, True, None, None, None, 3, 4, 86400),
        (2, True, "gone", "3", "77", 2, 5, None),
    ]
    await scribe.write(("webhook-2", WebhookEndpointEnabled(endpoint_id=2)))
    await scribe.write(("webhook-1", WebhookEndpointDeleted(endpoint_id=1)))
    left = await rows(
        scribe, "SELECT endpoint_id, disabled_cause FROM projections.webhook_endpoint"
    )
    assert left == [(2, None)]


async def test_a_change_of_stock_is_told_with_the_figures_after_it(scribe: Scribe):
    """Of each product and place for itself; what changes none of the figures is not told."""
    await scribe.write(product(1), place(1), place(2), received("10"), endpoint())
    await scribe.write(
        received("2.50", reference="R-1", reason="found"),
        stock(StockReserved, quantity=qty("4"), reservation_id="r"),
        issued("3", reservation_id="r"),
        stock(ReservationReleased, quantity=qty("1"), reservation_id="r"),
        stock(StockQuarantined, quantity=qty("2")),
        stock(QuarantineReleased, quantity=qty("2"), disposition="scrap"),
        stock(TransferShipped, quantity=qty("5"), transfer_id=1, to_location_id=2),
        stock(
            TransferReceived,
            quantity=qty("5"),
            location_id=2,
            transfer_id=1,
            from_location_id=1,
        ),
        stock(StockAdjusted, quantity=qty("-0.5")),
        stock(StockCounted, counted=qty("2"), expected=qty("2"), variance=qty("0")),
    )
    found = await messages(scribe)
    assert [
        (
            position,
            data["location"],
            data["event_type"],
            data["quantity"],
            data["change"]["on_hand"],
            data["on_hand"],
            data["reserved"],
            data["available"],
        )
        for position, _, _, _, data in found
    ] == [
        (6, "L1", "StockReceived", qty("2.5"), qty("2.5"), qty("12.5"), 0, qty("12.5")),
        (7, "L1", "StockReserved", 4, 0, qty("12.5"), 4, qty("8.5")),
        (8, "L1", "StockIssued", 3, -3, qty("9.5"), 1, qty("8.5")),
        (9, "L1", "ReservationReleased", 1, 0, qty("9.5"), 0, qty("9.5")),
        (10, "L1", "StockQuarantined", 2, 0, qty("9.5"), 0, qty("7.5")),
        (11, "L1", "QuarantineReleased", 2, -2, qty("7.5"), 0, qty("7.5")),
        (12, "L1", "TransferShipped", 5, -5, qty("2.5"), 0, qty("2.5")),
        (13, "L2", "TransferReceived", 5, 5, 5, 0, 5),
        (14, "L1", "StockAdjusted", qty("0.5"), qty("-0.5"), 2, 0, 2),
    ]
    first = found[0][4]
    assert (first["sku"], first["product_id"], first["location_id"]) == ("P-1", 1, 1)
    assert (first["reference"], first["reason"], first["position"]) == ("R-1", "found", 6)
    assert first["recorded_at"] == "2030-05-01T12:00:02Z"


async def test_a_reversal_across_two_places_is_told_of_both(scribe: Scribe):
    """As two messages of one event, each of its own item."""
    await scribe.write(product(1), place(1), place(2), endpoint(topics=("stock.changed",)))
    await scribe.write(
        stock(
            MovementReversed,
            reversed_position=1,
            reversed_type="TransferReceived",
            quantity=qty("5"),
            from_account="unrestricted",
            from_location_id=2,
            to_account="unrestricted",
            to_location_id=1,
        )
    )
    found = [(n, item, data["on_hand"]) for _, n, _, item, data in await messages(scribe)]
    assert found == [(0, "stock:1:2", -5), (1, "stock:1:1", 5)]


async def test_stock_is_low_once_per_crossing_and_downwards_only(scribe: Scribe):
    """At the reorder level or below it; a level that is raised above what is there crosses too."""
    await scribe.write(
        product(1, reorder_level=qty("5")), place(1), endpoint(topics=("stock.low",))
    )
    await scribe.write(received("4"), received("6"), issued("4"), issued("1"), issued("1"))
    await scribe.write(received("10"), stock(StockReserved, quantity=qty("9"), reservation_id="r"))
    await scribe.write(
        stock(ReservationReleased, quantity=qty("9"), reservation_id="r"),
        product(1, ProductRevised, reorder_level=qty("14")),
        product(1, ProductRevised, reorder_level=qty("20")),
        product(1, ProductRevised),
        issued("13"),
    )
    found = await messages(scribe)
    assert [(row[0], row[4]["available"], row[4]["reorder_level"]) for row in found] == [
        (7, 5, 5),
        (10, 5, 5),
        (12, 14, 14),
    ]


async def test_a_place_without_stock_yet_is_not_low_by_a_raised_level(scribe: Scribe):
    """However many events are folded at once: it has nothing that could have got less."""
    await scribe.write(
        product(1),
        endpoint(topics=("stock.low",)),
        product(1, ProductRevised, reorder_level=qty("5")),
        received("9"),
    )
    assert await messages(scribe) == []


async def test_an_order_is_told_when_its_status_changes(scribe: Scribe):
    """With the one before; a fulfilment of a part twice is one change."""
    fulfilled: dict[str, Any] = {"order_id": 7, "lines": ()}
    order: dict[str, Any] = {
        "channel": "pos",
        "lines": (),
        "total_amount": qty("1"),
        "allocation": "default",
    }
    await scribe.write(
        ("order-7", OrderPlaced(order_id=7, order_number="ORD-7", **order)),
        endpoint(topics=("order.status_changed",)),
    )
    await scribe.write(
        ("order-7", OrderPaid(order_id=7)),
        ("order-7", OrderFulfilled(fulfilment=1, **fulfilled)),
        ("order-7", OrderFulfilled(fulfilment=2, **fulfilled)),
        ("order-7", OrderFulfilled(fulfilment=3, complete=True, **fulfilled)),
        ("order-8", OrderPlaced(order_id=8, order_number="ORD-8", **order)),
        ("order-8", OrderCancelled(order_id=8, lines=())),
    )
    found = await messages(scribe)
    assert [(row[3], row[4]["order_number"], row[4]["from"], row[4]["to"]) for row in found] == [
        ("order:7", "ORD-7", "pending", "paid"),
        ("order:7", "ORD-7", "paid", "fulfilling"),
        ("order:7", "ORD-7", "fulfilling", "fulfilled"),
        ("order:8", "ORD-8", None, "pending"),
        ("order:8", "ORD-8", "pending", "cancelled"),
    ]


async def test_batches_receipts_and_divergences_are_told(scribe: Scribe):
    """With what was said of them when they began."""
    await scribe.write(
        product(1),
        place(1),
        (
            "import-b",
            ImportBatchOpened(
                batch_id="b", kind="order-lines", source_name="o.csv", source_digest="d"
            ),
        ),
        (
            "purchase-3",
            PurchaseOrderCreated(
                purchase_order_id=3,
                po_number="PO-3",
                supplier_id=9,
                location_id=1,
                lines=(PurchaseLine(id=3001, product_id=1, quantity=qty("2"), unit_cost=qty("5")),),
                total_amount=qty("10"),
            ),
        ),
        endpoint(),
    )
    line = ReceivedLine(line_id=3001, product_id=1, quantity=qty("2"), unit_cost=qty("5"))
    await scribe.write(
        ("import-b", ImportBatchClosed(batch_id="b", lines=3, accepted=2, refused=1)),
        (
            "purchase-3",
            PurchaseOrderReceived(purchase_order_id=3, receipt=1, lines=(line,), complete=True),
        ),
        (
            "divergence-1-1",
            StockDivergenceDetected(
                system="mipos",
                product_id=1,
                location_id=1,
                external_id="i",
                on_hand=qty("4.50"),
                reported=qty("4"),
                difference=qty("-0.5"),
                reported_at=datetime(2030, 5, 1, tzinfo=UTC),
            ),
        ),
    )
    batch, purchase, divergence = [row[2:] for row in await messages(scribe)]
    assert batch[:2] == ("import_batch.closed", "batch:b")
    assert batch[2] == {
        "batch_id": "b",
        "kind": "order-lines",
        "source_name": "o.csv",
        "lines": 3,
        "accepted": 2,
        "refused": 1,
        "position": 6,
        "event_type": "ImportBatchClosed",
        "effective_at": "2030-05-01T12:00:02Z",
        "recorded_at": "2030-05-01T12:00:02Z",
    }
    assert purchase[:2] == ("purchase_order.received", "purchase:3")
    said = {name: purchase[2][name] for name in ("po_number", "supplier_id", "receipt", "complete")}
    assert said == {"po_number": "PO-3", "supplier_id": 9, "receipt": 1, "complete": True}
    assert purchase[2]["lines"] == [{"line_id": 3001, "product_id": 1, "sku": "P-1", "quantity": 2}]
    assert divergence[:2] == ("stock.divergence", "stock:1:1")
    said = {name: divergence[2][name] for name in ("system", "on_hand", "reported", "difference")}
    assert said == {
        "system": "mipos",
        "on_hand": qty("4.5"),
        "reported": 4,
        "difference": qty("-0.5"),
    }


async def test_mipos_is_told_of_movements_of_what_is_linked(scribe: Scribe):
    """In its own unit, with the local time of the store; holds are none of its business."""
    box = AlternativeUnit(unit="box", numerator=12, denominator=1)
    await scribe.write(
        product(1, alternative_units=(box,)),
        product(2),
        place(1, "Europe/Madrid"),
        endpoint(topics=("stock.changed",), format="mipos"),
        ("link-1", StoreLinked(system="mipos", external_id="1", location_id=1)),
        ("link-2", ItemLinked(system="mipos", external_id="avcc123", product_id=2)),
        ("link-3", ItemLinked(system="mipos", external_id="boxed", product_id=1, unit="box")),
        ("link-4", ItemLinked(system="woocommerce", external_id="other", product_id=2)),
    )
    effective = datetime(2020, 5, 30, 10, 45, 3, tzinfo=UTC)
    await scribe.write((*received("12.44", product_id=2), effective))
    await scribe.write(
        issued("1.25", product_id=2),
        stock(StockReserved, product_id=2, quantity=qty("4"), reservation_id="r"),
        received("30", product_id=1),
        ("link-3", ItemUnlinked(system="mipos", external_id="boxed", product_id=1)),
        received("12", product_id=1),
        ("link-1", StoreUnlinked(system="mipos", external_id="1", location_id=1)),
        issued("1", product_id=2),
    )
    found = await messages(scribe)
    assert [row[4] for row in found] == [
        {
            "current_stock": "12.44",
            "quantity": "12.44",
            "date": "2020-05-30 12:45:03",
            "movement_type": 1,
            "external_id": "avcc123",
            "store_id": 1,
        },
        {
            "current_stock": "11.19",
            "quantity": "1.25",
            "date": "2030-05-01 14:00:03",
            "movement_type": 2,
            "external_id": "avcc123",
            "store_id": 1,
        },
        {
            "current_stock": "2.5",
            "quantity": "2.5",
            "date": "2030-05-01 14:00:03",
            "movement_type": 1,
            "external_id": "boxed",
            "store_id": 1,
        },
    ]
    zones = await rows(scribe, "SELECT DISTINCT zone FROM projections.webhook_message")
    assert zones == [("Europe/Madrid",)]


async def test_messages_are_made_while_somebody_is_to_be_told(scribe: Scribe):
    """From the first verification on; for a disabled one too, whose messages are parked."""
    await scribe.write(product(1), received("1"))
    await scribe.write(endpoint(verified=False, topics=("stock.changed",)), received("2"))
    await scribe.write(("webhook-1", WebhookEndpointVerified(endpoint_id=1)), received("3"))
    await scribe.write(
        ("webhook-1", WebhookEndpointDisabled(endpoint_id=1, cause="user")), received("4")
    )
    await scribe.write(("webhook-1", WebhookEndpointEnabled(endpoint_id=1)), received("5"))
    await scribe.write(
        (
            "webhook-1",
            WebhookEndpointRevised(
                endpoint_id=1,
                url="https://example.com/new",
                topics=("stock.changed", "stock.low"),
                verified=False,
            ),
        ),
        received("6"),
    )
    await scribe.write(("webhook-1", WebhookEndpointDeleted(endpoint_id=1)), received("7"))
    assert await told(scribe) == [(n, "stock.changed") for n in (6, 8, 10, 12)]
    await scribe.write(endpoint(2, topics=()), received("8"))
    assert len(await told(scribe)) == 4


async def test_subscriptions_begin_and_end_where_they_were_changed(scribe: Scribe):
    """Each stretch of the log has its own topics and state."""
    await scribe.write(endpoint(verified=False, topics=("stock.changed",)))
    revised: dict[str, Any] = {"endpoint_id": 1, "url": "https://example.com/hook"}
    await scribe.write(
        ("webhook-1", WebhookEndpointVerified(endpoint_id=1)),
        ("webhook-1", WebhookEndpointRevised(**revised, topics=("stock.low",), verified=True)),
        ("webhook-1", WebhookEndpointDisabled(endpoint_id=1, cause="failing")),
    )
    await catch_up(scribe.pool, PROJECTION, scribe.tenant_id)
    found = await rows(
        scribe,
        """SELECT from_position, to_position, topics, state
           FROM projections.webhook_subscription ORDER BY 1""",
    )
    assert found == [
        (1, 2, ["stock.changed"], "pending"),
        (2, 3, ["stock.changed"], "active"),
        (3, 4, ["stock.low"], "active"),
        (4, None, ["stock.low"], "disabled"),
    ]


async def write_a_day(scribe: Scribe) -> list[RecordedEvent]:
    """Write some of everything; return it."""
    log = await scribe.write(product(1, reorder_level=qty("5")), place(1), received("10"))
    for entries in (
        [endpoint(), endpoint(2, format="mipos", topics=("stock.changed",))],
        [issued("4"), received("2.10"), issued("6")],
        [product(1, ProductRevised, sku="NEW", reorder_level=qty("1")), issued("1.1")],
        [
            ("link-1", StoreLinked(system="mipos", external_id="1", location_id=1)),
            ("link-2", ItemLinked(system="mipos", external_id="x", product_id=1)),
            received("7"),
            ("webhook-1", WebhookEndpointDisabled(endpoint_id=1, cause="user")),
            issued("3"),
        ],
        [("webhook-2", WebhookEndpointDeleted(endpoint_id=2)), received("1", location_id=2)],
    ):
        log += await scribe.write(*entries)
        await catch_up(scribe.pool, PROJECTION, scribe.tenant_id)
    return log


async def test_the_stored_messages_are_what_the_log_gives(
    scribe: Scribe, database: DatabaseAddress
):
    """Folded as it grew by one, and in the batches of the proof by the other."""
    log = await write_a_day(scribe)
    assert len(await messages(scribe)) == 11
    verdict = await prove(database, scribe.pool, ENGINE, scribe.tenant_id)
    checked = {check.name: check for check in verdict.checks if "webhook" in check.name}
    assert [check.faults for check in checked.values() if not check.ok] == []
    assert checked["webhook_message = log"].checked == 11
    assert log[-1].position == verdict.position


async def test_batches_of_any_size_give_the_same_rows(scribe: Scribe, pool: Pool):
    """Event by event, and all at once."""
    log = await write_a_day(scribe)

    async def everything() -> list[list[tuple[Any, ...]]]:
        return [
            await rows(scribe, f"SELECT * FROM projections.{table} ORDER BY {', '.join(key[1:])}")
            for table, key in PROJECTION.tables.items()
        ]

    as_it_grew = await everything()
    events = of_types(log, PROJECTION.event_types)
    for size in (1, 3, len(events)):
        async with tenant_transaction(pool, scribe.tenant_id) as connection:
            for table in PROJECTION.tables:
                await connection.execute(f"DELETE FROM projections.{table}")
            for first in range(0, len(events), size):
                batch = events[first : first + size]
                await PROJECTION.apply(connection, SCHEMA, scribe.tenant_id, batch)
        assert await everything() == as_it_grew, f"in batches of {size}"
