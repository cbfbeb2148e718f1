"""What commands and events of stock are told in: accounts, lots and serials, and reasons."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.common import (
    Code,
    ShortText,
    keep_exact,
    require_positive,
)

Destination = Literal["customer", "supplier"]
Account = Literal[
    "unrestricted", "quarantine", "in_transit", "supplier", "customer", "adjustment", "loss"
]
Disposition = Literal["restock", "scrap"]
ReleaseCause = Literal["released", "expired"]
Origin = Literal["supplier", "customer"]
Unit = Annotated[str, Meta(min_length=1, max_length=20)]
LOTS_MAX = 100
SERIALS_MAX = 1_000


class LotEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So much of one lot, in the product's own unit.

    ``lot`` is the batch number, unique for its product. What comes in of a lot that is not
    known yet makes it known, with the dates given here; of a known one they must agree.
    Nothing goes out of a lot from its ``removal_date`` on, unless a client names it.
    """

    lot: Code
    quantity: Decimal
    lot_number: ShortText | None = None
    manufacture_date: date | None = None
    expiry_date: date | None = None
    removal_date: date | None = None

    def __post_init__(self) -> None:
        keep_exact(self, "quantity", self.quantity)
        require_positive("quantity", self.quantity)


Lots = Annotated[tuple[LotEntry, ...], Meta(max_length=LOTS_MAX)]
Serials = Annotated[tuple[Code, ...], Meta(max_length=SERIALS_MAX)]


class LotPart(msgspec.Struct, frozen=True, kw_only=True):
    """What part of a movement was of one lot. What no part names is of no known lot."""

    lot_id: int
    quantity: Decimal
