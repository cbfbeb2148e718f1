"""The valuation against a naive one: random histories, through the fold, on a real database.

A history has receipts, sales, returns, adjustments, counts, transfers in one step and two,
losses, scrap, reversals, landed costs, revaluations and changes of price, recorded in any order,
with stock below zero at times. Each product of a tenant is one history.
"""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from ledger.domain.decision import RecordedEvent
from ledger.domain.movements import legs
from ledger.store import Pool, tenant_transaction
from projections import costing_reads
from projections.comparing import digest
from projections.projection import SCHEMA, Connection
from projections.valuation import Valuation
from projections.valuation_places import cogs_of_periods_at, cogs_of_products_at
from projections.valuation_queries import (
    cogs_of_periods,
    cogs_of_products,
    inventory_value,
)
from schemas.books import BooksConfigured, LandedCostAdded, StockRevalued, ValuationChosen
from schemas.common import Event
from schemas.location import LocationOpened
from schemas.product import ProductRegistered, ProductRevised
from schemas.stock import (
    CountVarianceRevised,
    MovementReversed,
    QuarantineReleased,
    StockAdjusted,
    StockCounted,
    StockIssued,
    StockQuarantined,
    StockReceived,
    TransferLost,
    TransferReceived,
    TransferShipped,
)
from tests.property.naive_valuation import Figures, Naive
from tests.support.postgres import TestServer, create_tenant

METHODS = ("standard", "average", "fifo")
ZONES = {1: "UTC", 2: "Australia/Sydney", 3: "America/Los_Angeles"}
START = datetime(2030, 5, 1, tzinfo=UTC)
DAYS = 14
FIRST, LAST = date(2030, 4, 30), date(2030, 5, 31)
# And what a dozen amounts may be off that are rounded to the millionth.
HALF_A_CENT = Fraction(1, 200) + Fraction(1, 20_000)
PRODUCTS = 300


