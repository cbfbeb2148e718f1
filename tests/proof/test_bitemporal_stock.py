"""Stock as of any time, as known at any position, is what replaying those events gives.

The replay (`tests.support.naive_stock`) shares nothing with the service: it goes through a list
of plain steps, for each question from the first one on.
"""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.decision import RecordedEvent
from ledger.store import Pool, tenant_transaction
from projections.engine import Engine
from projections.past import Moment
from projections.projection import SCHEMA
from projections.stock_history import Shape, StockHistory
from projections.stock_history_queries import (
    HistoryIsBehind,
    PastLevel,
    WhichItems,
    open_history,
)
from schemas.common import Event
from schemas.purchase import (
    PurchaseLine,
    PurchaseOrderCancelled,
    PurchaseOrderClosed,
    PurchaseOrderCreated,
    PurchaseOrderReceived,
    PurchaseOrderSent,
    ReceivedLine,
)
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
from tests.support.naive_stock import Claim, Item, Move, Ordered, Purchased, Step, replay
from tests.support.written_log import START, Scribe

PAIRS = 10_000
STEPS = 400
SMALL = Shape(chunk=3, fan=2, levels=3)
PRODUCTS, LOCATIONS = (1, 2), (1, 2, 3)
ITEMS: list[Item] = [(product, location) for product in PRODUCTS for location in LOCATIONS]


