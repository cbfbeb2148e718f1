"""The decisions about customers and price tiers."""

from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.decision import InvalidCommand, ProductNotFound
from ledger.domain.refusals_customers import (
    CustomerCodeTaken,
    CustomerEmailTaken,
    CustomerNotFound,
    PriceTierNotFound,
    TierPriceTwice,
    TooManyAddresses,
)
from schemas.address import Address
from schemas.customer import (
    ADDRESSES_MAX,
    AddCustomerAddress,
    CustomerAddress,
    CustomerRegistered,
    DefinePriceTier,
    PriceTierDefined,
    RegisterCustomer,
    ReviseCustomer,
    RevisePriceTier,
    TierPrice,
)
from tests.support.decisions import World, shop, types

ACME: dict[str, Any] = {"name": "Acme Corp", "email": "buy@acme.com", "code": "ACME"}
HOME = Address(line1="123 George St", city="Sydney")


def price(product_id: int = 1, unit_price: str = "2", minimum: str = "1") -> TierPrice:
    """Make a price of a tier."""
    return TierPrice(
        product_id=product_id, unit_price=Decimal(unit_price), min_quantity=Decimal(minimum)
    )


def address(customer_id: int = 1, kind: Any = "shipping", **more: Any) -> AddCustomerAddress:
    """Make a command that adds an address."""
    return AddCustomerAddress(customer_id=customer_id, type=kind, address=HOME, **more)


def test_a_customer_gets_a_counted_id_and_keeps_what_was_said():
    """Outer white space is no part of a code or an address; a blank one is none."""
    world = World()
    (first,) = world.do(RegisterCustomer(name="Acme", code=" ACME ", email=" buy@acme.com "))
    assert first.stream == "customer-1"
    assert first.event == CustomerRegistered(
        customer_id=1, name="Acme", code="ACME", email="buy@acme.com"
    )
    (second,) = world.do(RegisterCustomer(name="Bolt", code="  ", email=""))
    assert second.event == CustomerRegistered(customer_id=2, name="Bolt")


def test_code_and_address_are_unique_in_any_case():
    """The refusal says who has it; what is given up is free again."""
    world = World().given(RegisterCustomer(**ACME))
    taken = world.do(RegisterCustomer(name="B", email="BUY@acme.com"))
    assert taken == CustomerEmailTaken(customer_id=1)
    assert taken.detail().startswith("Email already exists")
    assert world.do(RegisterCustomer(name="B", code=" acme")) == CustomerCodeTaken(
        customer_code="acme", customer_id=1
    )
    world.given(RegisterCustomer(name="B"))
    assert types(world.do(ReviseCustomer(customer_id=2, name="B", code="Acme"))) == [
        "customer_code_taken"
    ]
    assert types(world.do(ReviseCustomer(customer_id=1, **ACME))) == []
    world.given(ReviseCustomer(customer_id=1, name="Acme Corp"))
    assert types(world.do(ReviseCustomer(customer_id=2, **ACME))) == ["CustomerRevised"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "  "}, "name"),
        ({"email": "acme.com"}, "email"),
        ({"email": "@acme.com"}, "email"),
        ({"email": "buy@"}, "email"),
        ({"email": "buy us@acme.com"}, "email"),
    ],
)
def test_what_makes_no_sense_is_refused_by_field(fields: dict[str, Any], field: str):
    """The field is named."""
    said: dict[str, Any] = {"name": "Acme", **fields}
    refused = World().do(RegisterCustomer(**said))
    assert isinstance(refused, InvalidCommand)
    assert refused.field == field


def test_the_first_address_of_a_type_is_its_default():
    """A later one is when it says so; the other type has a default of its own."""
    world = World().given(RegisterCustomer(**ACME))
    added = [
        world.do(address(kind=kind, is_default=is_default))[0].event
        for kind, is_default in (
            ("shipping", False),
            ("shipping", False),
            ("billing", False),
            ("shipping", True),
        )
    ]
    assert [(event.address_id, event.type, event.is_default) for event in added] == [
        (1001, "shipping", True),
        (1002, "shipping", False),
        (1003, "billing", True),
        (1004, "shipping", True),
    ]


def test_a_customer_may_come_with_addresses():
    """They follow it in the same decision, by the same rule; a revision leaves them alone."""
    world = World()
    entries = tuple(
        CustomerAddress(type=kind, address=HOME) for kind in ("shipping", "billing", "shipping")
    )
    outcome = world.do(RegisterCustomer(**ACME, addresses=entries))
    assert types(outcome) == ["CustomerRegistered", *["CustomerAddressAdded"] * 3]
    assert [event.event.is_default for event in outcome[1:]] == [True, True, False]
    world.given(ReviseCustomer(customer_id=1, name="Acme"))
    (added,) = world.do(address())
    assert (added.event.address_id, added.event.is_default) == (1004, False)


def test_addresses_have_an_end():
    """A hundred are kept."""
    entries = tuple([CustomerAddress(type="shipping", address=HOME)] * ADDRESSES_MAX)
    world = World().given(RegisterCustomer(**ACME, addresses=entries))
    assert world.do(address()) == TooManyAddresses(customer_id=1, maximum=ADDRESSES_MAX)


def test_what_is_not_there_is_not_found():
    """Customers and price tiers, by every command that names one."""
    world = World().given(RegisterCustomer(**ACME))
    assert world.do(ReviseCustomer(customer_id=7, name="X")) == CustomerNotFound(customer_id=7)
    assert world.do(address(7)) == CustomerNotFound(customer_id=7)
    missing = PriceTierNotFound(price_tier_id=3)
    assert world.do(RegisterCustomer(name="X", price_tier_id=3)) == missing
    assert world.do(ReviseCustomer(customer_id=1, name="X", price_tier_id=3)) == missing
    assert world.do(RevisePriceTier(price_tier_id=3, name="X")) == missing


def test_a_tier_is_defined_and_revised():
    """Equal numbers are equal however they are written, so that says nothing new."""
    world = shop()
    (defined,) = world.do(
        DefinePriceTier(name="Trade", discount_percent=Decimal(5), prices=(price(),))
    )
    assert defined.stream == "pricetier-1"
    assert defined.event == PriceTierDefined(
        price_tier_id=1, name="Trade", discount_percent=Decimal(5), prices=(price(),)
    )
    same = RevisePriceTier(
        price_tier_id=1,
        name="Trade",
        discount_percent=Decimal("5.00"),
        prices=(price(unit_price="2.000", minimum="1.0"),),
    )
    assert world.do(same) == []
    assert types(world.do(RevisePriceTier(price_tier_id=1, name="Trade"))) == ["PriceTierRevised"]
    assert types(world.do(RegisterCustomer(name="X", price_tier_id=1))) == ["CustomerRegistered"]


def test_a_tier_prices_known_products_once_for_a_quantity():
    """Two prices of one product must differ in the quantity, as numbers."""
    world = shop()
    assert world.do(DefinePriceTier(name="T", prices=(price(9),))) == ProductNotFound(product_id=9)
    twice = (price(minimum="10"), price(unit_price="1", minimum="10.0"))
    assert world.do(DefinePriceTier(name="T", prices=twice)) == TierPriceTwice(
        product_id=1, min_quantity=Decimal("10.0")
    )
    steps = (price(minimum="10"), price(unit_price="1", minimum="100"))
    assert types(world.do(DefinePriceTier(name="T", prices=steps))) == ["PriceTierDefined"]
    refused = world.do(DefinePriceTier(name=" "))
    assert isinstance(refused, InvalidCommand)
    assert refused.field == "name"
