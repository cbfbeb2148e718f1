"""Examples of event types; see `tests.golden.examples`."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from schemas.address import KeptAddress
from schemas.common import Event
from schemas.customer import (
    CustomerAddressAdded,
    CustomerErased,
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
_SUBJECT: Final = "0123456789abcdef0123456789abcdef"
_SEALED: Final[Mapping[str, Any]] = {
    **_CUSTOMER,
    "name": f"sealed:1:{_SUBJECT}:{'A' * 43}",
    "email": f"sealed:1:{_SUBJECT}:{'B' * 64}",
    "phone": f"sealed:1:{_SUBJECT}:{'C' * 43}",
    "company": f"sealed:1:{_SUBJECT}:{'D' * 43}",
    "subject": _SUBJECT,
    "email_key": "fedcba9876543210fedcba9876543210",
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
    CustomerRegistered(**_SEALED),
    CustomerRevised(**_SEALED),
    CustomerErased(customer_id=42, reason="asked for by letter"),
    CustomerAddressAdded(
        customer_id=42,
        address_id=42001,
        type="billing",
        address=KeptAddress(
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

FROM_OLDER: Final[Mapping[tuple[str, int], Event]] = {
    ("CustomerRegistered", 1): CustomerRegistered(**_CUSTOMER),
    ("CustomerRevised", 1): CustomerRevised(**_CUSTOMER),
}