class Author:
    """Makes up a history: events for the log, and the same as plain steps."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.steps: list[Step] = []
        self.events: list[tuple[str, Event, datetime]] = []
        self.now = START
        self._moves: list[tuple[int, Item, Move]] = []
        self._open: dict[tuple[Item, str], tuple[int, Decimal]] = {}
        self._claims = 0
        self._orders: dict[int, tuple[Item, ...]] = {}
        self._ordered = 0

    def write(self, count: int) -> None:
        """Add so many things that happen, each of one event or two."""
        acts = [
            self._receive, self._issue, self._adjust, self._count, self._quarantine,
            self._release_quarantine, self._ship, self._arrive, self._lose, self._reverse,
            self._reserve, self._reserve, self._extend, self._release, self._issue_reserved,
            self._order, self._purchase, self._purchase,
        ]  # fmt: skip
        for _ in range(count):
            self.now += timedelta(seconds=1)
            self.random.choice(acts)()

    def _at(self) -> datetime:
        """Pick a time: now, or days ago, some of them the very same."""
        back = self.random.choice((0, 0, 0, 1, 5, 20, 60))
        if not back:
            return self.now
        if self.random.random() < 0.3:
            return START - timedelta(days=back)
        return START - timedelta(seconds=self.random.randrange(back * 86_400))

    def _quantity(self) -> Decimal:
        return Decimal(self.random.randrange(1, 10 ** self.random.choice((1, 3, 9)))).scaleb(
            -self.random.choice((0, 2, 6))
        )

    def _item(self) -> Item:
        return self.random.choice(ITEMS)

    def _add(
        self, item: Item, event: Event, at: datetime, *facts: Any, stream: str | None = None
    ) -> None:
        self.events.append((stream or f"stock-{item[0]}-{item[1]}", event, at))
        touched: set[Item] = set()
        if stream is None:
            touched = {item}
            for fact in facts:
                if isinstance(fact, Move):
                    touched |= {fact.source[0], fact.target[0]}
        self.steps.append(Step(at, self.now, facts, frozenset(touched)))

    def _move(
        self,
        event_type: type[Event],
        item: Item,
        giver: tuple[Item, str],
        taker: tuple[Item, str],
        at: datetime,
        quantity: Decimal,
        **more: Any,
    ) -> None:
        move = Move(item, giver, taker, quantity)
        made: Any = event_type
        event = made(product_id=item[0], location_id=item[1], quantity=quantity, **more)
        self._add(item, event, at, move)
        self._moves.append((len(self.events), item, move))

    def _simple(self, event_type: type[Event], giver: str, taker: str, **more: Any) -> None:
        item = self._item()
        at, quantity = self._at(), self._quantity()
        self._move(event_type, item, (item, giver), (item, taker), at, quantity, **more)

    def _receive(self) -> None:
        source = self.random.choice(("supplier", "customer"))
        self._simple(StockReceived, source, "unrestricted", source=source)

    def _issue(self) -> None:
        self._simple(StockIssued, "unrestricted", "customer")

    def _adjust(self) -> None:
        item, at, quantity = self._item(), self._at(), self._quantity()
        signed = quantity * self.random.choice((1, -1))
        giver, taker = (item, "adjustment"), (item, "unrestricted")
        if signed < 0:
            giver, taker = taker, giver
        move = Move(item, giver, taker, quantity)
        event = StockAdjusted(product_id=item[0], location_id=item[1], quantity=signed)
        self._add(item, event, at, move)

    def _count(self) -> None:
        item, at = self._item(), self._at()
        variance = self.random.choice((Decimal(0), self._quantity()))
        event = StockCounted(
            product_id=item[0], location_id=item[1], counted=variance, expected=Decimal(0),
            variance=variance,
        )  # fmt: skip
        moved = [Move(item, (item, "adjustment"), (item, "unrestricted"), variance)]
        if not variance:
            moved = []
        self._add(item, event, at, *moved)

    def _quarantine(self) -> None:
        self._simple(StockQuarantined, "unrestricted", "quarantine")

    def _release_quarantine(self) -> None:
        if self.random.random() < 0.5:
            self._simple(QuarantineReleased, "quarantine", "unrestricted", disposition="restock")
        else:
            self._simple(QuarantineReleased, "quarantine", "loss", disposition="scrap")

    def _ship(self) -> None:
        item = self._item()
        there = (item[0], self.random.choice([one for one in LOCATIONS if one != item[1]]))
        at, quantity = self._at(), self._quantity()
        self._move(
            TransferShipped, item, (item, "unrestricted"), (there, "in_transit"), at, quantity,
            transfer_id=1, to_location_id=there[1],
        )  # fmt: skip
        expected = TransferExpected(
            product_id=item[0], location_id=there[1], quantity=quantity, transfer_id=1,
            from_location_id=item[1],
        )  # fmt: skip
        self._add(there, expected, at)

    def _arrive(self) -> None:
        self._simple(
            TransferReceived, "in_transit", "unrestricted", transfer_id=1, from_location_id=1
        )

    def _lose(self) -> None:
        self._simple(TransferLost, "in_transit", "loss", transfer_id=1, from_location_id=1)

    def _reverse(self) -> None:
        if not self._moves:
            return
        position, item, move = self._moves.pop(self.random.randrange(len(self._moves)))
        back = Move(item, move.target, move.source, move.quantity)
        event = MovementReversed(
            product_id=item[0], location_id=item[1], reversed_position=position,
            reversed_type="StockReceived", from_account=back.source[1],  # pyright: ignore[reportArgumentType]
            from_location_id=back.source[0][1],
            to_account=back.target[1],  # pyright: ignore[reportArgumentType]
            to_location_id=back.target[0][1], quantity=move.quantity,
        )  # fmt: skip
        self._add(item, event, self._at(), back)

    def _expiry(self, at: datetime) -> datetime | None:
        return self.random.choice(
            (None, at + timedelta(hours=1), at + timedelta(days=9), START, self.now)
        )

    def _reserve(self) -> None:
        item, name = self._item(), f"r{self.random.randrange(4)}"
        if (item, name) in self._open:
            return
        self._claims += 1
        at, quantity = self._at(), self._quantity()
        expiry = self._expiry(at)
        self._open[item, name] = self._claims, quantity
        event = StockReserved(
            product_id=item[0], location_id=item[1], quantity=quantity, reservation_id=name,
            expires_at=expiry,
        )  # fmt: skip
        self._add(item, event, at, Claim(item, self._claims, quantity, True, expiry))

    def _hold(self) -> tuple[Item, str, int, Decimal] | None:
        if not self._open:
            return None
        (item, name), (claim, left) = self.random.choice(list(self._open.items()))
        part = left if self.random.random() < 0.5 else self._quantity()
        part = min(part, left)
        return item, name, claim, part

    def _use(self, item: Item, name: str, part: Decimal) -> None:
        claim, left = self._open.pop((item, name))
        if left > part:
            self._open[item, name] = claim, left - part

    def _extend(self) -> None:
        if (hold := self._hold()) is None:
            return
        item, name, claim, _ = hold
        at = self._at()
        expiry = self._expiry(at)
        event = ReservationExtended(
            product_id=item[0], location_id=item[1], reservation_id=name, expires_at=expiry
        )
        self._add(item, event, at, Claim(item, claim, Decimal(0), True, expiry))

    def _release(self) -> None:
        if (hold := self._hold()) is None:
            return
        item, name, claim, part = hold
        self._use(item, name, part)
        event = ReservationReleased(
            product_id=item[0], location_id=item[1], reservation_id=name, quantity=part,
            cause="released",
        )  # fmt: skip
        self._add(item, event, self._at(), Claim(item, claim, -part))

    def _issue_reserved(self) -> None:
        if (hold := self._hold()) is None:
            return
        item, name, claim, part = hold
        self._use(item, name, part)
        event = StockIssued(
            product_id=item[0], location_id=item[1], reservation_id=name, quantity=part
        )
        move = Move(item, (item, "unrestricted"), (item, "customer"), part)
        self._add(item, event, self._at(), move, Claim(item, claim, -part))

    def _order(self) -> None:
        self._ordered += 1
        number, location = self._ordered, self.random.choice(LOCATIONS)
        items = tuple((product, location) for product in PRODUCTS)
        self._orders[number] = items
        wanted = {item: self._quantity() for item in items}
        event = PurchaseOrderCreated(
            purchase_order_id=number, po_number=f"PO-{number}", supplier_id=1,
            location_id=location, total_amount=Decimal(0),
            lines=tuple(
                PurchaseLine(
                    id=number * 1000 + item[0], product_id=item[0], quantity=quantity,
                    unit_cost=Decimal(1),
                )
                for item, quantity in wanted.items()
            ),
        )  # fmt: skip
        self._add(items[0], event, self._at(), Ordered(number, wanted), stream=f"purchase-{number}")

    def _purchase(self) -> None:
        if not self._orders:
            return
        number = self.random.choice(list(self._orders))
        items, at = self._orders[number], self._at()
        status = self.random.choice(("sent", "partial", "partial", "received", "closed", "off"))
        arrived: dict[Item, Decimal] = {}
        if status == "sent":
            event: Event = PurchaseOrderSent(purchase_order_id=number)
        elif status == "closed":
            event = PurchaseOrderClosed(purchase_order_id=number)
        elif status == "off":
            event = PurchaseOrderCancelled(purchase_order_id=number)
        else:
            arrived = {item: self._quantity() for item in items}
            event = PurchaseOrderReceived(
                purchase_order_id=number, receipt=1, complete=status == "received",
                lines=tuple(
                    ReceivedLine(
                        line_id=number * 1000 + item[0], product_id=item[0], quantity=quantity,
                        unit_cost=Decimal(1),
                    )
                    for item, quantity in arrived.items()
                ),
            )  # fmt: skip
        if status in ("closed", "off"):
            del self._orders[number]
        self._add(
            items[0], event, at, Purchased(number, status, arrived), stream=f"purchase-{number}"
        )


async def fold(
    pool: Pool, tenant_id: int, events: Sequence[RecordedEvent], sizes: random.Random | None
) -> None:
    """Fold events in batches of some size, and say that the history has come so far."""
    history = StockHistory(SMALL)
    rest = list(events)
    while rest:
        size = len(rest) if sizes is None else sizes.choice((1, 2, 7, 40))
        batch, rest = rest[:size], rest[size:]
        async with tenant_transaction(pool, tenant_id) as connection:
            await history.apply(connection, SCHEMA, tenant_id, batch)
            await connection.execute(
                """
                INSERT INTO projections.checkpoint (tenant_id, name, version, position)
                VALUES ($1, 'stock_history', 1, $2)
                ON CONFLICT (tenant_id, name) DO UPDATE SET position = excluded.position
                """,
                tenant_id,
                batch[-1].position,
            )


async def tables(pool: Pool, tenant_id: int) -> dict[str, list[Any]]:
    """Return all rows of the history's tables."""
    async with tenant_transaction(pool, tenant_id) as connection:
        return {
            table: await connection.fetch(
                f"SELECT * FROM projections.{table} ORDER BY {', '.join(key)}"
            )
            for table, key in StockHistory.tables.items()
        }


