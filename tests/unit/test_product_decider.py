"""The catalogue's decisions."""

from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.decision import InvalidCommand, ProductNotFound
from ledger.domain.refusals import ProductFieldFixed, SkuTaken
from schemas.product import (
    AlternativeUnit,
    DiscontinueProduct,
    ProductRegistered,
    RegisterProduct,
    ReviseProduct,
)
from schemas.stock import IssueStock, ReceiveStock, ShipTransfer
from tests.support.decisions import World, shop, types

TEA: dict[str, Any] = {"name": "Tea", "sku": "TEA", "base_price": Decimal("2.50")}


def tea(**change: Any) -> dict[str, Any]:
    """Return the usual fields with some changed."""
    return {**TEA, **change}


def test_a_product_gets_a_counted_id():
    """Ids are the ledger's, SKUs the client's."""
    world = World()
    (first,) = world.do(RegisterProduct(**TEA))
    assert first.stream == "product-1"
    assert first.event == ProductRegistered(
        product_id=1, name="Tea", sku="TEA", base_price=Decimal("2.50")
    )
    (second,) = world.do(RegisterProduct(**tea(sku="COFFEE")))
    assert second.event.product_id == 2


def test_a_sku_is_taken_in_any_case_and_counts_no_id():
    """Real files spell one SKU in two cases."""
    world = World().given(RegisterProduct(**TEA))
    refused = world.do(RegisterProduct(**tea(sku=" tea ")))
    assert refused == SkuTaken(sku=" tea ", product_id=1)
    assert refused.detail().startswith("SKU already exists for this tenant")
    (second,) = world.do(RegisterProduct(**tea(sku="COFFEE")))
    assert second.event.product_id == 2


def test_a_revision_frees_the_old_sku_and_an_identical_one_is_nothing_to_do():
    """SKU is not identity."""
    world = World().given(RegisterProduct(**TEA))
    same = ReviseProduct(product_id=1, **tea(base_price=Decimal("2.5")))
    assert world.do(same) == []
    renamed = ReviseProduct(product_id=1, **tea(sku="TEA-2"))
    assert types(world.do(renamed)) == ["ProductRevised"]
    assert types(world.do(RegisterProduct(**TEA))) == ["ProductRegistered"]
    assert types(world.do(ReviseProduct(product_id=1, **TEA))) == ["sku_taken"]


@pytest.mark.parametrize(("change", "present"), [({"unit": "kg"}, "each"), ({"scale": 2}, 0)])
def test_unit_and_scale_are_for_good(change: dict[str, Any], present: Any):
    """Quantities are recorded in them."""
    world = World().given(RegisterProduct(**TEA))
    refused = world.do(ReviseProduct(product_id=1, **tea(**change)))
    (field,) = change
    assert refused == ProductFieldFixed(product_id=1, field=field, present=present)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sku": "  "}, "sku"),
        ({"name": " "}, "name"),
        ({"tracking_type": "serial", "scale": 1}, "scale"),
        ({"alternative_units": (AlternativeUnit(unit="each", numerator=2),)}, "alternative_units"),
    ],
)
def test_what_makes_no_sense_is_refused_by_field(change: dict[str, Any], field: str):
    """The field is named."""
    refused = World().do(RegisterProduct(**tea(**change)))
    assert isinstance(refused, InvalidCommand)
    assert refused.field == field


def test_a_product_is_discontinued_once_it_has_no_stock_anywhere():
    """On hand, in transit and reserved all count."""
    world = shop().given(
        ReceiveStock(product_id=1, location_id=1, quantity=Decimal(5)),
        ShipTransfer(product_id=1, from_location_id=1, to_location_id=2, quantity=Decimal(4)),
        IssueStock(product_id=1, location_id=1, quantity=Decimal(1)),
    )
    assert types(world.do(DiscontinueProduct(product_id=1))) == ["product_has_stock"]
    empty = shop()
    assert types(empty.do(DiscontinueProduct(product_id=1))) == ["ProductDiscontinued"]
    assert empty.do(DiscontinueProduct(product_id=1)) == []
    assert types(empty.do(ReviseProduct(product_id=1, **TEA))) == ["product_discontinued"]
    assert types(empty.do(RegisterProduct(**TEA))) == ["ProductRegistered"]


def test_a_product_that_was_never_registered_is_not_found():
    """For each command that names one."""
    for command in (ReviseProduct(product_id=7, **TEA), DiscontinueProduct(product_id=7)):
        assert World().do(command) == ProductNotFound(product_id=7)
