"""Examples of event types; see `tests.golden.examples`."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Final

from schemas.books import (
    BooksConfigured,
    LandedCostAdded,
    PeriodClosed,
    PeriodReopened,
    StockRevalued,
    ValuationChosen,
)
from schemas.common import Event

EXAMPLES: Final[tuple[Event, ...]] = (
    BooksConfigured(valuation_method="fifo", time_zone="Europe/London"),
    ValuationChosen(product_id=12, valuation_method="average"),
    PeriodClosed(through=date(2031, 1, 31), notes="January, as filed"),
    PeriodReopened(through=date(2030, 12, 31), notes="An invoice came late"),
    LandedCostAdded(
        position=41,
        product_id=12,
        location_id=3,
        amount=Decimal("-12.345678"),
        reason="freight",
        notes="Credit note 17",
    ),
    StockRevalued(
        product_id=12, unit_cost=Decimal("1.050000"), reason="year end", notes="Damp got in"
    ),
)

FROM_OLDER: Final[Mapping[tuple[str, int], Event]] = {}