async def empty(pool: Pool, tenant_id: int) -> None:
    """Take all rows of the history's tables away, and its checkpoint."""
    async with tenant_transaction(pool, tenant_id) as connection:
        for table in StockHistory.tables:
            await connection.execute(f"DELETE FROM projections.{table}")
        await connection.execute("DELETE FROM projections.checkpoint")


@pytest.fixture
async def written(pool: Pool, tenant_id: int) -> tuple[Author, list[RecordedEvent]]:
    """A history in the log, not folded yet."""
    author = Author(seed=20)
    author.write(STEPS)
    scribe = Scribe(pool, Engine(inline=(), following=()), tenant_id)
    recorded: list[RecordedEvent] = []
    for step, entry in zip(author.steps, author.events, strict=True):
        if step.recorded_at != scribe.now:
            scribe.now = step.recorded_at - timedelta(seconds=1)
            recorded += await scribe.write(entry)
        else:
            scribe.now -= timedelta(seconds=1)
            recorded += await scribe.write(entry)
    assert [each.recorded_at for each in recorded] == [step.recorded_at for step in author.steps]
    return author, recorded


def plain(level: PastLevel) -> dict[str, Decimal]:
    """Return what is not zero of a level."""
    return {figure: value for figure, value in level._asdict().items() if value}


