"""Which status a purchase order may get from which, as data. docs/concepts/purchasing.md draws it.

Seed 003 shows the statuses draft and partial, and no more: these are ours.
"""

from collections.abc import Mapping
from typing import Final

from schemas.purchase import PurchaseOrderStatus

TRANSITIONS: Final[Mapping[PurchaseOrderStatus, tuple[PurchaseOrderStatus, ...]]] = {
    "draft": ("sent", "cancelled"),
    "sent": ("partial", "received", "closed", "cancelled"),
    "partial": ("received", "closed"),
    "received": ("closed",),
    "closed": (),
    "cancelled": (),
}
"""What a purchase order may become, by the status it has. Receipts make it partial or received."""

RECEIVABLE: Final[frozenset[PurchaseOrderStatus]] = frozenset(
    {"draft", "sent", "partial", "received"}
)
"""The statuses in which goods may come in: a draft is sent by it, and what is more than was
ordered may still come once all of it has, within the tolerance."""

INCOMING: Final[frozenset[PurchaseOrderStatus]] = frozenset({"sent", "partial"})
"""The statuses in which what is outstanding is on its way."""
