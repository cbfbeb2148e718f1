"""A movement of a tracked product, on its way to saying which lots and serials it is of."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from ledger.domain.decision import Facts, NewEvent, Refs, State
from ledger.domain.movements import QUARANTINE, UNRESTRICTED, Leg
from ledger.domain.posting import Place
from ledger.domain.product import ProductState
from schemas.common import Event
from schemas.stock import Account, CountVarianceRevised, LotEntry, LotPart

_ON_HAND: Final = frozenset({UNRESTRICTED, QUARANTINE})

Purpose = Literal["use", "correction", "missing"]
"""Why goods go out: for use, of good lots only; to correct the books; or they are not there."""


class Tracked(Protocol):
    """A command that may name lots and serials."""

    @property
    def lots(self) -> tuple[LotEntry, ...]: ...

    @property
    def serials(self) -> tuple[str, ...]: ...


class Parts(NamedTuple):
    """The lots and serials that are known to move, whatever a client says."""

    lots: tuple[LotPart, ...] = ()
    serials: tuple[int, ...] = ()


class Movement(NamedTuple):
    """A movement at a place, decided but for its lots and serials, and what is known for that.

    ``lots`` and ``serials`` are named by the client. ``given`` are those that it is of for
    certain: what is on its way, or went the other way before.
    """

    place: Place
    event: Event
    refs: Refs
    states: Mapping[str, State]
    facts: Facts
    lots: tuple[LotEntry, ...] = ()
    serials: tuple[str, ...] = ()
    given: Parts | None = None
    purpose: Purpose = "correction"

    @property
    def at(self) -> datetime:
        """When it takes effect."""
        return self.place.at or self.facts.now

    @property
    def product(self) -> ProductState:
        """The product that moves."""
        return self.place.product

    def out_of(self, leg: Leg) -> Account | None:
        """Return the account on hand here that it takes from."""
        is_here = leg.from_location_id == self.place.location_id
        return leg.from_account if is_here and leg.from_account in _ON_HAND else None

    def into(self, leg: Leg) -> Account | None:
        """Return the account on hand here that it adds to."""
        is_here = leg.to_location_id == self.place.location_id
        return leg.to_account if is_here and leg.to_account in _ON_HAND else None


class Outcome(NamedTuple):
    """A decision with its lots and serials: what comes before it, itself, and what comes after.

    What is before makes lots known; what is after says where the serials are now.
    """

    before: Sequence[NewEvent]
    decision: Sequence[NewEvent]
    after: Sequence[NewEvent]
    parts: Parts = Parts()

    @property
    def events(self) -> list[NewEvent]:
        """All of it."""
        return [*self.before, *self.decision, *self.after]


class Revision(NamedTuple):
    """The event that keeps a count's word, when it is effective, and its signed quantity."""

    event: CountVarianceRevised
    at: datetime
    quantity: Decimal


def revision_in(decision: Sequence[NewEvent], own: Event) -> Revision | None:
    """Return the revision that comes with a late movement."""
    for new in decision:
        event = new.event
        if isinstance(event, CountVarianceRevised) and event is not own:
            assert new.effective_at is not None, "a revision is effective at its count's time"
            return Revision(event, new.effective_at, event.quantity)
    return None


def with_parts(
    decision: Sequence[NewEvent], event: Event, **parts: tuple[Any, ...]
) -> Sequence[NewEvent]:
    """Return a decision in which one event is of these lots and serials."""
    said = {name: value for name, value in parts.items() if value}
    if not said:
        return decision
    return [
        new._replace(event=msgspec.structs.replace(event, **said)) if new.event is event else new
        for new in decision
    ]


def at_place(place: Place, at: datetime | None) -> dict[str, Any]:
    """Return the members that refusals about a place have in common."""
    return {
        "product_id": place.product_id,
        "sku": place.product.sku,
        "location_id": place.location_id,
        "at": at,
    }
