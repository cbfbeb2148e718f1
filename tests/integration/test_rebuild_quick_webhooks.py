"""What webhooks tell, folded the quick way, is the very rows that the ordinary fold gives."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pytest

from deploy.address import DatabaseAddress
from ledger.domain.movements import MOVING
from ledger.store import Pool, tenant_transaction
from projections.engine import Engine
from projections.following import catch_up
from projections.log_columns import Column, Ints, Stretch
from projections.moves import MILLIONTHS, moves_of
from projections.shadow import SHADOW
from projections.webhook_facts import Place, add_changes
from projections.webhook_messages import STOCK_EVENTS, WebhookMessages
from projections.webhook_messages_bulk import claimed, moved
from schemas.common import Event
from schemas.import_batch import ImportBatchClosed, ImportBatchOpened
from schemas.integration import (
    ItemLinked,
    ItemUnlinked,
    StockDivergenceDetected,
    StoreLinked,
    StoreUnlinked,
)
from schemas.location import LocationOpened, LocationRevised
from schemas.order import (
    FulfilmentCancelled,
    OrderCancelled,
    OrderFulfilled,
    OrderFulfilmentStarted,
    OrderLinesCancelled,
    OrderPaid,
    OrderPlaced,
    OrderShipped,
)
from schemas.product import (
    AlternativeUnit,
    ProductDiscontinued,
    ProductRegistered,
    ProductRevised,
)
from schemas.purchase import PurchaseOrderCreated, PurchaseOrderReceived, ReceivedLine
from schemas.stock import (
    MovementReversed,
    QuarantineReleased,
    ReservationReleased,
    StockIssued,
    StockQuarantined,
    StockReceived,
    StockReserved,
    TransferShipped,
)
from schemas.webhook import (
    WebhookEndpointCreated,
    WebhookEndpointDeleted,
    WebhookEndpointDisabled,
    WebhookEndpointEnabled,
    WebhookEndpointRevised,
    WebhookEndpointVerified,
)
from tests.golden.examples import EXAMPLES
from tests.integration.test_rebuild_quick import history, rebuilt
from tests.support.postgres import create_tenant
from tests.support.written_log import Scribe, Written

PROJECTION: Final = WebhookMessages()
UNPROJECTED: Final = Engine(inline=(), following=())
"""Nothing else follows the logs that are written here."""
TABLES: Final = frozenset(PROJECTION.tables)
TEXTS: Final = ["plain", 'a\tb "c" \\ d', "\\N", "line\nand line\r", "Größe 漢"]
TOPICS: Final[Any] = (
    "stock.changed",
    "stock.low",
    "order.status_changed",
    "import_batch.closed",
    "purchase_order.received",
    "stock.divergence",
)


def happening(chance: random.Random) -> Written:
    """Make an event of any type but stock's and the endpoints', about one of a few things."""
    n = chance.randint(1, 3)
    text = chance.choice(TEXTS)
    item: dict[str, Any] = {
        "product_id": n,
        "name": "P",
        "base_price": Decimal(1),
        "sku": text,
        "reorder_level": chance.choice([None, None, *map(Decimal, ("0.5", "5.0", "9", "30"))]),
        "alternative_units": tuple(
            AlternativeUnit(unit=unit, numerator=chance.randint(1, 7), denominator=3)
            for unit in chance.sample(["box", "bag"], chance.randint(0, 2))
        ),
    }
    zone = chance.choice(["UTC", "Asia/Kathmandu"])
    place: dict[str, Any] = {"location_id": n, "name": "L", "code": text, "time_zone": zone}
    system: Any = chance.choice(["mipos", "mipos", "woocommerce"])
    store: dict[str, Any] = {
        "system": system,
        "location_id": n,
        "external_id": chance.choice(["7", "x\\1"]),
    }
    unit = chance.choice([None, "box"])
    order: Any = {"order_id": n}
    purchase: Any = {"purchase_order_id": n}
    part = ReceivedLine(line_id=1, product_id=n, quantity=Decimal("2.50"), unit_cost=Decimal(1))
    difference: dict[str, Any] = dict.fromkeys(("on_hand", "reported", "difference"), Decimal(-1))
    made: Event = chance.choice(
        [
            ProductRegistered(**item),
            ProductRevised(**item),
            ProductRevised(**item),
            ProductDiscontinued(product_id=n, sku=text),
            LocationOpened(**place),
            LocationRevised(**place),
            StoreLinked(**store),
            StoreLinked(**store),
            StoreUnlinked(**store),
            ItemLinked(system=system, product_id=n, external_id=text, unit=unit),
            ItemLinked(system="mipos", product_id=n, external_id=text, unit=unit),
            ItemUnlinked(system=system, product_id=n, external_id=text),
            OrderPlaced(
                **order,
                order_number=text,
                channel="pos",
                lines=(),
                total_amount=Decimal(1),
                allocation="default",
            ),
            OrderPaid(**order),
            OrderFulfilmentStarted(**order),
            OrderFulfilled(**order, fulfilment=1, lines=(), complete=chance.random() < 0.5),
            FulfilmentCancelled(**order, fulfilment=1, lines=()),
            OrderShipped(**order),
            OrderLinesCancelled(**order, lines=(), complete=chance.random() < 0.5),
            OrderCancelled(**order, lines=()),
            PurchaseOrderCreated(
                **purchase,
                po_number=text,
                supplier_id=n,
                location_id=n,
                lines=(),
                total_amount=Decimal(1),
            ),
            PurchaseOrderReceived(**purchase, receipt=1, lines=(part, part), complete=True),
            ImportBatchOpened(
                batch_id=text, kind="order-lines", source_name=text, source_digest="d"
            ),
            ImportBatchClosed(batch_id=text, lines=3, accepted=2, refused=1),
            StockDivergenceDetected(
                system="mipos",
                product_id=n,
                location_id=n,
                external_id=text,
                reported_at=datetime(2030, 5, 1, tzinfo=UTC),
                **difference,
            ),
        ]
    )
    return "things-1", made


class Receivers:
    """Endpoints that come, change and go at random."""

    def __init__(self, chance: random.Random, topics: Any, *, coming: int, going: bool) -> None:
        self._chance = chance
        self._topics = topics
        self._coming = coming
        self._going = going
        self._there: list[int] = []
        self._last = 0

    def next(self) -> list[Written]:
        """Return what happens to one of them, if anything does."""
        chance = self._chance
        if self._last < self._coming:
            self._last += 1
            self._there.append(self._last)
            made: Event = WebhookEndpointCreated(
                endpoint_id=self._last,
                url="https://example.com/hook",
                topics=self._topics,
                format="mipos" if self._last % 3 == 2 else "standard",
                verified=not self._going or chance.random() < 0.5,
            )
            return [("webhook-1", made)]
        if not self._going or not self._there:
            return []
        endpoint_id = chance.choice(self._there)
        topics = tuple(chance.sample(self._topics, chance.randint(0, len(self._topics))))
        made = chance.choice(
            [
                WebhookEndpointVerified(endpoint_id=endpoint_id),
                WebhookEndpointVerified(endpoint_id=endpoint_id),
                WebhookEndpointDisabled(endpoint_id=endpoint_id, cause="user"),
                WebhookEndpointEnabled(endpoint_id=endpoint_id),
                WebhookEndpointRevised(
                    endpoint_id=endpoint_id,
                    url="https://example.com/hook",
                    topics=topics,
                    verified=chance.random() < 0.5,
                ),
                WebhookEndpointDeleted(endpoint_id=endpoint_id),
            ]
        )
        if isinstance(made, WebhookEndpointDeleted):
            self._there.remove(endpoint_id)
            self._coming += 1
        return [("webhook-1", made)]


AUDIENCES: Final[dict[str, dict[str, Any]]] = {
    "nobody": {"topics": TOPICS, "coming": 0, "going": False},
    "all": {"topics": TOPICS, "coming": 2, "going": False},
    "come and go": {"topics": TOPICS, "coming": 3, "going": True},
    "orders only": {"topics": ("order.status_changed",), "coming": 1, "going": False},
    "low stock only": {"topics": ("stock.low",), "coming": 1, "going": False},
}


async def write(pool: Pool, tenant_id: int, seed: int, audience: str) -> None:
    """Write a history with all that webhooks tell; the messages are made as it grows."""
    chance = random.Random(seed)
    receivers = Receivers(chance, **AUDIENCES[audience])
    scribe = Scribe(pool, UNPROJECTED, tenant_id)
    rest: list[Written] = [(r.stream, r.event, r.effective_at) for r in history(seed)]
    while rest:
        size = chance.randint(1, 24)
        entries, rest = rest[:size], rest[size:]
        more: list[Written] = [happening(chance) for _ in range(chance.randint(0, size))]
        if chance.random() < 0.6:
            more += receivers.next()
        for entry in more:
            entries.insert(chance.randint(0, len(entries)), entry)
        await scribe.write(*entries)
        await catch_up(pool, PROJECTION, tenant_id)


async def tables_of(database: DatabaseAddress) -> dict[str, int]:
    """Rebuild; return how many rows each table has, all tenants' together."""
    report = await rebuilt(database, [PROJECTION.name])
    assert report.differing == []
    found = dict.fromkeys(PROJECTION.tables, 0)
    for table in report.tables:
        found[table.table] += table.rows_rebuilt
    return found


