"""Examples of event types; see `tests.golden.examples`."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from schemas.address import Address
from schemas.common import Event
from schemas.customer import (
    CustomerAddressAdded,
    CustomerRegistered,
    CustomerRevised,
    PriceTierDefined,
    PriceTierRevised,
    TierPrice,
)

_CUSTOMER: Final[Mapping[str, Any]] = {
    "customer_id": 42,
    "name": "Mélanie Çelik",
    "email": "buying@fjord.example",
    "phone": "+47 22 00 00 00",
    "company": "Fjord & Søn AS",
    "customer_type": "wholesale",
    "code": "FJORD",
    "price_tier_id": 3,
}
_TIER: Final[Mapping[str, Any]] = {
    "price_tier_id": 3,
    "name": "Trade, from 100",
    "discount_percent": Decimal("12.5"),
    "prices": (
        TierPrice(product_id=12, unit_price=Decimal("2.35")),
        TierPrice(product_id=12, unit_price=Decimal("1.999999"), min_quantity=Decimal("100.5")),
    ),
}

EXAMPLES: Final[tuple[Event, ...]] = (
    CustomerRegistered(**_CUSTOMER),
    CustomerRevised(**_CUSTOMER),
    CustomerAddressAdded(
        customer_id=42,
        address_id=42001,
        type="billing",
        address=Address(
            line1="Storgata 1",
            line2="3. etasje",
            city="Ålesund",
            state="Møre og Romsdal",
            postcode="6002",
            country="NO",
            name="Regnskap",
            phone="+47 70 00 00 00",
        ),
        is_default=True,
    ),
    PriceTierDefined(**_TIER),
    PriceTierRevised(**_TIER),
)

FROM_OLDER: Final[Mapping[tuple[str, int], Event]] = {}
