"""The decisions about places, and about suppliers."""

from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.decision import InvalidCommand, LocationNotFound
from ledger.domain.refusals import LocationCodeTaken, SupplierCodeTaken
from schemas.location import OpenLocation, ReviseLocation
from schemas.supplier import RegisterSupplier, SupplierRegistered
from tests.support.decisions import World, types

MAIN: dict[str, Any] = {"name": "Main", "code": "MAIN"}


def main(**change: Any) -> dict[str, Any]:
    """Return the usual fields with some changed."""
    return {**MAIN, **change}


def test_the_first_location_is_the_default_and_later_ones_when_they_say_so():
    """There always is a default; the latest to say so is it."""
    world = World()
    (first,) = world.do(OpenLocation(**MAIN))
    (second,) = world.do(OpenLocation(name="Two", code="TWO"))
    (third,) = world.do(OpenLocation(name="Three", code="THREE", is_default=True))
    assert [r.event.is_default for r in (first, second, third)] == [True, False, True]
    assert third.event.location_id == 3


def test_a_code_is_taken_in_any_case():
    """Codes are aliases like SKUs."""
    world = World().given(OpenLocation(**MAIN))
    refused = world.do(OpenLocation(name="Other", code="main"))
    assert refused == LocationCodeTaken(location="main", location_id=1)


def test_a_revision_that_revises_nothing_is_nothing_to_do():
    """Except that saying again to be the default may be news to others."""
    world = World().given(OpenLocation(**MAIN), OpenLocation(name="Two", code="TWO"))
    assert world.do(ReviseLocation(location_id=2, name="Two", code="TWO")) == []
    limit = ReviseLocation(location_id=2, name="Two", code="TWO", stock_limit=Decimal(-5))
    assert types(world.do(limit)) == ["LocationRevised"]
    default = ReviseLocation(location_id=1, is_default=True, **MAIN)
    assert types(world.do(default)) == ["LocationRevised"]


def test_a_location_that_was_never_opened_is_not_found():
    """By its id."""
    assert World().do(ReviseLocation(location_id=7, **MAIN)) == LocationNotFound(location_id=7)


@pytest.mark.parametrize("field", ["name", "code"])
def test_a_blank_name_or_code_is_refused(field: str):
    """White space is no name."""
    refused = World().do(OpenLocation(**main(**{field: " "})))
    assert isinstance(refused, InvalidCommand)
    assert refused.field == field


def test_suppliers_are_counted_and_their_codes_are_unique():
    """A blank code is none."""
    world = World()
    (first,) = world.do(RegisterSupplier(name="Acme", code=" A1 ", lead_time_days=3))
    assert first.event == SupplierRegistered(
        supplier_id=1, name="Acme", code="A1", lead_time_days=3
    )
    refused = world.do(RegisterSupplier(name="Other", code="a1"))
    assert refused == SupplierCodeTaken(code="a1", supplier_id=1)
    for _ in range(2):
        assert types(world.do(RegisterSupplier(name="None", code=" "))) == ["SupplierRegistered"]
