"""Customers: who buys, where it is sent to, and by which price tier it is priced.

A customer's addresses are only ever added to. Of each type one is the default: the first, until
another is added as it. One that is erased stays as an id, for which nothing is recorded any more.

Personal texts come sealed, so that nothing here can tell what they say: what must be known of
them is said beside them (`schemas.personal.Sealed`).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger.aliases import CUSTOMER, CUSTOMER_EMAIL, fold
from ledger.domain import price_tier
from ledger.domain.decision import (
    Alias,
    Decider,
    Decision,
    Facts,
    InvalidCommand,
    Lookup,
    NewEvent,
    OpenOrders,
    RecordedEvent,
    Refs,
    Refusal,
    State,
)
from ledger.domain.fingerprint import fingerprint
from ledger.domain.refusals_customers import (
    CustomerCodeTaken,
    CustomerEmailTaken,
    CustomerHasOpenOrders,
    CustomerIsErased,
    CustomerNotFound,
    PriceTierNotFound,
    TooManyAddresses,
)
from schemas.customer import (
    ADDRESSES_MAX,
    AddCustomerAddress,
    AddressType,
    CustomerAddress,
    CustomerAddressAdded,
    CustomerCommand,
    CustomerErased,
    CustomerRegistered,
    CustomerRevised,
    CustomerType,
    EraseCustomer,
    RegisterCustomer,
    ReviseCustomer,
)
from schemas.personal import Sealed


def stream(customer_id: int) -> str:
    """Return the name of a customer's stream."""
    return f"customer-{customer_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 2


class CustomerState(msgspec.Struct, frozen=True, gc=False):
    """What decisions need of a customer; ``customer_id`` 0 is one that was never registered."""

    customer_id: int = 0
    name: str = ""
    email: str | None = None
    code: str | None = None
    customer_type: CustomerType = "retail"
    price_tier_id: int | None = None
    addresses: int = 0
    """How many there are; they are numbered from 1."""
    default_types: tuple[AddressType, ...] = ()
    """The types of address of which there is one, so that one of them is the default."""
    facts: bytes = b""
    """Fingerprint of all that is said of it, to tell a revision that revises nothing."""
    is_erased: bool = False


INITIAL: Final = CustomerState()


def evolve(state: CustomerState, recorded: RecordedEvent) -> CustomerState:
    """Return the state after an event."""
    match recorded.event:
        case CustomerRegistered() | CustomerRevised() as event:
            return CustomerState(
                customer_id=event.customer_id,
                name=event.name,
                email=event.email,
                code=event.code,
                customer_type=event.customer_type,
                price_tier_id=event.price_tier_id,
                addresses=state.addresses,
                default_types=state.default_types,
                facts=fingerprint(event),
            )
        case CustomerAddressAdded(type=kind):
            known = state.default_types
            return msgspec.structs.replace(
                state,
                addresses=state.addresses + 1,
                default_types=known if kind in known else (*known, kind),
            )
        case CustomerErased():
            return msgspec.structs.replace(state, name="", email=None, is_erased=True)
        case event:
            raise TypeError(f"a customer has no {type(event).__name__}")


# --- decisions --------------------------------------------------------------------------


class CustomerDecider(Decider):
    """The decider of customers."""

    def allocates(self, command: CustomerCommand | EraseCustomer) -> str | None:
        """Registering counts an id."""
        return "customer" if isinstance(command, RegisterCustomer) else None

    def aliases(self, command: CustomerCommand | EraseCustomer) -> Sequence[Alias]:
        """The code and the e-mail address, where there are any: they must be free."""
        if isinstance(command, AddCustomerAddress | EraseCustomer):
            return ()
        named = ((CUSTOMER, fold(command.code or "")), (CUSTOMER_EMAIL, _email_key(command)))
        return [alias for alias in named if alias[1]]

    def streams(self, command: CustomerCommand | EraseCustomer, refs: Refs) -> Sequence[str]:
        """The customer's own, and that of the price tier it is given."""
        own = stream(_id(command, refs))
        if isinstance(command, AddCustomerAddress | EraseCustomer) or command.price_tier_id is None:
            return (own,)
        return (own, price_tier.stream(command.price_tier_id))

    def lookups(
        self,
        command: CustomerCommand | EraseCustomer,
        refs: Refs,
        states: Mapping[str, State],
        now: datetime,
    ) -> Sequence[Lookup]:
        """To erase a customer: the orders that still need what is said of him."""
        return (OpenOrders(command.customer_id),) if isinstance(command, EraseCustomer) else ()

    def decide(
        self,
        command: CustomerCommand | EraseCustomer,
        refs: Refs,
        states: Mapping[str, State],
        facts: Facts,
    ) -> Decision:
        """Return what is said of the customer and its addresses, nothing when that is not new, or a
        refusal.

        Refusals: InvalidCommand, CustomerNotFound, CustomerCodeTaken, CustomerEmailTaken,
        CustomerIsErased, CustomerHasOpenOrders, PriceTierNotFound, TooManyAddresses.
        """
        customer_id = _id(command, refs)
        name = stream(customer_id)
        state: CustomerState = states[name]
        if not isinstance(command, RegisterCustomer) and not state.customer_id:
            return CustomerNotFound(customer_id=customer_id)
        if isinstance(command, EraseCustomer):
            return _erased(command, state, facts)
        if state.is_erased:
            return CustomerIsErased(customer_id=customer_id)
        if isinstance(command, AddCustomerAddress):
            if state.addresses >= ADDRESSES_MAX:
                return TooManyAddresses(customer_id=customer_id, maximum=ADDRESSES_MAX)
            entry = CustomerAddress(
                type=command.type, address=command.address, is_default=command.is_default
            )
            return _added(customer_id, state, [entry])
        refusal = _refusal(command, customer_id, states, facts)
        if refusal is not None:
            return refusal
        said = _said(command)
        if isinstance(command, RegisterCustomer):
            registered = CustomerRegistered(customer_id=customer_id, **said)
            addresses = _added(customer_id, state, command.addresses)
            return [NewEvent(name, registered), *addresses]
        event = CustomerRevised(customer_id=customer_id, **said)
        return [] if fingerprint(event) == state.facts else [NewEvent(name, event)]