class History:
    """A random history of one product, event by event, and what the naive valuation makes of it."""

    def __init__(
        self,
        random_source: random.Random,
        product_id: int,
        method: str,
        zones: dict[int, str],
        *,
        backdated: bool,
    ) -> None:
        self.product_id = product_id
        self.naive = Naive(method, zones)
        self.told: list[RecordedEvent] = []
        self._random = random_source
        self._backdated = backdated
        self._now = START
        self._movements: list[RecordedEvent] = []
        self._reversed: set[int] = set()
        self._landed: set[int] = set()
        self._references: list[str] = []

    def next_in_order(self) -> list[tuple[Event, datetime]]:
        """Return what happens next, where that changes nothing that was before."""
        # At standard cost a revaluation counts from the beginning of its day on.
        revalues = 0 if self.naive.method == "standard" else 2
        kinds = (self._receipt, self._sale, self._return, self._adjustment, self._transfer,
                 self._quarantine, self._revaluation, self._price)  # fmt: skip
        return self._random.choices(kinds, (30, 40, 10, 8, 8, 4, revalues, 4))[0]()

    def next(self) -> list[tuple[Event, datetime]]:
        """Return what happens next: one event, or the two of a transfer in one step."""
        choice = self._random.choices(
            (
                self._receipt, self._sale, self._return, self._adjustment, self._count,
                self._transfer, self._quarantine, self._reversal, self._landed_cost,
                self._revaluation, self._price,
            ),
            (30, 40, 10, 8, 3, 8, 4, 10, 4, 2, 4),
        )[0]  # fmt: skip
        return choice()

    def take(self, recorded: RecordedEvent) -> None:
        """Keep what has been recorded."""
        self.told.append(recorded)
        if legs(recorded.event) is not None or isinstance(recorded.event, StockCounted):
            self._movements.append(recorded)
        self.naive.take(recorded)

    # --- kinds of events ----------------------------------------------------------------

    def _at(self) -> datetime:
        if not self._backdated:
            self._now += timedelta(minutes=self._random.randrange(1, 900))
            return self._now
        # A few times are the same, so that the order of positions counts as well.
        return START + timedelta(hours=self._random.randrange(DAYS * 12) * 2)

    def _later(self, at: datetime, hours: int) -> datetime:
        later = at + timedelta(hours=hours)
        self._now = max(self._now, later)
        return later

    def _place(self) -> dict[str, Any]:
        location = self._random.choice((1, 1, 2, 3))
        return {"product_id": self.product_id, "location_id": location}

    def _quantity(self) -> Decimal:
        return Decimal(self._random.choice((1, 2, 3, 5, 7, 10, "0.5", "2.25")))

    def _cost(self) -> Decimal:
        return Decimal(self._random.choice(("0", "1", "2.5", "3.333333", "10", "0.07", "99.99")))

    def _reference(self) -> str:
        self._references.append(f"ORD-{len(self._references) // 2}")
        return self._references[-1]

    def _receipt(self) -> list[tuple[Event, datetime]]:
        cost = self._cost() if self._random.random() < 0.8 else None
        event = StockReceived(**self._place(), quantity=self._quantity(), unit_cost=cost)
        return [(event, self._at())]

    def _sale(self) -> list[tuple[Event, datetime]]:
        to: Any = "supplier" if self._random.random() < 0.1 else "customer"
        reference = self._reference() if self._random.random() < 0.6 else None
        event = StockIssued(
            **self._place(), quantity=self._quantity(), destination=to, reference=reference
        )
        return [(event, self._at())]

    def _return(self) -> list[tuple[Event, datetime]]:
        returns = None
        if self._references and self._random.random() < 0.7:
            returns = self._random.choice(self._references)
        cost = self._cost() if self._random.random() < 0.1 else None
        event = StockReceived(
            **self._place(),
            source="customer",
            quantity=self._quantity(),
            returns=returns,
            unit_cost=cost,
        )
        return [(event, self._at())]

    def _adjustment(self) -> list[tuple[Event, datetime]]:
        sign = self._random.choice((1, -1))
        event = StockAdjusted(**self._place(), quantity=self._quantity() * sign)
        return [(event, self._at())]

    def _count(self) -> list[tuple[Event, datetime]]:
        counts = [m for m in self._movements if isinstance(m.event, StockCounted)]
        variance = Decimal(self._random.choice((-2, -1, 0, 1, 2)))
        if counts and self._random.random() < 0.4:
            count = self._random.choice(counts)
            place: Any = count.event
            revised = CountVarianceRevised(
                product_id=self.product_id,
                location_id=place.location_id,
                quantity=variance or Decimal(1),
                count_position=count.position,
            )
            return [(revised, count.effective_at)]
        event = StockCounted(
            **self._place(), counted=Decimal(5) + variance, expected=Decimal(5), variance=variance
        )
        return [(event, self._at())]

    def _transfer(self) -> list[tuple[Event, datetime]]:
        source, target = self._random.sample((1, 2, 3), 2)
        quantity, at = self._quantity(), self._at()
        direct = self._random.random() < 0.5
        common: dict[str, Any] = {"product_id": self.product_id, "transfer_id": 1}
        shipped = TransferShipped(
            **common, location_id=source, to_location_id=target, quantity=quantity, direct=direct
        )
        arrives: dict[str, Any] = {
            **common, "location_id": target, "from_location_id": source, "quantity": quantity
        }  # fmt: skip
        if direct:
            return [(shipped, at), (TransferReceived(**arrives, direct=True), at)]
        later = self._later(at, self._random.randrange(1, 40))
        if self._random.random() < 0.2:
            return [(shipped, at), (TransferLost(**arrives), later)]
        if self._random.random() < 0.2:
            return [(shipped, at)]
        return [(shipped, at), (TransferReceived(**arrives), later)]

    def _quarantine(self) -> list[tuple[Event, datetime]]:
        place, quantity, at = self._place(), self._quantity(), self._at()
        disposition: Any = self._random.choice(("restock", "scrap"))
        released = QuarantineReleased(**place, quantity=quantity, disposition=disposition)
        later = self._later(at, 1)
        return [(StockQuarantined(**place, quantity=quantity), at), (released, later)]

    def _reversal(self) -> list[tuple[Event, datetime]]:
        undone = [
            recorded
            for recorded in self._movements
            if recorded.position not in self._reversed
            and not isinstance(recorded.event, MovementReversed | CountVarianceRevised)
        ]
        if not undone:
            return self._receipt()
        original = self._random.choice(undone)
        self._reversed.add(original.position)
        event: Any = original.event
        leg = legs(event)
        quantity = leg.quantity if leg is not None else Decimal(0)
        if isinstance(event, StockCounted):
            revised = sum(
                m.event.quantity
                for m in self._movements
                if isinstance(m.event, CountVarianceRevised)
                and m.event.count_position == original.position
            )
            moved = event.variance + revised
            up = moved > 0
            quantity = abs(moved)
            from_account, to_account = "unrestricted", "adjustment"
            if not up:
                from_account, to_account = to_account, from_account
            places = event.location_id, event.location_id
        else:
            assert leg is not None
            from_account, to_account = leg.to_account, leg.from_account
            places = leg.to_location_id, leg.from_location_id
        at = original.effective_at
        if self._random.random() < 0.6:
            at += timedelta(hours=self._random.randrange(1, 90))
        accounts: Any = {"from_account": from_account, "to_account": to_account}
        reversal = MovementReversed(
            product_id=self.product_id,
            location_id=event.location_id,
            reversed_position=original.position,
            reversed_type=event.TYPE,
            quantity=quantity,
            from_location_id=places[0],
            to_location_id=places[1],
            **accounts,
        )
        return [(reversal, at)]

    def _landed_cost(self) -> list[tuple[Event, datetime]]:
        receipts = [
            recorded
            for recorded in self._movements
            if isinstance(recorded.event, StockReceived)
            and recorded.event.source == "supplier"
            and recorded.position not in self._reversed
        ]
        if not receipts:
            return self._receipt()
        receipt = self._random.choice(receipts)
        place: Any = receipt.event
        amount = Decimal(self._random.choice(("1", "7.77", "100")))
        added = LandedCostAdded(
            position=receipt.position,
            product_id=self.product_id,
            location_id=place.location_id,
            amount=amount,
        )
        return [(added, receipt.effective_at)]

    def _revaluation(self) -> list[tuple[Event, datetime]]:
        event = StockRevalued(product_id=self.product_id, unit_cost=self._cost())
        return [(event, self._at())]

    def _price(self) -> list[tuple[Event, datetime]]:
        price = self._cost() if self._random.random() < 0.8 else None
        return [(ProductRevised(**product(self.product_id, price)), self._at())]


