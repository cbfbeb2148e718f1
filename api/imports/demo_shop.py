"""A made-up shop with years of history, for newcomers to explore: `stockledger demo`.

The same seed, years and last day give the same commands. The shop keeps its own simple books
of what is free at each place, so that it never asks for what the ledger must refuse.
"""

import math
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Final, NamedTuple

from api.imports.demo_books import Answers, Books
from api.imports.demo_goods import (
    COUNTER,
    GOODS,
    HUB,
    IN_CASES,
    IN_LITRES,
    PLACES,
    SHARE,
    SUPPLIERS,
    Goods,
)
from api.imports.demo_trade import Trade
from schemas.common import Command
from schemas.product import AlternativeUnit, RegisterProduct
from schemas.stock import (
    AdjustStock,
    CountStock,
    IssueReserved,
    IssueStock,
    QuarantineStock,
    ReceiveStock,
    ReceiveTransfer,
    ReleaseQuarantine,
    ReleaseReservation,
    ReserveStock,
    ReverseMovement,
    ShipTransfer,
    TransferStock,
)

DAYS_PER_STEP: Final = 7
_NO_LATER: Final = timedelta(days=1)


class Step(NamedTuple):
    """The commands of a stretch of days, in order, and how much of the history is done then."""

    commands: Sequence[Command]
    days_done: int
    days_total: int


def history(seed: int, years: int, now: datetime) -> Generator[Step, Answers, None]:
    """Yield the shop's history in steps; send back what each step's commands appended.

    It begins ``years`` before ``now`` and ends the day before it, but for some live
    reservations. Raises ValueError unless ``years`` is 1 to 20.
    """
    if not 1 <= years <= 20:
        raise ValueError("years must be 1 to 20")
    return _Shop(Random(seed), years, now).history()  # noqa: S311 - a story, not a secret


