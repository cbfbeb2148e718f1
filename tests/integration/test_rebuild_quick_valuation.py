"""The valuation's quick way into empty tables gives the very rows that its ordinary fold gives."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec
import numpy as np
import pytest

from deploy.address import DatabaseAddress
from ledger.domain.books import day_in
from ledger.domain.decision import RecordedEvent
from ledger.store import Pool, tenant_transaction
from projections.business_days import days_in, number_of
from projections.costing import MILLION, share
from projections.following import catch_up
from projections.log_columns import microseconds
from projections.rebuild import Report
from projections.shadow import SHADOW
from projections.valuation import Valuation
from projections.valuation_columns import shares
from schemas.books import BooksConfigured, LandedCostAdded, StockRevalued, ValuationChosen
from schemas.common import Command, Event
from schemas.location import LocationOpened, LocationRevised, OpenLocation
from schemas.product import ProductRegistered, ProductRevised, RegisterProduct
from schemas.stock import (
    IssueStock,
    MovementReversed,
    ReceiveStock,
    ReverseMovement,
    StockIssued,
    StockReceived,
)
from tests.integration.test_rebuild_quick import ENGINE, rebuilt
from tests.property.test_stock_decider import KINDS, LOCATIONS, STEP_MINUTES, Step, command_of
from tests.support.decisions import World, minutes
from tests.support.postgres import create_tenant
from tests.support.written_log import Scribe, Written

ZONES: Final = ("UTC", "Pacific/Kiritimati", "America/St_Johns", "Pacific/Niue")
REFERENCES: Final = ("a", "b", "c\td\\ ", None)
PRODUCTS: Final = (1, 2, 3)
STEPS: Final = 300
COSTED: Final = [*KINDS, *3 * ("receive", "issue", "reverse")]


def history(seed: int) -> Sequence[Written]:
    """Return a shop's history at random: its stock, its returns, its cost prices and its zones."""
    chance = random.Random(seed)
    world = World()
    for number in PRODUCTS:
        world.given(RegisterProduct(name=f"P{number}", sku=f"P{number}", base_price=Decimal(9)))
    for number in LOCATIONS:
        world.given(OpenLocation(name=f"L{number}", code=f"L{number}", stock_limit=Decimal(-40)))
    for product_id in PRODUCTS:
        for location_id in LOCATIONS:
            world.given(
                ReceiveStock(product_id=product_id, location_id=location_id, quantity=Decimal(60))
            )
    for _ in range(STEPS):
        step = Step(
            wait=chance.randint(0, 30),
            back=chance.choice([None, None, chance.randint(0, 100)]),
            kind=chance.choice(COSTED),
            location_id=chance.choice(LOCATIONS),
            quantity=chance.randint(1, 9),
            name=chance.choice("ab"),
            pick=chance.randint(0, 400),
            flag=chance.random() < 0.5,
        )
        world.now += minutes(STEP_MINUTES * step.wait)
        # What is refused is not in the history.
        world.do(_varied(command_of(step, world), chance))
    told: list[Written] = []
    placed: dict[int, int] = {}
    for recorded in world.log:
        told += _facts(chance)
        placed[recorded.position] = len(told) + 1
        told += _told(recorded, placed, chance)
    return told


def _varied(command: Command, chance: random.Random) -> Command:
    """Return a command for any product, with what matters to costs."""
    replace = msgspec.structs.replace
    if isinstance(command, ReverseMovement):
        return command
    if isinstance(command, ReceiveStock):
        is_return = chance.random() < 0.4
        unit_cost = Decimal(chance.randint(0, 9_999_999)).scaleb(-chance.randint(2, 6))
        return replace(
            command,
            product_id=chance.choice(PRODUCTS),
            source="customer" if is_return else "supplier",
            unit_cost=unit_cost if chance.random() < (0.1 if is_return else 0.6) else None,
            returns=chance.choice(REFERENCES) if is_return else None,
        )
    if isinstance(command, IssueStock):
        return replace(
            command,
            product_id=chance.choice(PRODUCTS),
            destination=chance.choice(["customer", "customer", "supplier"]),
            reference=chance.choice(REFERENCES),
        )
    return replace(command, product_id=chance.choice(PRODUCTS))  # pyright: ignore


