"""Examples of event types; see `tests.golden.examples`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from schemas.common import Event
from schemas.integration import (
    ItemLinked,
    ItemUnlinked,
    StockDivergenceDetected,
    StoreLinked,
    StoreUnlinked,
    SupplierLinked,
)

EXAMPLES: Final[tuple[Event, ...]] = (
    StoreLinked(system="mipos", external_id="17", location_id=3),
    StoreUnlinked(system="mipos", external_id="17", location_id=3),
    ItemLinked(system="mipos", external_id="item_abc123", product_id=7, unit="box"),
    ItemUnlinked(system="mipos", external_id="item_abc123", product_id=7),
    SupplierLinked(system="mipos", external_id="pos_sup_1", supplier_id=2),
    StockDivergenceDetected(
        system="mipos",
        product_id=7,
        location_id=3,
        external_id="item_abc123",
        on_hand=Decimal("12.47"),
        reported=Decimal("12.44"),
        difference=Decimal("-0.03"),
        reported_at=datetime(2020, 5, 30, 2, 45, 3, tzinfo=UTC),
    ),
)

FROM_OLDER: Final[Mapping[tuple[str, int], Event]] = {}
