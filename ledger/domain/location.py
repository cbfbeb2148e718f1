"""Locations: places where stock is kept, each with the least that may be available there.

Being the default is said by `LocationOpened` and `LocationRevised` with ``is_default``; these
are in as many streams as there are locations, so the latest position that says so wins, and
takes it from whichever location had it. A revision without ``is_default`` takes it from
nobody: to change the default, make another one it. The tenant's first location is the default
whatever was asked for, so there always is one.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from ledger.aliases import LOCATION, fold
from ledger.domain.decision import (
    Decider,
    Decision,
    Facts,
    InvalidCommand,
    LocationNotFound,
    NewEvent,
    RecordedEvent,
    Refs,
    Refusal,
    State,
)
from ledger.domain.fingerprint import fingerprint
from ledger.domain.refusals import LocationCodeTaken
from schemas.location import (
    LocationCommand,
    LocationOpened,
    LocationRevised,
    OpenLocation,
    ReviseLocation,
)

FIRST_LOCATION_ID: Final = 1


def stream(location_id: int) -> str:
    """Return the name of a location's stream."""
    return f"location-{location_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 2


class LocationState(msgspec.Struct, frozen=True, gc=False):
    """What decisions need of a location; ``location_id`` 0 is one that was never opened."""

    location_id: int = 0
    code: str = ""
    stock_limit: Decimal = Decimal(0)
    is_active: bool = True
    time_zone: str = "UTC"
    facts: bytes = b""
    """Fingerprint of all that is said of it, to tell a revision that revises nothing."""


INITIAL: Final = LocationState()


def evolve(state: LocationState, recorded: RecordedEvent) -> LocationState:
    """Return the state after an event."""
    event = recorded.event
    if not isinstance(event, LocationOpened | LocationRevised):
        raise TypeError(f"a location has no {type(event).__name__}")
    return LocationState(
        location_id=event.location_id,
        code=event.code,
        stock_limit=event.stock_limit,
        is_active=event.is_active,
        time_zone=event.time_zone,
        facts=fingerprint(event),
    )


# --- decisions --------------------------------------------------------------------------


class LocationDecider(Decider):
    """The decider of locations."""

    def allocates(self, command: LocationCommand) -> str | None:
        """Opening counts an id."""
        return "location" if isinstance(command, OpenLocation) else None

    def aliases(self, command: LocationCommand) -> Sequence[tuple[str, str]]:
        """The code, which must be free."""
        return ((LOCATION, fold(command.code)),)

    def streams(self, command: LocationCommand, refs: Refs) -> Sequence[str]:
        """The location's own."""
        return (stream(_id(command, refs)),)

    def decide(
        self, command: LocationCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the one event, nothing when it says nothing new, or a refusal.

        Refusals: InvalidCommand, LocationNotFound, LocationCodeTaken.
        """
        location_id = _id(command, refs)
        name = stream(location_id)
        state: LocationState = states[name]
        if not state.location_id and isinstance(command, ReviseLocation):
            return LocationNotFound(location_id=location_id)
        refusal = _refusal(command, location_id, facts)
        if refusal is not None:
            return refusal
        said = _said(command)
        if isinstance(command, OpenLocation):
            if location_id == FIRST_LOCATION_ID:
                said["is_default"] = True
            return [NewEvent(name, LocationOpened(location_id=location_id, **said))]
        event = LocationRevised(location_id=location_id, **said)
        # Saying again that it is the default is news when another became it meanwhile.
        if fingerprint(event) == state.facts and not event.is_default:
            return []
        return [NewEvent(name, event)]


DECIDER: Final = LocationDecider()


def _id(command: LocationCommand, refs: Refs) -> int:
    return refs.new_id if isinstance(command, OpenLocation) else command.location_id


def _said(command: LocationCommand) -> dict[str, Any]:
    said = msgspec.structs.asdict(command)
    said.pop("location_id", None)
    return said


def _refusal(command: LocationCommand, location_id: int, facts: Facts) -> Refusal | None:
    key = fold(command.code)
    if not key:
        return InvalidCommand(field="code", fault="must not be blank; give the location a code")
    if not command.name.strip():
        return InvalidCommand(field="name", fault="must not be blank; give the location a name")
    owner = facts.aliases.get((LOCATION, key))
    if owner is not None and owner != location_id:
        return LocationCodeTaken(location=command.code, location_id=owner)
    return None