def _facts(chance: random.Random) -> Iterator[Written]:
    """Yield what is said of products, locations and the books, now and then."""
    if chance.random() < 0.08:
        product_id = chance.choice(PRODUCTS)
        yield f"product-{product_id}", priced(product_id, chance, ProductRevised)
    if chance.random() < 0.05:
        location_id = chance.choice(LOCATIONS)
        yield f"location-{location_id}", zoned(location_id, chance.choice(ZONES), LocationRevised)
    if chance.random() < 0.02:
        yield "books-1", books("standard", chance.choice(ZONES))


def _told(
    recorded: RecordedEvent, placed: dict[int, int], chance: random.Random
) -> Iterator[Written]:
    """Yield an event, with the positions where others are now; or as no decider would have it."""
    stream, event, at = recorded.stream, recorded.event, recorded.effective_at
    replace = msgspec.structs.replace
    if isinstance(event, ProductRegistered):
        event = priced(event.product_id, chance)
    if isinstance(event, MovementReversed):
        event = replace(event, reversed_position=placed[event.reversed_position])
        if chance.random() < 0.2:
            # It goes back to nothing, or to what it does not fit.
            event = replace(
                event,
                reversed_position=chance.randint(1, placed[recorded.position] + 20),
                quantity=event.quantity + chance.choice([0, 0, 1]),
            )
        if chance.random() < 0.1:
            yield stream, event, at
    yield stream, event, at


def priced(product_id: int, chance: random.Random, kind: Any = ProductRegistered) -> Any:
    """Say what a product costs, if anything."""
    cost_price = chance.choice([None, Decimal(chance.randint(0, 20)), Decimal("1.234567")])
    name = f"P{product_id}"
    return kind(
        product_id=product_id, sku=name, name=name, base_price=Decimal(9), cost_price=cost_price
    )


def zoned(location_id: int, zone: str, kind: Any = LocationOpened) -> Any:
    """Say what zone a location is in."""
    name = f"L{location_id}"
    return kind(location_id=location_id, code=name, name=name, time_zone=zone)


def books(method: Any, zone: str = "UTC") -> BooksConfigured:
    """Say what method and what zone the books are of."""
    return BooksConfigured(valuation_method=method, time_zone=zone)


async def write(pool: Pool, tenant_id: int, told: Sequence[Written], seed: int = 0) -> Scribe:
    """Write a history in groups of random sizes, some hours apart, and have it followed."""
    chance = random.Random(seed)
    scribe = Scribe(pool, ENGINE, tenant_id)
    rest = list(told)
    while rest:
        size = chance.randint(1, 12)
        scribe.now += timedelta(hours=chance.randint(0, 9))
        await scribe.write(*rest[:size])
        rest = rest[size:]
    await catch_up(pool, ENGINE.named("valuation"), tenant_id)
    return scribe