def watch_ordinary(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which is added how many events a rebuild folds in the ordinary way."""
    usual = WebhookMessages.apply
    seen: list[int] = []

    async def counted(
        self: Any, connection: Any, schema: str, tenant_id: int, events: Sequence[Any]
    ) -> None:
        if schema == SHADOW:
            seen.append(len(events))
        await usual(self, connection, schema, tenant_id, events)

    monkeypatch.setattr(WebhookMessages, "apply", counted)
    return seen


@pytest.mark.parametrize("batch_events", [40_000, 7, 1], ids=["large", "small", "one by one"])
async def test_the_rows_are_the_same_whoever_is_told(
    database: DatabaseAddress, pool: Pool, monkeypatch: pytest.MonkeyPatch, batch_events: int
) -> None:
    """A tenant each for nobody, everybody, and those that come and go; all the quick way."""
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", batch_events)
    for nth, audience in enumerate(AUDIENCES):
        await write(pool, await create_tenant(database), 10 * batch_events + nth, audience)
    ordinary = watch_ordinary(monkeypatch)
    rows = await tables_of(database)
    assert ordinary == []
    assert rows["webhook_message"] > 100
    assert rows["webhook_subscription"] > 5
    assert rows["webhook_stock"] >= 2 * len(AUDIENCES)
    assert rows["webhook_fact"] > 10 * len(AUDIENCES)


def movement(chance: random.Random) -> Written:
    """Make an event of stock of some product at some place."""
    place: dict[str, Any] = {
        "product_id": chance.randint(1, 4),
        "location_id": chance.randint(1, 2),
        "quantity": Decimal(chance.randint(1, 12)) / 2,
    }
    made: Event = chance.choice(
        [
            *[StockReceived(**place)] * 3,
            StockIssued(**place),
            StockIssued(**place, reservation_id="r"),
            *[StockReserved(**place, reservation_id="r")] * 2,
            ReservationReleased(**place, reservation_id="r"),
            StockQuarantined(**place),
            QuarantineReleased(**place),
            TransferShipped(**place, transfer_id=1, to_location_id=3),
        ]
    )
    return "stock-1-1", made


@pytest.mark.parametrize("batch_events", [40_000, 9])
async def test_stock_that_gets_low_is_told_wherever_it_does(
    database: DatabaseAddress,
    pool: Pool,
    tenant_id: int,
    monkeypatch: pytest.MonkeyPatch,
    batch_events: int,
) -> None:
    """By movements and by holds, at levels that seldom change."""
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", batch_events)
    chance = random.Random(batch_events)
    scribe = Scribe(pool, UNPROJECTED, tenant_id)
    await scribe.write(*Receivers(chance, ("stock.low",), coming=1, going=False).next())
    for nth in range(24):
        item: Any = {"product_id": nth % 4 + 1, "name": "P", "sku": "S", "base_price": Decimal(1)}
        level = None if nth == 2 else Decimal(chance.randint(-9, 9)) / 2
        await scribe.write(
            ("product-1", ProductRevised(**item, reorder_level=level)),
            *(movement(chance) for _ in range(30)),
        )
        await catch_up(pool, PROJECTION, tenant_id)
    ordinary = watch_ordinary(monkeypatch)
    assert (await tables_of(database))["webhook_message"] > 20
    assert ordinary == []


@pytest.mark.parametrize("held_rows_max", [4, 22])
async def test_the_ordinary_fold_goes_on_where_memory_is_short(
    database: DatabaseAddress, pool: Pool, monkeypatch: pytest.MonkeyPatch, held_rows_max: int
) -> None:
    """From there on with the same messages."""
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", 60)
    monkeypatch.setattr("projections.shadow.HELD_ROWS_MAX", held_rows_max)
    for nth, audience in enumerate(("nobody", "come and go")):
        await write(pool, await create_tenant(database), held_rows_max + nth, audience)
    ordinary = watch_ordinary(monkeypatch)
    await tables_of(database)
    assert sum(ordinary) > 5


@pytest.mark.parametrize(
    ("sums_max", "is_ordinary"), [(Decimal("9e12"), False), (Decimal("3e11"), True)]
)
async def test_large_and_fine_quantities_are_added_up_exactly(
    database: DatabaseAddress,
    pool: Pool,
    tenant_id: int,
    monkeypatch: pytest.MonkeyPatch,
    sums_max: Decimal,
    is_ordinary: bool,
) -> None:
    """What is only reserved counts as well: beyond 64 bits it is the ordinary fold."""
    monkeypatch.setattr(
        "projections.webhook_messages_bulk.MILLIONTHS_MAX", float(sums_max * MILLIONTHS)
    )
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", 5)
    scribe = Scribe(pool, UNPROJECTED, tenant_id)
    chance = random.Random(9)
    all_told = WebhookEndpointCreated(
        endpoint_id=1, url="https://example.com", topics=TOPICS, verified=True
    )
    for nth in range(12):
        quantity = Decimal(chance.randint(1, 10**17)).scaleb(-6)
        place: Any = {"product_id": 1 + nth % 2, "location_id": 1, "quantity": quantity}
        await scribe.write(
            ("stock-1-1", StockReserved(**place, reservation_id=f"r{nth}")),
            *([("stock-1-1", StockReceived(**place))] if nth > 8 else []),
            *([("webhook-1", all_told)] if nth == 6 else []),
        )
        await catch_up(pool, PROJECTION, tenant_id)
    ordinary = watch_ordinary(monkeypatch)
    rows = await tables_of(database)
    assert bool(ordinary) == is_ordinary
    assert rows["webhook_message"] == 8


async def test_a_raised_reorder_level_tells_the_place_whoever_folds_it(
    database: DatabaseAddress, pool: Pool, tenant_id: int
) -> None:
    """Though no event beside it is of that place."""
    scribe = Scribe(pool, UNPROJECTED, tenant_id)
    item: Any = {"product_id": 1, "name": "P", "sku": "P-1", "base_price": Decimal(1)}
    for stream, event in (
        ("location-1", LocationOpened(location_id=1, code="MAIN", name="Main")),
        ("product-1", ProductRegistered(**item)),
        ("stock-1-1", StockReceived(product_id=1, location_id=1, quantity=Decimal(4))),
        (
            "webhook-1",
            WebhookEndpointCreated(
                endpoint_id=1, url="https://example.com", topics=("stock.low",), verified=True
            ),
        ),
        ("product-1", ProductRevised(**item, reorder_level=Decimal(5))),
    ):
        await scribe.write((stream, event))
        await catch_up(pool, PROJECTION, tenant_id)
    async with tenant_transaction(pool, tenant_id) as connection:
        told = await connection.fetchval(
            "SELECT data::json ->> 'location' FROM projections.webhook_message"
        )
    assert told == "MAIN"
    assert (await tables_of(database))["webhook_message"] == 1


def stretch_of(events: Sequence[Any]) -> Stretch:
    """Put events of stock in columns, one after the other."""
    columns: list[Column] = []
    for kind in {type(event): None for event in events}:
        mine = [nth for nth, event in enumerate(events, 1) if type(event) is kind]
        nothing: Ints = np.zeros(len(mine), np.int64)
        positions = np.array(mine, np.int64)
        own = [events[nth - 1] for nth in mine]
        columns.append(Column(kind, own, positions, positions, nothing, nothing))
    return Stretch(len(events), columns)


def odd_reversals() -> list[MovementReversed]:
    """Make reversals from any figure to any, at one place and from one to another."""
    accounts: Any = ("unrestricted", "quarantine", "in_transit", "customer")
    return [
        MovementReversed(
            product_id=1,
            location_id=1,
            reversed_position=1,
            reversed_type="StockReceived",
            quantity=Decimal("1.25"),
            from_account=source,
            from_location_id=1,
            to_account=target,
            to_location_id=to,
        )
        for source in accounts
        for target in accounts
        for to in (1, 2)
    ]


@pytest.mark.parametrize(
    "event",
    [*(event for event in EXAMPLES if type(event) in STOCK_EVENTS), *odd_reversals()],
    ids=lambda event: type(event).__name__,
)
def test_each_type_of_event_changes_the_same_figures(event: Any) -> None:
    """In columns as event by event: of each place, and how many changes it counts."""
    expected: dict[Place, list[Any]] = {}
    add_changes(expected, event)
    stretch = stretch_of([event])
    found: dict[Place, list[int]] = {}
    for changes in (moved(moves_of(stretch)), claimed(stretch)):
        for _, product, place, figure, quantity, count in zip(*changes, strict=True):
            total = found.setdefault((int(product), int(place)), [0, 0, 0, 0])
            total[figure] += int(quantity)
            total[3] += int(count)
    assert found == {
        place: [*(int(figure * MILLIONTHS) for figure in figures[:3]), figures[3]]
        for place, figures in expected.items()
    }


def test_the_examples_have_every_type_that_moves() -> None:
    """So that none is missed above."""
    assert {type(event) for event in EXAMPLES} >= MOVING
