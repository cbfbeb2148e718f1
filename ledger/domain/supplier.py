"""Suppliers: who goods are bought from."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ledger.aliases import SUPPLIER, fold
from ledger.domain.decision import (
    Decider,
    Decision,
    Facts,
    InvalidCommand,
    NewEvent,
    RecordedEvent,
    Refs,
    State,
)
from ledger.domain.refusals import SupplierCodeTaken
from schemas.supplier import SupplierCommand, SupplierRegistered


def stream(supplier_id: int) -> str:
    """Return the name of a supplier's stream."""
    return f"supplier-{supplier_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 1


class SupplierState(msgspec.Struct, frozen=True, gc=False):
    """What decisions need of a supplier; ``supplier_id`` 0 is one that was never registered."""

    supplier_id: int = 0


INITIAL: Final = SupplierState()


def evolve(state: SupplierState, recorded: RecordedEvent) -> SupplierState:
    """Return the state after an event."""
    event = recorded.event
    if not isinstance(event, SupplierRegistered):
        raise TypeError(f"a supplier has no {type(event).__name__}")
    return SupplierState(supplier_id=event.supplier_id)


# --- decisions --------------------------------------------------------------------------


class SupplierDecider(Decider):
    """The decider of suppliers."""

    def allocates(self, command: SupplierCommand) -> str | None:
        """Registering counts an id."""
        return "supplier"

    def aliases(self, command: SupplierCommand) -> Sequence[tuple[str, str]]:
        """The code, where it has one: it must be free."""
        code = fold(command.code or "")
        return ((SUPPLIER, code),) if code else ()

    def streams(self, command: SupplierCommand, refs: Refs) -> Sequence[str]:
        """The supplier's own."""
        return (stream(refs.new_id),)

    def decide(
        self, command: SupplierCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the one event; refusals: InvalidCommand, SupplierCodeTaken."""
        if not command.name.strip():
            return InvalidCommand(field="name", fault="must not be blank; say who it is")
        code = (command.code or "").strip() or None
        if code is not None:
            owner = facts.aliases.get((SUPPLIER, fold(code)))
            if owner is not None:
                return SupplierCodeTaken(code=code, supplier_id=owner)
        said: dict[str, Any] = msgspec.structs.asdict(command)
        said["code"] = code
        return [NewEvent(stream(refs.new_id), SupplierRegistered(supplier_id=refs.new_id, **said))]


DECIDER: Final = SupplierDecider()
