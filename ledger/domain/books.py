"""The books: how stock is valued, and up to which day nothing more may be recorded.

One stream a tenant. What changes the value of stock alone (landed cost, revaluation) is in it
too, since it moves no goods.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, ClassVar, Final
from zoneinfo import ZoneInfo

import msgspec

from ledger.domain import location as locations
from ledger.domain.decision import (
    ActiveLocations,
    Decider,
    Decision,
    EventAt,
    Facts,
    InvalidCommand,
    LaterEvents,
    Lookup,
    NewEvent,
    ProductNotFound,
    RecordedEvent,
    Refs,
    Refusal,
    State,
)
from ledger.domain.location import LocationState
from ledger.domain.product import ProductState
from ledger.domain.refusals import MovementNotFound, ProductIsDiscontinued
from ledger.domain.refusals_books import (
    ClosedFurther,
    CostBelowZero,
    DayNotOver,
    MethodFixed,
    NotAReceipt,
    NotClosedThatFar,
    ReceiptReversed,
)
from schemas.books import (
    AddLandedCost,
    BooksCommand,
    BooksConfigured,
    ChooseValuation,
    ClosePeriod,
    ConfigureBooks,
    LandedCostAdded,
    PeriodClosed,
    PeriodReopened,
    ReopenPeriod,
    RevalueStock,
    StockRevalued,
    ValuationChosen,
    ValuationMethod,
)
from schemas.stock import StockReceived

STREAM: Final = "books-1"

# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 1


class BooksState(msgspec.Struct, frozen=True, gc=False):
    """What decisions need of the books. Nothing configured: standard cost, UTC, all open."""

    valuation_method: ValuationMethod = "standard"
    time_zone: str = "UTC"
    closed_through: date | None = None
    chosen: dict[int, ValuationMethod] = {}


INITIAL: Final = BooksState()


def evolve(state: BooksState, recorded: RecordedEvent) -> BooksState:
    """Return the state after an event."""
    replace = msgspec.structs.replace
    match recorded.event:
        case BooksConfigured() as event:
            return replace(
                state, valuation_method=event.valuation_method, time_zone=event.time_zone
            )
        case ValuationChosen(product_id=product_id, valuation_method=method):
            chosen = {key: value for key, value in state.chosen.items() if key != product_id}
            if method is not None:
                chosen[product_id] = method
            return replace(state, chosen=chosen)
        case PeriodClosed() | PeriodReopened() as event:
            return replace(state, closed_through=event.through)
        case LandedCostAdded() | StockRevalued():
            return state
        case event:
            raise TypeError(f"the books have no {type(event).__name__}")


# --- closed periods ---------------------------------------------------------------------


class PeriodIsClosed(Refusal, frozen=True, kw_only=True):
    """Something would be effective on a business day that the books are closed for."""

    CODE: ClassVar[str] = "period_closed"
    day: date
    closed_through: date

    def detail(self) -> str:
        return (
            f"This would be effective on {self.day.isoformat()}, and the books are closed "
            f"through {self.closed_through.isoformat()}; record it with a later effective_at, or "
            f"reopen the period first."
        )

    def extensions(self) -> dict[str, Any]:
        return {"day": self.day.isoformat(), "closed_through": self.closed_through.isoformat()}


def closed(books: BooksState, at: datetime | None, time_zone: str) -> PeriodIsClosed | None:
    """Return the refusal of what would take effect in a closed period, by the place's zone.

    ``at`` None is now, which is in no closed period: only past days can be closed.
    """
    if at is None or books.closed_through is None:
        return None
    day = day_in(time_zone, at)
    if day > books.closed_through:
        return None
    return PeriodIsClosed(day=day, closed_through=books.closed_through)


def day_in(time_zone: str, at: datetime) -> date:
    """Return the date of an instant in a zone; a name that is no zone's stands for UTC."""
    return at.astimezone(_zone(time_zone) or _UTC).date()


