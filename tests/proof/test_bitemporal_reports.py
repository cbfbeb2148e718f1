"""Orders, value and reports at random moments are what an independent replay says.

A moment is a pair: what had happened by one time, of what had been recorded by a position. What
`projections.past` folds for it and the ordinary queries read is compared with plain Python that
goes through the same events one by one (`tests.property.naive_orders`, `naive_valuation`).
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import pytest

from ledger.domain.decision import RecordedEvent, Refusal
from ledger.mapper import encode_event
from ledger.store import Connection, Pool, create_pool, tenant_transaction
from projections import order_queries, purchase_queries
from projections.engine import Engine
from projections.order_queries import OrderFilter
from projections.past import HAPPENINGS, Moment, Streams, past
from projections.purchase_queries import PurchaseFilter
from projections.sales import sales_by_day
from projections.valuation_queries import cogs_of_products, inventory_value
from schemas.books import BooksConfigured, LandedCostAdded, StockRevalued, ValuationChosen
from schemas.location import LocationOpened
from schemas.order import (
    AllocateBackorder,
    CancelFulfilment,
    CancelOrderLines,
    ChangeOrderStatus,
    FulfilOrder,
    OrderLineEntry,
    OrderLineQuantity,
    PlaceOrder,
    ReturnOrder,
)
from schemas.product import ProductRegistered, ProductRevised, RegisterProduct, ReviseProduct
from schemas.purchase import (
    CreatePurchaseOrder,
    PurchaseLineEntry,
    PurchaseLineQuantity,
    PurchaseOrderCreated,
    PurchaseOrderReceived,
    PurchaseOrderSent,
    ReceivePurchaseOrder,
    ReturnPurchase,
    SendPurchaseOrder,
)
from schemas.stock import ReceiveStock
from schemas.supplier import RegisterSupplier
from tests.property.naive_orders import NaiveOrders
from tests.property.naive_valuation import Naive
from tests.property.test_valuation import FIRST, HALF_A_CENT, LAST, ZONES, tell
from tests.support.decisions import World, shop
from tests.support.postgres import TestServer, create_tenant

PAIRS = 1_000
LOGS = 10
ENGINE = Engine()
ORDERS = [ENGINE.named(name) for name in ("orders", "customers", "products")]
VALUE = [ENGINE.named("valuation")]
REPORTS = [
    ENGINE.named(name)
    for name in ("orders", "customers", "books", "sales", "purchase_orders", "suppliers")
]


class Log(NamedTuple):
    """A tenant's log, as it was recorded."""

    tenant_id: int
    events: Sequence[RecordedEvent]

    def pair(self, source: random.Random) -> Moment:
        """Return a random moment; one in five is of no particular time in the world."""
        position = source.randrange(len(self.events) + 1)
        at = source.choice(self.events).effective_at
        at += timedelta(seconds=source.choice((-1, 0, 0, 1)))
        return Moment(position, None if source.random() < 0.2 else at)

    def known(self, moment: Moment) -> list[RecordedEvent]:
        """Return the events of a moment."""
        return [
            recorded
            for recorded in self.events[: moment.position]
            if moment.as_of is None
            or recorded.effective_at <= moment.as_of
            or recorded.event.TYPE not in HAPPENINGS
        ]


# --- random logs ------------------------------------------------------------------------


def tell_orders(source: random.Random, steps: int) -> Sequence[RecordedEvent]:
    """Trade in two products at two places, some of it recorded late."""
    world = shop(locations=2)
    world.given(
        RegisterProduct(name="B", sku="B", base_price=Decimal("3.10"), backorders=True),
        RegisterSupplier(name="Bolts"),
    )
    for _ in range(steps):
        world.now += timedelta(minutes=source.randrange(1, 300))
        at = None
        if source.random() < 0.4:
            at = world.now - timedelta(minutes=source.randrange(1, 900))
        outcome = world.do(_command(source, world, at))
        # What would not do is refused, and not recorded.
        assert isinstance(outcome, list | Refusal)
    return world.log