def product(product_id: int, cost_price: Decimal | None) -> dict[str, Any]:
    """Return what is said of a product."""
    return {
        "product_id": product_id,
        "name": "Tea",
        "sku": f"TEA-{product_id}",
        "base_price": Decimal(9),
        "cost_price": cost_price,
        "scale": 2,
    }


class Told:
    """The log of one tenant: events of many products, one after another."""

    def __init__(self) -> None:
        self.events: list[RecordedEvent] = []
        self.now = START + timedelta(days=40)

    def tell(self, event: Event, at: datetime | None = None) -> RecordedEvent:
        """Record an event."""
        self.now += timedelta(minutes=1)
        position = len(self.events) + 1
        recorded = RecordedEvent(position, "told", position, event, at or self.now, self.now)
        self.events.append(recorded)
        return recorded


def tell(
    source: random.Random,
    products: int,
    *,
    backdated: bool,
    in_order: str | None = None,
    steps: tuple[int, int] = (1, 26),
) -> tuple[Told, list[History]]:
    """Tell random histories of many products, mixed; return the log and the histories.

    ``in_order`` names the one method of histories that are told in the order of time.
    """
    told = Told()
    zones = dict.fromkeys(ZONES, "UTC") if in_order else ZONES
    for number, zone in zones.items():
        place = LocationOpened(location_id=number, name="L", code=f"L{number}", time_zone=zone)
        told.tell(place)
    histories: list[History] = []
    for product_id in range(1, products + 1):
        method: Any = in_order or METHODS[product_id % len(METHODS)]
        history = History(source, product_id, method, zones, backdated=backdated)
        histories.append(history)
        price = Decimal("4.2") if in_order or source.random() < 0.8 else None
        history.take(told.tell(ProductRegistered(**product(product_id, price))))
        told.tell(ValuationChosen(product_id=product_id, valuation_method=method))
    left = {history.product_id: source.randrange(*steps) for history in histories}
    while left:
        history = histories[source.choice(list(left)) - 1]
        for event, at in history.next_in_order() if in_order else history.next():
            # A price is as of when it is said, and that is in the order of the log.
            if isinstance(event, ProductRevised):
                told.now += timedelta(hours=source.randrange(30))
            history.take(told.tell(event, at))
        left[history.product_id] -= 1
        if not left[history.product_id]:
            del left[history.product_id]
    return told, histories


async def fold(
    connection: Connection, tenant_id: int, events: Sequence[RecordedEvent], sizes: Iterable[int]
) -> None:
    """Fold a log in batches of some sizes."""
    valuation = Valuation()
    start = 0
    for size in sizes:
        batch = [e for e in events[start : start + size] if type(e.event) in valuation.event_types]
        await valuation.apply(connection, SCHEMA, tenant_id, batch)
        start += size
        if start >= len(events):
            return