def is_zone(name: str) -> bool:
    """Tell whether a name is one of an IANA time zone."""
    return _zone(name) is not None


_UTC: Final = ZoneInfo("UTC")


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # Not a zone, not a name, or a folder of zones.
        return None


# --- decisions --------------------------------------------------------------------------

_TICK: Final = timedelta(microseconds=1)


class BooksDecider(Decider):
    """The decider of the books."""

    def streams(self, command: BooksCommand, refs: Refs) -> Sequence[str]:
        """The books' own, and the product that the command is about."""
        if isinstance(command, ChooseValuation | RevalueStock):
            return STREAM, f"product-{command.product_id}"
        return (STREAM,)

    def lookups(
        self, command: BooksCommand, refs: Refs, states: Mapping[str, State], now: datetime
    ) -> Sequence[Lookup]:
        """Closing asks where the day may still go on; a landed cost asks for its receipt."""
        match command:
            case ClosePeriod():
                return (ActiveLocations(),)
            case AddLandedCost(position=position):
                return (EventAt(position),)
            case _:
                return ()

    def streams_after(self, command: BooksCommand, refs: Refs, facts: Facts) -> Sequence[str]:
        """The locations that were found, or the place of the receipt."""
        match command:
            case ClosePeriod():
                return [locations.stream(place) for place in facts.found[ActiveLocations()]]
            case AddLandedCost():
                receipt = _receipt(command, facts)
                if isinstance(receipt, Refusal):
                    return ()
                return receipt.stream, locations.stream(_received(receipt).location_id)
            case _:
                return ()

    def lookups_after(
        self, command: BooksCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Sequence[Lookup]:
        """What else was added to the receipt's cost: events of its own time, or later."""
        if not isinstance(command, AddLandedCost):
            return ()
        receipt = _receipt(command, facts)
        if isinstance(receipt, Refusal):
            return ()
        return (LaterEvents(STREAM, receipt.effective_at - _TICK),)

    def decide(
        self, command: BooksCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the one event, nothing when it is so already, or a refusal.

        Refusals: InvalidCommand, MethodFixed, DayNotOver, ClosedFurther, NotClosedThatFar,
        PeriodIsClosed, ProductNotFound, ProductIsDiscontinued, MovementNotFound, NotAReceipt,
        ReceiptReversed, CostBelowZero.
        """
        books: BooksState = states[STREAM]
        match command:
            case ConfigureBooks():
                return _configure(command, books)
            case ChooseValuation():
                return _choose(command, books, states)
            case ClosePeriod():
                return _close(command, books, states, facts)
            case ReopenPeriod():
                return _reopen(command, books)
            case AddLandedCost():
                return _add_landed_cost(command, books, states, facts)
            case RevalueStock():
                return _revalue(command, books, states, facts)


DECIDER: Final = BooksDecider()


def _configure(command: ConfigureBooks, books: BooksState) -> Decision:
    if not is_zone(command.time_zone):
        fault = f"{command.time_zone!r} is no time zone; give an IANA name such as Europe/London"
        return InvalidCommand(field="time_zone", fault=fault)
    method, zone = command.valuation_method, command.time_zone
    if method != books.valuation_method and books.closed_through is not None:
        return MethodFixed(
            valuation_method=books.valuation_method, closed_through=books.closed_through
        )
    if (method, zone) == (books.valuation_method, books.time_zone):
        return []
    return [NewEvent(STREAM, BooksConfigured(valuation_method=method, time_zone=zone))]


def _choose(command: ChooseValuation, books: BooksState, states: Mapping[str, State]) -> Decision:
    product_id, method = command.product_id, command.valuation_method
    product: ProductState = states[f"product-{product_id}"]
    if not product.product_id:
        return ProductNotFound(product_id=product_id)
    chosen = books.chosen.get(product_id)
    if method == chosen:
        return []
    present = chosen or books.valuation_method
    if books.closed_through is not None and (method or books.valuation_method) != present:
        return MethodFixed(valuation_method=present, closed_through=books.closed_through)
    event = ValuationChosen(product_id=product_id, valuation_method=method)
    return [NewEvent(STREAM, event)]


def _close(
    command: ClosePeriod, books: BooksState, states: Mapping[str, State], facts: Facts
) -> Decision:
    through, closed_through = command.through, books.closed_through
    if closed_through is not None and through <= closed_through:
        if through == closed_through:
            return []
        return ClosedFurther(through=through, closed_through=closed_through)
    places: list[LocationState] = [
        states[locations.stream(place)] for place in facts.found[ActiveLocations()]
    ]
    for zone in (books.time_zone, *(place.time_zone for place in places)):
        today = day_in(zone, facts.now)
        if through >= today:
            return DayNotOver(through=through, today=today, time_zone=zone)
    return [NewEvent(STREAM, PeriodClosed(through=through, notes=command.notes))]


def _reopen(command: ReopenPeriod, books: BooksState) -> Decision:
    through, closed_through = command.through, books.closed_through
    if through == closed_through:
        return []
    if through is not None and (closed_through is None or through > closed_through):
        return NotClosedThatFar(through=through, closed_through=closed_through)
    return [NewEvent(STREAM, PeriodReopened(through=through, notes=command.notes))]


def _receipt(command: AddLandedCost, facts: Facts) -> RecordedEvent | Refusal:
    """Return the receipt that a landed cost is of, or why there is none."""
    position = command.position
    recorded = facts.events.get(position)
    if recorded is None:
        return MovementNotFound(position=position)
    event = recorded.event
    if not isinstance(event, StockReceived) or event.source != "supplier":
        return NotAReceipt(position=position, event_type=event.TYPE)
    return recorded


def _received(receipt: RecordedEvent) -> StockReceived:
    assert isinstance(receipt.event, StockReceived), "a receipt is one"
    return receipt.event


def _add_landed_cost(
    command: AddLandedCost, books: BooksState, states: Mapping[str, State], facts: Facts
) -> Decision:
    receipt = _receipt(command, facts)
    if isinstance(receipt, Refusal):
        return receipt
    event, position, amount = _received(receipt), command.position, command.amount
    place: LocationState = states[locations.stream(event.location_id)]
    refusal = closed(books, receipt.effective_at, place.time_zone)
    if refusal is not None:
        return refusal
    if position in states[receipt.stream].reversed:
        return ReceiptReversed(position=position)
    if amount < 0:
        cost = event.quantity * (event.unit_cost or Decimal(0))
        for later in facts.later[STREAM]:
            if isinstance(later.event, LandedCostAdded) and later.event.position == position:
                cost += later.event.amount
        if cost + amount < 0:
            return CostBelowZero(position=position, cost=cost, amount=amount)
    added = LandedCostAdded(
        position=position,
        product_id=event.product_id,
        location_id=event.location_id,
        amount=amount,
        reason=command.reason,
        notes=command.notes,
    )
    return [NewEvent(STREAM, added, receipt.effective_at)]


def _revalue(
    command: RevalueStock, books: BooksState, states: Mapping[str, State], facts: Facts
) -> Decision:
    # Imported here since what posts stock asks this module whether a period is closed.
    from ledger.domain.posting import moment

    product_id = command.product_id
    product: ProductState = states[f"product-{product_id}"]
    if not product.product_id:
        return ProductNotFound(product_id=product_id)
    if product.discontinued:
        return ProductIsDiscontinued(product_id=product_id, sku=product.sku)
    at = moment(command.effective_at, facts.now)
    if isinstance(at, InvalidCommand):
        return at
    refusal = closed(books, at, books.time_zone)
    if refusal is not None:
        return refusal
    revalued = StockRevalued(
        product_id=product_id,
        unit_cost=command.unit_cost,
        reason=command.reason,
        notes=command.notes,
    )
    return [NewEvent(STREAM, revalued, at)]