def _command(source: random.Random, world: World, at: datetime | None) -> Any:
    product, place = source.choice((1, 2)), source.choice((1, 2))
    quantity = Decimal(source.randrange(1, 6))
    orders = world.counters.get("order", 0)
    order_id = source.randrange(1, orders + 1) if orders else 1
    item = order_id * 1000 + source.choice((1, 1, 2))
    parts = (OrderLineQuantity(order_item_id=item, quantity=quantity),)
    bought = source.randrange(1, max(world.counters.get("purchase", 0), 1) + 1)
    line = bought * 1000 + 1
    kinds: list[tuple[int, Callable[[], Any]]] = [
        (6, lambda: ReceiveStock(product_id=product, location_id=place, quantity=quantity * 2)),
        (
            8,
            lambda: PlaceOrder(
                lines=tuple(
                    OrderLineEntry(product_id=each, quantity=quantity) for each in {product, 2}
                ),
                allocation=source.choice((None, "split")),
                effective_at=at,
            ),
        ),
        (5, lambda: FulfilOrder(order_id=order_id, lines=parts, effective_at=at)),
        (4, lambda: FulfilOrder(order_id=order_id, effective_at=at)),
        (3, lambda: CancelOrderLines(order_id=order_id, lines=parts, effective_at=at)),
        (1, lambda: ChangeOrderStatus(order_id=order_id, status="cancelled", effective_at=at)),
        (2, lambda: ChangeOrderStatus(order_id=order_id, status="paid", effective_at=at)),
        (1, lambda: ChangeOrderStatus(order_id=order_id, status="shipped", effective_at=at)),
        (2, lambda: CancelFulfilment(order_id=order_id, fulfilment=1, effective_at=at)),
        (3, lambda: ReturnOrder(order_id=order_id, lines=parts, effective_at=at)),
        (3, lambda: AllocateBackorder(order_id=order_id, effective_at=at)),
        (
            1,
            lambda: ReviseProduct(
                product_id=product, name=f"N{quantity}", sku=f"S{product}", base_price=quantity
            ),
        ),
        (
            2,
            lambda: CreatePurchaseOrder(
                supplier_id=1,
                location_id=place,
                lines=(PurchaseLineEntry(product_id=product, quantity=quantity * 2),),
                effective_at=at,
            ),
        ),
        (2, lambda: SendPurchaseOrder(purchase_order_id=bought, effective_at=at)),
        (
            3,
            lambda: ReceivePurchaseOrder(
                purchase_order_id=bought,
                lines=(PurchaseLineQuantity(line_id=line, quantity=quantity),),
                effective_at=at,
            ),
        ),
        (
            1,
            lambda: ReturnPurchase(
                purchase_order_id=bought,
                lines=(PurchaseLineQuantity(line_id=line, quantity=Decimal(1)),),
                effective_at=at,
            ),
        ),
    ]
    weights, makers = zip(*kinds, strict=True)
    return source.choices(makers, weights)[0]()


def stream_of(recorded: RecordedEvent) -> str:
    """Return the stream that an event of the valuation's histories belongs in."""
    match recorded.event:
        case LocationOpened() as event:
            return f"location-{event.location_id}"
        case ProductRegistered() | ProductRevised() as event:
            return f"product-{event.product_id}"
        case BooksConfigured() | ValuationChosen() | LandedCostAdded() | StockRevalued():
            return "books-1"
        case event:
            moved: Any = event
            return f"stock-{moved.product_id}-{moved.location_id}"


_WRITE = """
INSERT INTO ledger.event (tenant_id, position, stream, version, type, schema_version, data, meta,
                          effective_at, recorded_at, leaf_hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, '{}', $8, $9, sha256(''))
"""


async def written(pool: Pool, tenant_id: int, told: Sequence[RecordedEvent], *, named: bool) -> Log:
    """Write a log to the database as it was told, and nothing else: no read model is there."""
    versions: dict[str, int] = {}
    events: list[RecordedEvent] = []
    for recorded in told:
        stream = recorded.stream if named else stream_of(recorded)
        versions[stream] = versions.get(stream, 0) + 1
        events.append(recorded._replace(stream=stream, version=versions[stream]))
    rows = [
        (
            tenant_id,
            each.position,
            each.stream,
            each.version,
            each.event.TYPE,
            each.event.SCHEMA_VERSION,
            encode_event(each.event).decode(),
            each.effective_at,
            each.recorded_at,
        )
        for each in events
    ]
    async with tenant_transaction(pool, tenant_id) as connection:
        await connection.executemany(_WRITE, rows)
    return Log(tenant_id, events)


