"""HTTP bodies and replies of listings: how a product is sold at a location."""

from datetime import datetime
from decimal import Decimal

import msgspec

from schemas.http_common import Money


class ListingBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is said of a product at a location; null and what is left out: as it has it."""

    regular_price: Decimal | None = None
    sale_price: Decimal | None = None
    backorders: bool | None = None
    disabled: bool = False


class ListingReply(msgspec.Struct, frozen=True, kw_only=True):
    """How a product is sold at a location. ``version`` is what If-Match takes.

    In the answer to a request that changed nothing, ``version`` and ``listed_at`` are null.
    """

    product_id: int
    sku: str
    location_id: int
    location: str
    regular_price: Money | None
    sale_price: Money | None
    backorders: bool | None
    disabled: bool
    listed_at: datetime | None
    version: int | None


class ListingsReply(msgspec.Struct, frozen=True, kw_only=True):
    listings: list[ListingReply]
    total: int
    page: int
    limit: int