class _Shop:
    def __init__(self, random: Random, years: int, now: datetime) -> None:
        self._random = random
        self._now = now.astimezone(UTC)
        self._last = self._now.date() - _NO_LATER
        self._first = self._last - timedelta(days=round(365.25 * years) - 1)
        self._books = Books(random, self._first)
        self._trade = Trade(self._books)
        self._free, self._blocked = self._books.free, self._books.blocked
        self._coming: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        # What a later step does about something of an earlier one.
        self._shipped: list[tuple[int, ShipTransfer]] = []
        self._mistakes: list[tuple[int, ReceiveStock]] = []
        self._on_the_way: list[tuple[int, ShipTransfer]] = []
        self._to_reverse: list[tuple[int, ReceiveStock]] = []
        self._held: list[tuple[str, Goods, str, Decimal]] = []
        self._quarantined: list[tuple[Goods, str, Decimal]] = []
        self._documents = 10_000

    # --- the story ----------------------------------------------------------------------

    def history(self) -> Generator[Step, Answers, None]:
        days_total = (self._last - self._first).days + 1
        self._open()
        for start in range(0, days_total, DAYS_PER_STEP):
            for offset in range(start, min(start + DAYS_PER_STEP, days_total)):
                self._live(self._first + timedelta(days=offset), offset)
            done = min(start + DAYS_PER_STEP, days_total)
            if done == days_total:
                self._leave_reservations()
            answers = yield Step(self._books.taken(), done, days_total)
            self._learn(answers)

    def _open(self) -> None:
        for command in (*PLACES, *SUPPLIERS):
            self._do(command)
        for goods in GOODS:
            self._do(
                RegisterProduct(
                    sku=goods.sku,
                    name=goods.name,
                    base_price=Decimal(goods.price),
                    cost_price=Decimal(goods.cost),
                    vendor=goods.supplier,
                    supplier=goods.supplier,
                    reorder_level=Decimal(max(3, round(goods.daily * 10))),
                    unit="litre" if goods.sku == IN_LITRES else "each",
                    scale=2 if goods.sku == IN_LITRES else 0,
                    alternative_units=(AlternativeUnit(unit="case", numerator=6),)
                    if goods.sku == IN_CASES
                    else (),
                )
            )
        self._trade.open()

    def _live(self, day: date, offset: int) -> None:
        self._books.begin(day)
        if offset % DAYS_PER_STEP == 0:
            self._settle()
            self._restock(day)
            self._trade.week(day)
        if day.day == 1:
            self._remember_late()
        if day.day in (7, 21):
            self._drop()
        if day.day == 11:
            self._mistype()
        if day.day == 17:
            self._block()
        if day.day == 25 and day.month % 3 == 0:
            self._count()
        if offset % 3 == 0:
            self._hold()
        for place in PLACES:
            for goods in GOODS:
                self._sell(goods, place.code, day)

    # --- what happens -------------------------------------------------------------------

    def _sell(self, goods: Goods, place: str, day: date) -> None:
        wanted = self._demand(goods, place, day)
        if goods.sku == IN_LITRES and wanted:
            wanted += Decimal(self._random.randrange(4)) / 4
        # The counter hands over what it can see, whatever the books say.
        floor = Decimal(-12) if place == COUNTER else Decimal(0)
        wanted = min(wanted, self._free[goods.sku, place] - floor)
        if wanted <= 0:
            return
        self._documents += 1
        self._free[goods.sku, place] -= wanted
        self._do(
            IssueStock(
                sku=goods.sku,
                location=place,
                quantity=wanted,
                unit_price=Decimal(goods.price),
                effective_at=self._tick(),
                reference=f"SO-{self._documents}",
            )
        )
        if self._random.random() < 0.03:
            back = min(Decimal(1), wanted)
            self._free[goods.sku, place] += back
            self._do(
                ReceiveStock(
                    sku=goods.sku,
                    location=place,
                    quantity=back,
                    effective_at=self._tick(),
                    source="customer",
                    unit_price=Decimal(goods.price),
                    returns=f"SO-{self._documents}",
                    reason="customer return",
                    reference=f"SO-{self._documents}",
                )
            )

    def _demand(self, goods: Goods, place: str, day: date) -> Decimal:
        angle = 2 * math.pi * (day.timetuple().tm_yday - goods.peak_day) / 365.25
        season = 1 + goods.swing * math.cos(angle)
        weekend = 1.5 if day.weekday() >= 5 else 1.0
        mean = goods.daily * season * weekend * SHARE[place] * 0.6
        # Knuth's method: the products of uniform numbers, until they fall below e^-mean.
        floor, product, count = math.exp(-mean), self._random.random(), 0
        while product > floor and count < 100:
            product *= self._random.random()
            count += 1
        return Decimal(count)

    def _restock(self, day: date) -> None:
        """Order for the hub what the next weeks will take, and send the others their share."""
        ahead = day + timedelta(days=24)
        for goods in GOODS:
            angle = 2 * math.pi * (ahead.timetuple().tm_yday - goods.peak_day) / 365.25
            weekly = Decimal(round(goods.daily * (1 + goods.swing * math.cos(angle)) * 10) + 3)
            if self._free[goods.sku, HUB] < 2 * weekly:
                self._receive(goods, 5 * weekly)
            for place in (place.code for place in PLACES[1:]):
                key = (goods.sku, place)
                share = Decimal(max(2, round(float(weekly) * SHARE[place])))
                short = self._free[key] + self._coming[key] < share
                if short and self._free[goods.sku, HUB] > 2 * share:
                    self._send(goods, place, 2 * share)

    def _receive(self, goods: Goods, quantity: Decimal) -> None:
        self._documents += 1
        # Prices rise a little over the years.
        rise = 1 + Decimal((self._books.day - self._first).days) / 10_000
        cost = (Decimal(goods.cost) * rise).quantize(Decimal("0.01"))
        in_cases = goods.sku == IN_CASES
        quantity = quantity - quantity % 6 if in_cases else quantity
        self._free[goods.sku, HUB] += quantity
        self._do(
            ReceiveStock(
                sku=goods.sku,
                location=HUB,
                quantity=quantity / 6 if in_cases else quantity,
                unit="case" if in_cases else None,
                unit_cost=cost,
                effective_at=self._tick(),
                reference=f"PO-{self._documents}",
            )
        )

    def _send(self, goods: Goods, place: str, quantity: Decimal) -> None:
        self._documents += 1
        self._free[goods.sku, HUB] -= quantity
        if self._random.random() < 0.25:
            self._free[goods.sku, place] += quantity
            self._do(
                TransferStock(
                    sku=goods.sku,
                    from_location=HUB,
                    to_location=place,
                    quantity=quantity,
                    effective_at=self._tick(),
                    reference=f"TR-{self._documents}",
                )
            )
            return
        self._coming[goods.sku, place] += quantity
        shipment = ShipTransfer(
            sku=goods.sku,
            from_location=HUB,
            to_location=place,
            quantity=quantity,
            effective_at=self._tick(),
            reference=f"TR-{self._documents}",
        )
        self._shipped.append((self._do(shipment), shipment))

    def _settle(self) -> None:
        """Do what is left over from the step before: it is known by now what its ids are."""
        for transfer_id, shipment in self._on_the_way:
            assert shipment.sku is not None
            assert shipment.to_location is not None
            key = (shipment.sku, shipment.to_location)
            lost = Decimal(self._random.randint(1, 2) if self._random.random() < 0.04 else 0)
            lost = min(lost, shipment.quantity)
            self._coming[key] -= shipment.quantity
            self._free[key] += shipment.quantity - lost
            self._do(
                ReceiveTransfer(
                    sku=shipment.sku,
                    location=shipment.to_location,
                    transfer_id=transfer_id,
                    quantity=shipment.quantity - lost,
                    lost=lost,
                    effective_at=self._tick(),
                    reason="broken on the way" if lost else None,
                    reference=shipment.reference,
                )
            )
        self._on_the_way = []
        for position, mistake in self._to_reverse:
            self._do(
                ReverseMovement(
                    position=position,
                    effective_at=self._tick(),
                    reason="typed one nought too many",
                    reference=mistake.reference,
                )
            )
        self._to_reverse = []
        for name, goods, place, quantity in self._held:
            if self._random.random() < 0.15:
                self._free[goods.sku, place] += quantity
                self._do(
                    ReleaseReservation(
                        sku=goods.sku,
                        location=place,
                        reservation_id=name,
                        effective_at=self._tick(),
                    )
                )
            else:
                self._do(
                    IssueReserved(
                        sku=goods.sku,
                        location=place,
                        reservation_id=name,
                        unit_price=Decimal(goods.price),
                        effective_at=self._tick(),
                    )
                )
        self._held = []
        for goods, place, quantity in self._quarantined:
            scrapped = self._random.random() < 0.5
            self._blocked[goods.sku, place] -= quantity
            self._free[goods.sku, place] += 0 if scrapped else quantity
            self._do(
                ReleaseQuarantine(
                    sku=goods.sku,
                    location=place,
                    quantity=quantity,
                    disposition="scrap" if scrapped else "restock",
                    effective_at=self._tick(),
                    reason="beyond repair" if scrapped else "inspected, sound",
                )
            )
        self._quarantined = []

    def _hold(self) -> None:
        """Reserve something for a customer; the next step issues or releases it."""
        for goods, place in self._some(2, least=6):
            self._documents += 1
            quantity = Decimal(self._random.randint(1, 3))
            name = f"WEB-{self._documents}"
            self._free[goods.sku, place] -= quantity
            self._held.append((name, goods, place, quantity))
            self._do(
                ReserveStock(
                    sku=goods.sku,
                    location=place,
                    quantity=quantity,
                    reservation_id=name,
                    owner="web shop",
                    effective_at=self._tick(),
                )
            )

    def _block(self) -> None:
        for goods, place in self._some(3, least=8):
            quantity = Decimal(self._random.randint(1, 4))
            self._free[goods.sku, place] -= quantity
            self._blocked[goods.sku, place] += quantity
            self._quarantined.append((goods, place, quantity))
            self._do(
                QuarantineStock(
                    sku=goods.sku,
                    location=place,
                    quantity=quantity,
                    effective_at=self._tick(),
                    reason="box damaged",
                )
            )

    def _remember_late(self) -> None:
        """Book a receipt days after it came; the books here go on as if it had not."""
        for goods, place in self._some(2, least=1):
            late = timedelta(days=self._random.randint(2, 12))
            at = self._tick() - late
            if at.date() <= self._first:
                continue
            self._do(
                ReceiveStock(
                    sku=goods.sku,
                    location=place,
                    quantity=Decimal(self._random.randint(2, 9)),
                    effective_at=at,
                    reason="delivery note found later",
                )
            )

    def _drop(self) -> None:
        for goods, place in self._some(2, least=3):
            self._free[goods.sku, place] -= 1
            self._do(
                AdjustStock(
                    sku=goods.sku,
                    location=place,
                    quantity=Decimal(-1),
                    effective_at=self._tick(),
                    reason="dropped",
                )
            )

    def _mistype(self) -> None:
        """Book ten times what came; it is reversed in the next step."""
        for goods, place in self._some(1, least=1):
            self._documents += 1
            mistake = ReceiveStock(
                sku=goods.sku,
                location=place,
                quantity=Decimal(300),
                effective_at=self._tick(),
                reference=f"PO-{self._documents}",
            )
            self._mistakes.append((self._do(mistake), mistake))

    def _count(self) -> None:
        """Count every shelf; some hold a little less or more than the books say."""
        for place in PLACES:
            for goods in GOODS:
                key = (goods.sku, place.code)
                found = Decimal(self._random.choice((0, 0, 0, 0, 0, 0, -1, -2, 1)))
                if self._free[key] < 3:
                    if self._free[key] < 0:
                        self._write_up(goods, place.code)
                    found = Decimal(0)
                held = sum((q for _, g, p, q in self._held if (g.sku, p) == key), Decimal(0))
                held += self._books.claimed[key]
                self._free[key] += found
                self._do(
                    CountStock(
                        sku=goods.sku,
                        location=place.code,
                        quantity=self._free[key] + self._blocked[key] + held,
                        effective_at=self._tick(),
                        reason="quarterly count",
                    )
                )

    def _write_up(self, goods: Goods, place: str) -> None:
        key = (goods.sku, place)
        missing, self._free[key] = -self._free[key], Decimal(0)
        self._do(
            AdjustStock(
                sku=goods.sku,
                location=place,
                quantity=missing,
                effective_at=self._tick(),
                reason="sold before it was booked in",
            )
        )

    def _leave_reservations(self) -> None:
        """Leave some claims alive, one of them about to expire."""
        for number, (goods, place) in enumerate(self._some(6, least=5)):
            quantity = Decimal(self._random.randint(1, 4))
            self._free[goods.sku, place] -= quantity
            self._do(
                ReserveStock(
                    sku=goods.sku,
                    location=place,
                    quantity=quantity,
                    reservation_id=f"LIVE-{number + 1}",
                    owner="basket" if number % 2 else "telephone order",
                    expires_at=self._now + timedelta(hours=2 if number == 0 else 24 * number),
                )
            )

    # --- parts --------------------------------------------------------------------------

    def _some(self, count: int, *, least: int) -> Iterator[tuple[Goods, str]]:
        for _ in range(count):
            goods = self._random.choice(GOODS)
            place = self._random.choice(PLACES).code
            if self._free[goods.sku, place] >= least:
                yield goods, place

    def _tick(self) -> datetime:
        return self._books.tick()

    def _do(self, command: Command) -> int:
        return self._books.do(command)

    def _learn(self, answers: Answers) -> None:
        """Read from the answers the ids and positions that the next step needs."""
        for place, shipment in self._shipped:
            answer = answers[place]
            if answer is not None and answer.made_id is not None:
                self._on_the_way.append((answer.made_id, shipment))
        for place, mistake in self._mistakes:
            answer = answers[place]
            if answer is not None:
                self._to_reverse.append((answer.position, mistake))
        self._shipped, self._mistakes = [], []
        self._trade.learn(answers)