# --- comparing --------------------------------------------------------------------------


async def check_order(connection: Connection, log: Log, source: random.Random) -> int:
    """One order, from the streams that it is in alone."""
    placed = [e.event for e in log.events if e.event.TYPE == "OrderPlaced"]
    event: Any = source.choice(placed)
    moment = log.pair(source)
    naive = NaiveOrders(log.known(moment))
    streams = Streams(
        [f"order-{event.order_id}", *{f"product-{line.product_id}" for line in event.lines}]
    )
    async with past(connection, log.tenant_id, moment, ORDERS, streams) as there:
        rows = await order_queries.order(there, log.tenant_id, event.order_id)
    order = naive.orders.get(event.order_id)
    if order is None or rows is None:
        assert (order is None) == (rows is None), moment
        return 1
    assert rows.order["status"] == order.status
    assert rows.order["total"] == order.total
    assert rows.order["cancelled_total"] == order.cancelled
    assert rows.order["version"] == order.version
    found = {row["order_item_id"]: row for row in rows.lines}
    assert found.keys() == order.lines.keys()
    for item, line in order.lines.items():
        assert {name: found[item][name] for name in line.figures} == line.figures, moment
        assert (found[item]["sku"], found[item]["product_name"]) == naive.names[line.product_id]
    claims = {(row["order_item_id"], row["location_id"]): row["quantity"] for row in rows.claims}
    assert claims == {
        (item, place): quantity
        for item, line in order.lines.items()
        for place, quantity in line.claims.items()
        if quantity > 0
    }
    assert {row["fulfilment"]: row["is_cancelled"] for row in rows.fulfilments} == order.went_out
    assert len(rows.returns) == order.came_back
    return 1


async def check_reports(connection: Connection, log: Log, source: random.Random) -> int:
    """The list of orders, the statistics, sales by day, and purchase orders."""
    moment = log.pair(source)
    known = log.known(moment)
    naive = NaiveOrders(known)
    tenant_id = log.tenant_id
    async with past(connection, tenant_id, moment, REPORTS) as there:
        listed = await order_queries.orders(there, tenant_id, OrderFilter(), before=None, limit=200)
        total = await order_queries.count(there, tenant_id, OrderFilter(status="cancelled"))
        stats = await order_queries.month_by_status(there, tenant_id, date(2026, 3, 1), "UTC")
        days = await sales_by_day(there, tenant_id, date.min, date.max)
        bought = await purchase_queries.purchase_orders(
            there, tenant_id, PurchaseFilter(), before=None, limit=200
        )
    found = {row["order_id"]: (row["status"], row["total_amount"]) for row in listed}
    assert found == {key: (each.status, each.total) for key, each in naive.orders.items()}
    assert total == sum(each.status == "cancelled" for each in naive.orders.values())
    in_march = [each for each in naive.orders.values() if each.placed_at.month == 3]
    assert {status: row["orders"] for status, row in stats.items()} == {
        status: sum(each.status == status for each in in_march)
        for status in {each.status for each in in_march}
    }
    assert sum((row["revenue"] for row in stats.values()), Decimal(0)) == sum(
        (each.total - each.cancelled for each in in_march), Decimal(0)
    )
    assert {each.day: each.revenue for each in days if each.revenue} == {
        day: revenue for day, revenue in naive.revenue.items() if revenue
    }
    assert {row["purchase_order_id"]: row["status"] for row in bought} == _purchases(known)
    return len(found) + len(days) + len(bought)


def _purchases(known: Sequence[RecordedEvent]) -> dict[int, str]:
    """Return the statuses of purchase orders, by what is outstanding of each line."""
    statuses: dict[int, str] = {}
    for recorded in known:
        match recorded.event:
            case PurchaseOrderCreated(purchase_order_id=key):
                statuses[key] = "draft"
            case PurchaseOrderSent(purchase_order_id=key) if key in statuses:
                statuses[key] = "sent"
            case PurchaseOrderReceived(purchase_order_id=key) as event if key in statuses:
                statuses[key] = "received" if event.complete else "partial"
            case _:
                pass
    return statuses


