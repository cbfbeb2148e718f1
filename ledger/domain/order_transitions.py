"""Which status an order may get from which, as data. docs/concepts/orders.md draws it.

Seed 003 says that "only valid transitions are allowed", and not which: these are ours.
"""

from collections.abc import Mapping
from typing import Final

from schemas.order import OrderStatus

TRANSITIONS: Final[Mapping[OrderStatus, tuple[OrderStatus, ...]]] = {
    "pending": ("paid", "fulfilling", "fulfilled", "cancelled"),
    "paid": ("fulfilling", "fulfilled", "cancelled"),
    "fulfilling": ("fulfilled", "cancelled"),
    "fulfilled": ("shipped",),
    "shipped": (),
    "cancelled": (),
}
"""What a client may ask an order to become, by the status it has."""

REOPENED: Final[Mapping[OrderStatus, OrderStatus]] = {"fulfilled": "fulfilling"}
"""What an order becomes when one of its fulfilments is cancelled, where that changes it."""

FULFILLABLE: Final[frozenset[OrderStatus]] = frozenset({"pending", "paid", "fulfilling"})
"""The statuses in which goods may go out for an order, and its lines be allocated."""


def allowed(status: OrderStatus, *, has_fulfilled: bool) -> tuple[OrderStatus, ...]:
    """Return what an order may be asked to become.

    Once something of it has gone out it cannot be cancelled whole any more, only the rest.
    """
    legal = TRANSITIONS[status]
    if has_fulfilled:
        return tuple(following for following in legal if following != "cancelled")
    return legal
