"""Examples of the events of listings."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from schemas.common import Event
from schemas.listing import ProductListed

EXAMPLES: Final[tuple[Event, ...]] = (
    ProductListed(
        product_id=7,
        location_id=3,
        regular_price=Decimal("12.50"),
        sale_price=Decimal("9.99"),
        backorders=False,
        disabled=True,
    ),
)

FROM_OLDER: Final[Mapping[tuple[str, int], Event]] = {}
