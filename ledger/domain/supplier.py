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
from ledger.domain.fingerprint import fingerprint
from ledger.domain.refusals import SupplierCodeTaken
from ledger.domain.refusals_customers import SupplierNotFound
from schemas.supplier import (
    RegisterSupplier,
    SupplierCommand,
    SupplierRegistered,
    SupplierRevised,
)


def stream(supplier_id: int) -> str:
    """Return the name of a supplier's stream."""
    return f"supplier-{supplier_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 2


class SupplierState(msgspec.Struct, frozen=True, gc=False):
    """What decisions need of a supplier; ``supplier_id`` 0 is one that was never registered."""

    supplier_id: int = 0
    facts: bytes = b""
    """Fingerprint of all that is said of it, to tell a revision that revises nothing."""


INITIAL: Final = SupplierState()


def evolve(state: SupplierState, recorded: RecordedEvent) -> SupplierState:
    """Return the state after an event."""
    event = recorded.event
    if not isinstance(event, SupplierRegistered | SupplierRevised):
        raise TypeError(f"a supplier has no {type(event).__name__}")
    return SupplierState(supplier_id=event.supplier_id, facts=fingerprint(event))


# --- decisions --------------------------------------------------------------------------


class SupplierDecider(Decider):
    """The decider of suppliers."""

    def allocates(self, command: SupplierCommand) -> str | None:
        """Registering counts an id."""
        return "supplier" if isinstance(command, RegisterSupplier) else None

    def aliases(self, command: SupplierCommand) -> Sequence[tuple[str, str]]:
        """The code, where it has one: it must be free."""
        code = fold(command.code or "")
        return ((SUPPLIER, code),) if code else ()

    def streams(self, command: SupplierCommand, refs: Refs) -> Sequence[str]:
        """The supplier's own."""
        return (stream(_id(command, refs)),)

    def decide(
        self, command: SupplierCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the one event, nothing when it says nothing new, or a refusal.

        Refusals: InvalidCommand, SupplierNotFound, SupplierCodeTaken.
        """
        supplier_id = _id(command, refs)
        name = stream(supplier_id)
        state: SupplierState = states[name]
        if not isinstance(command, RegisterSupplier) and not state.supplier_id:
            return SupplierNotFound(supplier_id=supplier_id)
        if not command.name.strip():
            return InvalidCommand(field="name", fault="must not be blank; say who it is")
        code = (command.code or "").strip() or None
        if code is not None:
            owner = facts.aliases.get((SUPPLIER, fold(code)))
            if owner is not None and owner != supplier_id:
                return SupplierCodeTaken(code=code, supplier_id=owner)
        said: dict[str, Any] = msgspec.structs.asdict(command)
        said |= {"code": code, "supplier_id": supplier_id}
        if isinstance(command, RegisterSupplier):
            return [NewEvent(name, SupplierRegistered(**said))]
        event = SupplierRevised(**said)
        return [] if fingerprint(event) == state.facts else [NewEvent(name, event)]


DECIDER: Final = SupplierDecider()


def _id(command: SupplierCommand, refs: Refs) -> int:
    return refs.new_id if isinstance(command, RegisterSupplier) else command.supplier_id
