"""HTTP bodies and replies of the books."""

from datetime import date, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.books import ValuationMethod
from schemas.http_common import Money


class BooksReply(msgspec.Struct, frozen=True, kw_only=True):
    """How the books are kept. ``version`` is what If-Match takes; 0 where nothing was said yet."""

    valuation_method: Annotated[ValuationMethod, Meta(description="Of products without their own")]
    time_zone: Annotated[str, Meta(description='The zone of "today" and of closing')]
    closed_through: Annotated[date | None, Meta(description="null: all days are open")]
    version: int


class PeriodReply(msgspec.Struct, frozen=True, kw_only=True):
    """Through which day the books are closed now; null: all days are open."""

    message: str
    closed_through: date | None


class ValuationChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The method of one product; null goes back to the books' method."""

    valuation_method: ValuationMethod | None


class ProductValuationReply(msgspec.Struct, frozen=True, kw_only=True):
    """``valuation_method`` is in force; ``chosen`` says whether it is the product's own."""

    product_id: int
    valuation_method: ValuationMethod
    chosen: bool


class LandedCostReply(msgspec.Struct, frozen=True, kw_only=True):
    """What was added to the receipt at ``receipt_position``, by the event at ``position``."""

    position: int
    receipt_position: int
    product_id: int
    warehouse_id: int
    amount: Money


class RevaluationReply(msgspec.Struct, frozen=True, kw_only=True):
    """What one of a product is worth from ``effective_at`` on."""

    position: int
    product_id: int
    unit_cost: Money
    effective_at: datetime
