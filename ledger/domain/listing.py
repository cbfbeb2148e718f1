"""Listings: how a product is sold at a location, where that differs from its own terms.

A place where nothing was said of a product is as its state begins: it is sold there, on the
product's own terms.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import UNSET

from ledger.domain import location, product, stock
from ledger.domain.decision import (
    Decider,
    Decision,
    Facts,
    InvalidCommand,
    LocationNotFound,
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
from ledger.domain.refusals import ProductIsDiscontinued
from schemas.listing import ListingCommand, ListProduct, ProductListed, SyncListing
from schemas.stock import SetStock


def stream(product_id: int, location_id: int) -> str:
    """Return the name of the stream of a product's listing at a location."""
    return f"listing-{product_id}-{location_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 1


class ListingState(msgspec.Struct, frozen=True, gc=False):
    """How a product is sold at a location; None is as the product has it."""

    regular_price: Decimal | None = None
    sale_price: Decimal | None = None
    backorders: bool | None = None
    disabled: bool = False

    @property
    def price(self) -> Decimal | None:
        """The price there: the sale price, else the regular one; None is the base price."""
        return self.regular_price if self.sale_price is None else self.sale_price


INITIAL: Final = ListingState()


def evolve(state: ListingState, recorded: RecordedEvent) -> ListingState:
    """Return the state after an event."""
    event = recorded.event
    if not isinstance(event, ProductListed):
        raise TypeError(f"a listing has no {type(event).__name__}")
    return ListingState(event.regular_price, event.sale_price, event.backorders, event.disabled)


# --- decisions --------------------------------------------------------------------------


class ListingDecider(Decider):
    """The decider of listings. The first stream is the listing's own."""

    def streams(self, command: ListingCommand, refs: Refs) -> Sequence[str]:
        """The listing's, the product's and the location's; and the stock where that is said."""
        product_id, location_id = refs.product_id, refs.location_id
        names = (
            stream(product_id, location_id),
            product.stream(product_id),
            location.stream(location_id),
        )
        if isinstance(command, SyncListing) and command.stock is not None:
            return (*names, stock.stream(product_id, location_id))
        return names

    def more_streams(
        self, command: ListingCommand, refs: Refs, states: Mapping[str, State]
    ) -> Sequence[str]:
        """The lots that are there, where stock is said."""
        if isinstance(command, SyncListing) and command.stock is not None:
            return stock.DECIDER.more_streams(_set(command, command.stock), refs, states)
        return ()

    def lookups(
        self, command: ListingCommand, refs: Refs, states: Mapping[str, State], now: datetime
    ) -> Sequence[Lookup]:
        """The serials that may go out, where stock is said of what has them."""
        sold: ProductState = states[product.stream(refs.product_id)]
        if sold.tracking_type != "serial" or not isinstance(command, SyncListing):
            return ()
        if command.stock is None:
            return ()
        return stock.DECIDER.lookups(_set(command, command.stock), refs, states, now)

    def streams_after(self, command: ListingCommand, refs: Refs, facts: Facts) -> Sequence[str]:
        """The serials that were found."""
        if isinstance(command, SyncListing) and command.stock is not None:
            return stock.DECIDER.streams_after(_set(command, command.stock), refs, facts)
        return ()

    def decide(
        self, command: ListingCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the listing and the movement of stock, each unless it is so, or a refusal.

        Refusals: ProductNotFound, ProductIsDiscontinued, LocationNotFound, and of
        `SyncListing` those of setting stock.
        """
        sold: ProductState = states[product.stream(refs.product_id)]
        if not sold.product_id:
            return ProductNotFound(product_id=refs.product_id)
        if sold.discontinued:
            return ProductIsDiscontinued(product_id=refs.product_id, sku=sold.sku)
        place: LocationState = states[location.stream(refs.location_id)]
        if not place.location_id:
            return LocationNotFound(location_id=refs.location_id)
        own = stream(refs.product_id, refs.location_id)
        before: ListingState = states[own]
        after = _said(command, before)
        listed: list[NewEvent] = []
        if after != before:
            event = ProductListed(
                product_id=refs.product_id,
                location_id=refs.location_id,
                **msgspec.structs.asdict(after),
            )
            listed.append(NewEvent(own, event))
        if not isinstance(command, SyncListing) or command.stock is None:
            return listed
        moved = stock.decide_step(_set(command, command.stock), refs, states, facts)
        if isinstance(moved, InvalidCommand) and moved.field == "quantity":
            return InvalidCommand(field="stock", fault=moved.fault)
        return moved if isinstance(moved, Refusal) else [*listed, *moved]


DECIDER: Final = ListingDecider()


def _said(command: ListingCommand, before: ListingState) -> ListingState:
    """Return the listing as a command leaves it."""
    if isinstance(command, ListProduct):
        return ListingState(
            command.regular_price, command.sale_price, command.backorders, command.disabled
        )
    given: dict[str, Any] = {
        field: value
        for field in ListingState.__struct_fields__
        if (value := getattr(command, field)) is not UNSET
    }
    return msgspec.structs.replace(before, **given) if given else before


def _set(command: SyncListing, quantity: Decimal) -> SetStock:
    """Return the command of stock that is part of one."""
    return SetStock(
        product_id=command.product_id,
        sku=command.sku,
        location_id=command.location_id,
        location=command.location,
        quantity=quantity,
        reference=command.reference,
    )