async def held_to_replay(
    pool: Pool, tenant_id: int, author: Author, pairs: int, choice: random.Random
) -> None:
    """Ask for random moments, and replay each."""
    steps = author.steps
    times = sorted({step.effective_at for step in steps})
    async with tenant_transaction(pool, tenant_id) as connection:
        for _ in range(pairs):
            position = choice.randrange(len(steps) + 1)
            as_of = choice.choice(
                (
                    None,
                    choice.choice(times),
                    choice.choice(times) - timedelta(microseconds=1),
                    START + timedelta(seconds=choice.randrange(-90 * 86_400, 10 * 86_400)),
                )
            )
            items = choice.sample(ITEMS, choice.randrange(1, 4))
            reader = await open_history(connection, tenant_id, Moment(position, as_of), shape=SMALL)
            found = await reader.levels(items)
            expected = replay(steps, items, as_of, position)
            for item in items:
                wanted = {figure: value for figure, value in expected[item].items() if value}
                assert plain(found[item]) == wanted, (item, as_of, position)


async def test_any_moment_equals_a_replay(
    pool: Pool, tenant_id: int, written: tuple[Author, list[RecordedEvent]]
) -> None:
    """10,000 random moments, of which some are read before all of the log is folded."""
    author, recorded = written
    choice = random.Random(21)
    third = len(recorded) // 3
    await held_to_replay(pool, tenant_id, author, PAIRS // 20, choice)
    await fold(pool, tenant_id, recorded[:third], random.Random(22))
    await held_to_replay(pool, tenant_id, author, PAIRS // 20, choice)
    await fold(pool, tenant_id, recorded[third:], random.Random(23))
    rows = await tables(pool, tenant_id)
    assert {row["level"] for row in rows["stock_history_sorted"]} == {1, 2, 3}
    assert all(rows.values()), "all that it keeps is asked for"
    await held_to_replay(pool, tenant_id, author, PAIRS - PAIRS // 10, choice)


async def test_batches_of_any_size_give_the_same_rows(
    pool: Pool, tenant_id: int, written: tuple[Author, list[RecordedEvent]]
) -> None:
    """All at once, or in batches of one to forty."""
    _, recorded = written
    await fold(pool, tenant_id, recorded, None)
    at_once = await tables(pool, tenant_id)
    for seed in (1, 2):
        await empty(pool, tenant_id)
        await fold(pool, tenant_id, recorded, random.Random(seed))
        assert await tables(pool, tenant_id) == at_once


async def test_the_items_listed_are_those_that_had_begun(
    pool: Pool, tenant_id: int, written: tuple[Author, list[RecordedEvent]]
) -> None:
    """An item is listed at the moments at which something of it is known to have happened."""
    author, recorded = written
    # Such positions are few where only the first events tell.
    choice = random.Random(5)
    for folded in (0, 10, len(recorded)):
        await empty(pool, tenant_id)
        await fold(pool, tenant_id, recorded[:folded], choice)
        async with tenant_transaction(pool, tenant_id) as connection:
            for _ in range(300):
                position = choice.randrange(40)
                as_of = START - timedelta(days=choice.randrange(-1, 70))
                reader = await open_history(
                    connection, tenant_id, Moment(position, as_of), shape=SMALL
                )
                begun: set[Item] = set()
                for step in author.steps[:position]:
                    if step.effective_at <= as_of:
                        begun.update(step.touched)
                expected = sorted(begun)
                found = await reader.items(limit=100)
                assert found == expected
                assert await reader.count_items() == len(expected)
                page = await reader.items(WhichItems(after=(1, 1)), limit=2, offset=1)
                assert page == [item for item in expected if item > (1, 1)][1:3]
                of_one = WhichItems(location_id=2, product_id=1)
                assert await reader.items(of_one, limit=9) == [
                    item for item in expected if item == (1, 2)
                ]


async def test_a_history_far_behind_is_waited_for(
    pool: Pool,
    tenant_id: int,
    written: tuple[Author, list[RecordedEvent]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the log has ahead of it is added up to a limit."""
    monkeypatch.setattr("projections.stock_history_queries.BEHIND_MAX", 100)
    async with tenant_transaction(pool, tenant_id) as connection:
        near = await open_history(connection, tenant_id, Moment(100))
        assert await near.levels(ITEMS)
        with pytest.raises(HistoryIsBehind):
            await open_history(connection, tenant_id, Moment(101))