DECIDER: Final = CustomerDecider()


def fault_of(command: RegisterCustomer | ReviseCustomer) -> tuple[str, str] | None:
    """Return the field that cannot be right and why, None where all can; texts not yet sealed."""
    if not command.name.strip():
        return "name", "must not be blank; say who it is"
    email = (command.email or "").strip()
    if email and not _is_address(email):
        return "email", "must be an e-mail address, such as orders@example.com, or be left out"
    return None


def _id(command: CustomerCommand | EraseCustomer, refs: Refs) -> int:
    return refs.new_id if isinstance(command, RegisterCustomer) else command.customer_id


def _erased(command: EraseCustomer, state: CustomerState, facts: Facts) -> Decision:
    if state.is_erased:
        return []
    orders = facts.found[OpenOrders(command.customer_id)]
    if orders:
        return CustomerHasOpenOrders(customer_id=command.customer_id, orders=tuple(orders))
    event = CustomerErased(customer_id=command.customer_id, reason=command.reason)
    return [NewEvent(stream(command.customer_id), event)]


def _email_key(command: RegisterCustomer | ReviseCustomer) -> str:
    """Return what stands for the e-mail address where it must be unique."""
    if isinstance(command.sealed, Sealed):
        return command.sealed.email_key or ""
    return fold(command.email or "")


def _said(command: RegisterCustomer | ReviseCustomer) -> dict[str, Any]:
    said = msgspec.structs.asdict(command)
    for own in ("customer_id", "addresses", "sealed"):
        said.pop(own, None)
    for alias in ("code", "email"):
        said[alias] = (said[alias] or "").strip() or None
    if isinstance(command.sealed, Sealed):
        said["subject"] = command.sealed.subject
        said["email_key"] = command.sealed.email_key
    return said


def _added(
    customer_id: int, state: CustomerState, entries: Iterable[CustomerAddress]
) -> list[NewEvent]:
    """Return the events of new addresses: the first of a type is its default."""
    events: list[NewEvent] = []
    known = set(state.default_types)
    for number, entry in enumerate(entries, state.addresses + 1):
        event = CustomerAddressAdded(
            customer_id=customer_id,
            address_id=customer_id * 1000 + number,
            type=entry.type,
            address=entry.address,
            is_default=entry.is_default or entry.type not in known,
        )
        known.add(entry.type)
        events.append(NewEvent(stream(customer_id), event))
    return events


def _refusal(
    command: RegisterCustomer | ReviseCustomer,
    customer_id: int,
    states: Mapping[str, State],
    facts: Facts,
) -> Refusal | None:
    sealed = command.sealed if isinstance(command.sealed, Sealed) else None
    fault = fault_of(command) if sealed is None else sealed.fault
    if fault is not None:
        return InvalidCommand(field=fault[0], fault=fault[1])
    email_key = _email_key(command)
    if email_key:
        owner = facts.aliases.get((CUSTOMER_EMAIL, email_key))
        if owner is None and sealed is not None:
            owner = sealed.email_owner
        if owner is not None and owner != customer_id:
            return CustomerEmailTaken(customer_id=owner)
    code = (command.code or "").strip()
    owner = facts.aliases.get((CUSTOMER, fold(code))) if code else None
    if owner is not None and owner != customer_id:
        return CustomerCodeTaken(customer_code=code, customer_id=owner)
    tier_id = command.price_tier_id
    if tier_id is not None and not states[price_tier.stream(tier_id)].price_tier_id:
        return PriceTierNotFound(price_tier_id=tier_id)
    return None


def _is_address(email: str) -> bool:
    """Tell whether text may be an e-mail address: only delivery can tell for sure."""
    local, at, domain = email.rpartition("@")
    return bool(local and at and domain) and not any(
        character.isspace() or not character.isprintable() for character in email
    )