def batches(source: random.Random) -> Iterable[int]:
    """Yield sizes of batches, small and large."""
    while True:
        yield source.choice((1, 30, 400, 4000))


def near(ours: Decimal, theirs: Fraction) -> bool:
    """Tell whether two amounts are one to the cent, wherever the rounding of a cent lies."""
    return abs(Fraction(ours) - theirs) <= HALF_A_CENT


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("backdated", [True, False])
async def test_all_methods_are_what_a_naive_valuation_says(
    pool: Pool, tenant_id: int, seed: int, backdated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values at places and costs of goods sold, for random days and periods, to the cent."""
    if seed % 2:
        # Most histories are short: let some reach back further than is looked at first.
        monkeypatch.setattr(costing_reads, "LAYER_DAYS", (1, 3))
    source = random.Random(seed * 2 + backdated)
    told, histories = tell(source, PRODUCTS, backdated=backdated)
    async with tenant_transaction(pool, tenant_id) as connection:
        await fold(connection, tenant_id, told.events, batches(source))
        figures = {history.product_id: history.naive.figures() for history in histories}
        for _ in range(3):
            await check_values(connection, tenant_id, histories, figures, _day(source))
        await check_values(connection, tenant_id, histories, figures, date.max)
        for _ in range(4):
            first, last = sorted((_day(source), _day(source)))
            await check_cogs(connection, tenant_id, histories, figures, first, last)
        await check_cogs(connection, tenant_id, histories, figures, FIRST, LAST)
        await check_adjoining(connection, tenant_id, figures, source)
        await check_places(connection, tenant_id, source)


def _day(source: random.Random) -> date:
    return FIRST + timedelta(days=source.randrange(DAYS + 8))


def described(history: History) -> str:
    """Return a history in lines, for a failure's message."""
    return f"product {history.product_id} by {history.naive.method}\n" + "\n".join(
        f"{e.position} {e.effective_at.isoformat()} {e.event}" for e in history.told
    )


async def check_values(
    connection: Connection,
    tenant_id: int,
    histories: Sequence[History],
    figures: dict[int, Figures],
    day: date,
) -> None:
    levels = await inventory_value(connection, tenant_id, day)
    for history in histories:
        naive = figures[history.product_id]
        mine = [level for level in levels if level.product_id == history.product_id]
        places = {(level.location_id, level.in_transit): Fraction(level.quantity) for level in mine}
        assert places == naive.at_places(day), described(history)
        value = sum((level.value for level in mine), Decimal(0))
        if naive.quantity(day) == 0:
            assert value == 0, described(history)
            assert all(level.value == 0 for level in mine), described(history)
            continue
        expected = naive.value(day)
        assert near(value, expected), f"{day}: {value}, not {float(expected)}\n{described(history)}"
        for level in mine:
            part = expected * Fraction(level.quantity) / naive.quantity(day)
            assert abs(Fraction(level.value) - part) <= Fraction(1, 100) + HALF_A_CENT


async def check_cogs(
    connection: Connection,
    tenant_id: int,
    histories: Sequence[History],
    figures: dict[int, Figures],
    first: date,
    last: date,
) -> None:
    found = {c.product_id: c for c in await cogs_of_products(connection, tenant_id, first, last)}
    for history in histories:
        naive = figures[history.product_id]
        ours = found.get(history.product_id)
        cogs = Decimal(0) if ours is None else ours.cogs
        units = Decimal(0) if ours is None else ours.units_sold
        assert Fraction(units) == naive.units_sold(first, last), described(history)
        expected = naive.cogs(first, last)
        assert near(cogs, expected), (
            f"{first} to {last}: {cogs}, not {float(expected)}\n{described(history)}"
        )


async def check_adjoining(
    connection: Connection, tenant_id: int, figures: dict[int, Figures], source: random.Random
) -> None:
    """Days, or stretches of days, add up exactly to the whole."""
    cuts = sorted({FIRST, LAST, *(_day(source) for _ in range(5))})
    stretches = [(start, end - timedelta(days=1)) for start, end in pairwise(cuts)]
    whole = (stretches[0][0], stretches[-1][1])
    parts = await cogs_of_periods(connection, tenant_id, stretches)
    (total,) = await cogs_of_periods(connection, tenant_id, [whole])
    assert sum(parts) == total
    naive = sum((f.cogs(*whole) for f in figures.values()), Fraction(0))
    assert abs(Fraction(total) - naive) <= HALF_A_CENT
    by_product = await cogs_of_products(connection, tenant_id, *whole)
    assert sum(product.cogs for product in by_product) == total


async def check_places(connection: Connection, tenant_id: int, source: random.Random) -> None:
    """The locations add up to the whole, exactly: by product, and by period."""
    cuts = sorted({FIRST, LAST, *(_day(source) for _ in range(4))})
    stretches = [(start, end - timedelta(days=1)) for start, end in pairwise(cuts)]
    whole = (stretches[0][0], stretches[-1][1])
    by_place = [await cogs_of_products_at(connection, tenant_id, at, *whole) for at in ZONES]
    units: dict[int, Decimal] = {}
    cogs: dict[int, Decimal] = {}
    for product in (product for of_place in by_place for product in of_place):
        units[product.product_id] = units.get(product.product_id, Decimal(0)) + product.units_sold
        cogs[product.product_id] = cogs.get(product.product_id, Decimal(0)) + product.cogs
    for product in await cogs_of_products(connection, tenant_id, *whole):
        assert units.pop(product.product_id) == product.units_sold
        assert cogs.pop(product.product_id) == product.cogs
    assert not any(units.values())
    assert not any(cogs.values())
    parts = [await cogs_of_periods_at(connection, tenant_id, at, stretches) for at in ZONES]
    assert [sum(of_period) for of_period in zip(*parts, strict=True)] == await cogs_of_periods(
        connection, tenant_id, stretches
    )
    for of_place, of_periods in zip(by_place, parts, strict=True):
        assert sum(product.cogs for product in of_place) == sum(of_periods)


@pytest.mark.parametrize("seed", range(3))
async def test_the_sizes_of_batches_change_nothing(
    postgres: TestServer, pool: Pool, tenant_id: int, seed: int, database: Any
) -> None:
    """Two folds of one log, event by event and in one go, have the same rows."""
    source = random.Random(100 + seed)
    told, _ = tell(source, 40, backdated=True, steps=(1, 40))
    other = await create_tenant(database)
    for tenant, sizes in ((tenant_id, iter(lambda: 1, 0)), (other, [len(told.events)])):
        async with tenant_transaction(pool, tenant) as connection:
            await fold(connection, tenant, told.events, sizes)
    for table in Valuation.tables:
        rows: list[list[Any]] = []
        for tenant in (tenant_id, other):
            async with tenant_transaction(pool, tenant) as connection:
                found = await connection.fetch(f"SELECT * FROM {SCHEMA}.{table}")
                rows.append(sorted(tuple(row)[1:] for row in map(_plain, found)))
        assert rows[0] == rows[1], table
    assert await _rows(pool, tenant_id) > 0


def _plain(row: Any) -> list[str]:
    return [str(value) for value in row]


async def _rows(pool: Pool, tenant_id: int) -> int:
    async with tenant_transaction(pool, tenant_id) as connection:
        return (await digest(connection, SCHEMA, "cost_movement", tenant_id)).rows


@pytest.mark.parametrize("seed", range(3))
async def test_a_change_of_method_is_as_if_it_had_been_the_method_always(
    pool: Pool, tenant_id: int, seed: int
) -> None:
    """Through all methods in the middle of histories that are told in order."""
    source = random.Random(200 + seed)
    final: Any = METHODS[seed]
    told, histories = tell(source, PRODUCTS, backdated=False, in_order=final)
    events: list[RecordedEvent] = []
    for number, recorded in enumerate(told.events):
        if isinstance(recorded.event, ValuationChosen):
            continue
        events.append(recorded)
        if number % (len(told.events) // 5) == 0:
            change = BooksConfigured(valuation_method=source.choice(METHODS), time_zone="UTC")
            events.append(recorded._replace(event=change))
    events.append(
        told.events[-1]._replace(event=BooksConfigured(valuation_method=final, time_zone="UTC"))
    )
    async with tenant_transaction(pool, tenant_id) as connection:
        await fold(connection, tenant_id, events, batches(source))
        figures: dict[int, Figures] = {}
        for history in histories:
            naive = Naive(final, history.naive.zones)
            for recorded in history.told:
                naive.take(recorded)
            history.naive = naive
            figures[history.product_id] = naive.figures()
        await check_values(connection, tenant_id, histories, figures, _day(source))
        await check_cogs(connection, tenant_id, histories, figures, FIRST, _day(source))
        await check_adjoining(connection, tenant_id, figures, source)