async def check_value(connection: Connection, log: Log, source: random.Random) -> int:
    """What every product was worth where on a day, and what was sold of it did cost."""
    moment = log.pair(source)
    naive: dict[int, Naive] = {}
    for recorded in log.known(moment):
        match recorded.event:
            case ProductRegistered(product_id=product_id):
                naive[product_id] = Naive("standard", dict(ZONES))
            case ValuationChosen(product_id=product_id, valuation_method=method):
                # Before anything has moved: so it is the method of all of the history.
                naive[product_id].method = method or "standard"
            case _:
                pass
        if (product_id := getattr(recorded.event, "product_id", None)) in naive:
            naive[product_id].take(recorded)
    day = FIRST + timedelta(days=source.randrange((LAST - FIRST).days))
    first, last = sorted((day, FIRST + timedelta(days=source.randrange((LAST - FIRST).days))))
    async with past(connection, log.tenant_id, moment, VALUE) as there:
        levels = await inventory_value(there, log.tenant_id, day)
        costs = await cogs_of_products(there, log.tenant_id, first, last)
    for product_id, history in naive.items():
        told = f"product {product_id} by {history.method} at {moment}, {day}"
        figures = history.figures()
        mine = [level for level in levels if level.product_id == product_id]
        places = {(level.location_id, level.in_transit): Fraction(level.quantity) for level in mine}
        assert places == figures.at_places(day), told
        value = sum((level.value for level in mine), Decimal(0))
        expected = figures.value(day) if figures.quantity(day) else Fraction(0)
        assert abs(Fraction(value) - expected) <= HALF_A_CENT, told
        sold = [cost for cost in costs if cost.product_id == product_id]
        cogs = sum((cost.cogs for cost in sold), Decimal(0))
        assert abs(Fraction(cogs) - figures.cogs(first, last)) <= HALF_A_CENT, told
        units = sum((Fraction(cost.units_sold) for cost in sold), Fraction(0))
        assert units == figures.units_sold(first, last), told
    return 2 * len(naive)


Check = Callable[[Connection, Log, random.Random], Awaitable[int]]


# What is asked, of which of the two kinds of logs, and how often of a hundred times.
KINDS: tuple[tuple[Check, int, int], ...] = (
    (check_order, 0, 84),
    (check_value, 1, 12),
    (check_reports, 0, 4),
)


async def check_pairs(postgres: TestServer, seed: int, pairs: int) -> int:
    """Write logs, and ask at so many random moments of them; return the number of answers."""
    source = random.Random(seed)
    answers = 0
    async with postgres.fresh_database() as database:
        pool = await create_pool(database.app, size_min=1, size_max=2)
        try:
            logs: tuple[list[Log], list[Log]] = ([], [])
            for _ in range(LOGS):
                traded = tell_orders(source, 70)
                tenant_id = await create_tenant(database)
                logs[0].append(await written(pool, tenant_id, traded, named=True))
                valued, _ = tell(source, 12, backdated=True, steps=(4, 16))
                tenant_id = await create_tenant(database)
                logs[1].append(await written(pool, tenant_id, valued.events, named=False))
            for _ in range(pairs):
                check, which, _ = source.choices(KINDS, [often for _, _, often in KINDS])[0]
                log = source.choice(logs[which])
                async with tenant_transaction(pool, log.tenant_id) as connection:
                    answers += await check(connection, log, source)
        finally:
            pool.terminate()
    return answers


async def test_random_moments_are_what_a_replay_says(postgres: TestServer) -> None:
    """Thousands of answers about orders, value and reports, at 1,000 random pairs of times."""
    assert await check_pairs(postgres, 5, PAIRS) > 3_000


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 102))
async def test_ten_thousand_random_moments(postgres: TestServer, seed: int) -> None:
    """The same at 10,000 pairs, in other logs each time."""
    await check_pairs(postgres, seed, 10_000)