@pytest.fixture
def ordinary(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the positions that the shadow's ordinary fold is told of."""
    told: list[int] = []
    usual = Valuation.apply

    async def noted(self: Any, connection: Any, schema: str, tenant: int, events: Any) -> None:
        told.extend(event.position for event in events if schema == SHADOW)
        await usual(self, connection, schema, tenant, events)

    monkeypatch.setattr(Valuation, "apply", noted)
    return told


def rows_of(report: Report) -> dict[str, int]:
    """Return how many rows of all tenants each table has."""
    counted: dict[str, int] = {}
    for row in report.tables:
        counted[row.table] = counted.get(row.table, 0) + row.rows_rebuilt
    return counted


@pytest.mark.parametrize(
    ("batch_events", "held_rows_max"),
    [(40_000, 500_000), (7, 500_000), (1, 500_000), (60, 4), (90, 40)],
    ids=["large", "small", "one by one", "ended early", "ended later"],
)
async def test_the_rows_are_the_same_whatever_the_sizes(
    database: DatabaseAddress,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    ordinary: list[int],
    batch_events: int,
    held_rows_max: int,
) -> None:
    """Of two tenants; and where memory is short, from the middle on by the ordinary fold."""
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", batch_events)
    monkeypatch.setattr("projections.shadow.HELD_ROWS_MAX", held_rows_max)
    for seed in (1, 2):
        told = history(seed + batch_events)
        await write(pool, await create_tenant(database), told, seed)
    report = await rebuilt(database, ["valuation"])
    assert report.differing == []
    rows = rows_of(report)
    assert rows["cost_movement"] > 250
    assert rows["cost_day"] > 100
    assert min(rows[f"cost_{table}"] for table in ("product", "standard", "zone")) > 3
    assert bool(ordinary) == (held_rows_max < 500)


@pytest.mark.parametrize(
    ("turn", "batch_events"),
    [("average", 40), ("chosen", 900), ("landed", 40), ("revalued", 40)],
)
async def test_another_method_or_a_later_cost_ends_it(
    database: DatabaseAddress,
    pool: Pool,
    tenant_id: int,
    monkeypatch: pytest.MonkeyPatch,
    ordinary: list[int],
    turn: str,
    batch_events: int,
) -> None:
    """From the stretch on in which that is said; the ordinary fold finds all that it needs."""
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", batch_events)
    told = list(history(11))
    receipt = next(
        number
        for number, written in enumerate(told, start=1)
        if isinstance(written[1], StockReceived) and written[1].source == "supplier"
    )
    turned: dict[str, Any] = {
        "average": books("average", "Pacific/Niue"),
        "chosen": ValuationChosen(product_id=1, valuation_method="fifo"),
        "landed": LandedCostAdded(
            position=receipt, product_id=1, location_id=1, amount=Decimal("3.5")
        ),
        "revalued": StockRevalued(product_id=1, unit_cost=Decimal(7)),
    }
    middle = len(told) // 2
    told.insert(middle, ("books-1", turned[turn]))
    told = [_shifted(written, middle) for written in told]
    await write(pool, tenant_id, told)
    report = await rebuilt(database, ["valuation"])
    assert report.differing == []
    assert min(ordinary) == middle // batch_events * batch_events + 1


def _shifted(written: Written, middle: int) -> Written:
    """Have a reversal go back to what it did before one more was put into the middle."""
    event = written[1]
    if isinstance(event, MovementReversed) and event.reversed_position > middle:
        event = msgspec.structs.replace(event, reversed_position=event.reversed_position + 1)
    return (written[0], event, *written[2:])  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize(("unit_cost", "is_quick"), [("900000000", True), ("9999999999", False)])
@pytest.mark.parametrize("how", ["stated", "returned"])
async def test_costs_of_any_size_are_exact(
    database: DatabaseAddress,
    pool: Pool,
    tenant_id: int,
    monkeypatch: pytest.MonkeyPatch,
    ordinary: list[int],
    how: str,
    unit_cost: str,
    is_quick: bool,
) -> None:
    """Beyond 64 bits it is the ordinary fold, from before anything went round."""
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", 3)
    cost = Decimal(unit_cost) + Decimal("0.999999")
    facts = priced(1, random.Random(1))
    facts = msgspec.structs.replace(facts, cost_price=cost)
    receipts: list[Written] = [
        received(
            "123.456789",
            source="supplier" if how == "stated" else "customer",
            unit_cost=cost if how == "stated" else None,
        )
        for _ in range(30)
    ]
    await write(pool, tenant_id, [("product-1", facts), *receipts])
    report = await rebuilt(database, ["valuation"])
    assert report.differing == []
    assert bool(ordinary) != is_quick
    assert not ordinary or min(ordinary) > 1


def received(quantity: str, **more: Any) -> tuple[str, Event]:
    """A receipt of product 1."""
    event = StockReceived(product_id=1, location_id=1, quantity=Decimal(quantity), **more)
    return "stock-1-1", event


async def test_the_latest_hundred_issues_of_a_reference_are_looked_at(
    database: DatabaseAddress, pool: Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Across stretches, those of other products among them."""
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", 23)
    chance = random.Random(3)
    told: list[Written] = []
    for _ in range(130):
        told.append(("product-1", priced(1, chance, ProductRevised)))
        for product_id in (1, 2):
            event = StockIssued(
                product_id=product_id,
                location_id=1,
                quantity=Decimal(chance.randint(1, 5)),
                reference="R",
            )
            told.append((f"stock-{product_id}-1", event))
    told.append(received("7", source="customer", returns="R"))
    await write(pool, tenant_id, told)
    assert (await rebuilt(database, ["valuation"])).differing == []


@pytest.mark.parametrize("batch_events", [1, 3, 40_000])
async def test_only_what_is_before_it_in_the_log_counts(
    database: DatabaseAddress,
    pool: Pool,
    tenant_id: int,
    monkeypatch: pytest.MonkeyPatch,
    ordinary: list[int],
    batch_events: int,
) -> None:
    """Though it was earlier, or is named; what a reversal turns out to be counts from then on."""
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", batch_events)
    chance = random.Random(8)
    may = datetime(2030, 5, 1, tzinfo=UTC)

    def sold(quantity: int, day: int) -> Written:
        event = StockIssued(product_id=1, location_id=1, quantity=Decimal(quantity))
        return "stock-1-1", event, may + timedelta(days=day)

    def undone(position: int, quantity: int, came_from: Any, went_to: Any) -> Written:
        event = MovementReversed(
            product_id=1,
            location_id=1,
            reversed_position=position,
            reversed_type="StockIssued",
            quantity=Decimal(quantity),
            from_account=came_from,
            from_location_id=1,
            to_account=went_to,
            to_location_id=1,
        )
        return "stock-1-1", event, may + timedelta(days=30)

    def back(day: int) -> Written:
        return (*received("2", source="customer"), may + timedelta(days=day))

    told = [("product-1", priced(1, chance)), sold(3, 1), back(9), sold(5, 4), back(9)]
    # At position 6 is one that names what is behind it, at 8 one that names itself.
    told += [undone(7, 4, "customer", "unrestricted"), sold(4, 5)]
    told += [undone(8, 4, "customer", "unrestricted")]
    # It takes out nothing that came in: so it is a sale like any.
    told += [undone(2, 6, "unrestricted", "customer"), back(31), sold(1, 6), back(31)]
    await write(pool, tenant_id, told)
    report = await rebuilt(database, ["valuation"])
    assert report.differing == []
    assert ordinary == []
    async with tenant_transaction(pool, tenant_id) as connection:
        origins = await connection.fetchval(
            "SELECT array_agg(origin ORDER BY position) FROM projections.cost_movement"
            " WHERE kind = 'return' AND basis = 'origin'"
        )
    assert origins == [2, 4, 9, 9]


def test_shares_of_a_million_are_those_of_the_core() -> None:
    """Where the product of the two would be above 64 bits as well."""
    chance = random.Random(4)
    pairs = [
        (chance.randint(0, 10 ** chance.randint(1, 18)), chance.randint(1, 10**digits))
        for digits in [*range(1, 19), 6, 6, 6]
        for _ in range(200)
    ]
    pairs = [pair for pair in pairs if pair[0] * pair[1] < 9 * 10**24]
    pairs += [(500_000, 1), (499_999, 1), (1, 500_000), (1_500_000, 1_000_001)]
    unit_costs, quantities = np.array(pairs, np.int64).T
    expected = [share(unit_cost, quantity, MILLION) for unit_cost, quantity in pairs]
    assert shares(unit_costs, quantities).tolist() == expected


@pytest.mark.parametrize("zone", [*ZONES, "Africa/Casablanca", "Antarctica/Troll", "No/Zone"])
def test_days_in_a_zone_are_those_of_each_time(zone: str) -> None:
    """Where clocks go back over midnight as well: in St John's they once did at one past."""
    chance = random.Random(6)
    times = [
        datetime(2006, 10, 29, 2, tzinfo=UTC) + timedelta(seconds=30 * number)
        for number in range(240)
    ]
    times += [
        datetime(1950, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randint(0, 10**10))
        for _ in range(3_000)
    ]
    times += [datetime.max.replace(tzinfo=UTC) - timedelta(days=1)]
    chance.shuffle(times)
    found = days_in(zone, np.array([microseconds(at) for at in times]))
    assert found.tolist() == [number_of(day_in(zone, at)) for at in times]
