"""What a WordPress client sends of an item, read leniently and exactly."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.dialects.woocommerce.errors import told
from api.dialects.woocommerce.items import Read, read_item
from api.dialects.woocommerce.sync import Rule
from api.problems import Problem
from schemas.listing import SyncListing
from schemas.stock import SetStock

PLACE = b'"product_id":7,"location_id":3'


def read(fields: bytes) -> Read:
    return read_item(b"{" + PLACE + b"," + fields + b"}")


def test_stock_alone_is_the_ledgers_own_command() -> None:
    """So that a bulk sync of figures costs what the native one does."""
    assert read(b'"stock":5').command == SetStock(product_id=7, location_id=3, quantity=Decimal(5))
    assert read(b'"stock":5,"disabled":0').command == SyncListing(
        product_id=7, location_id=3, stock=Decimal(5), disabled=False
    )


@given(
    st.decimals(min_value=Decimal(-999999999999), max_value=Decimal(999999999999), places=6),
    st.booleans(),
)
def test_a_figure_is_the_one_that_was_sent(figure: Decimal, as_text: bool) -> None:
    """To the last digit, as a number and as text."""
    data = f'"{figure}"' if as_text else str(figure)
    command = read(b'"stock":' + data.encode()).command
    assert isinstance(command, SetStock)
    assert command.quantity == figure


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=8)
        | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=6,
    ),
    st.sampled_from(
        [
            "product_id",
            "sku",
            "location_id",
            "location_slug",
            "stock",
            "regular_price",
            "sale_price",
            "backorders",
            "disabled",
        ]
    ),
)
def test_whatever_a_field_holds_is_read_or_told_of(value: Any, field: str) -> None:
    """Never anything but a command with sound values, or one error in WordPress's words."""
    item = {"product_id": 7, "location_id": 3, "stock": 1, field: value}
    result = read_item(msgspec.json.encode(item))
    assert (result.command is None) is (result.problem is not None)
    if result.problem is not None:
        error = told(result.problem)
        assert error.code.startswith("rest_")
        assert 400 <= error.status < 500
        assert error.message.endswith(".")


@given(st.binary(max_size=60))
def test_whatever_bytes_an_item_is_are_read_or_told_of(data: bytes) -> None:
    result = read_item(data)
    assert (result.command is None) is (result.problem is not None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[]", "rest_invalid_param"),
        (b"7", "rest_invalid_param"),
        (b"{", "rest_invalid_json"),
        (b"{}", "rest_missing_callback_param"),
        (b'{"sku":"A"}', "rest_missing_callback_param"),
        (b'{"sku":"A","location_id":1}', "rest_invalid_stock_value"),
        (b'{"sku":"\\ud800","location_id":1,"stock":1}', "rest_invalid_json"),
        (b'{"sku":12,"location_id":1,"stock":null}', "rest_invalid_stock_value"),
    ],
)
def test_what_is_no_item_is_told_of(body: bytes, code: str) -> None:
    problem = read_item(body).problem
    assert problem is not None
    assert told(problem).code == code


def test_a_sku_may_be_a_number_and_other_members_are_passed_over() -> None:
    """The last of two members of one name counts, as in PHP."""
    result = read_item(b'{"sku":71053,"location_slug":" main ","stock":1,"stock":2,"note":[1]}')
    assert result.command == SetStock(sku="71053", location="main", quantity=Decimal(2))


def test_a_share_of_failures_is_counted_exactly() -> None:
    """At the threshold what is right is applied; one item more, and nothing is."""
    half = Rule("threshold", 50)
    assert [half.rolls_back(failed, 1000) for failed in (0, 499, 500, 501, 1000)] == [
        False, False, False, True, True,
    ]  # fmt: skip
    assert Rule("threshold", 33).rolls_back(1, 3)
    assert not Rule("threshold", 34).rolls_back(1, 3)
    assert not Rule("threshold", 100).rolls_back(3, 3)
    assert [Rule("all-or-nothing", 100).rolls_back(failed, 3) for failed in (0, 1)] == [False, True]
    assert not Rule("independent", 0).rolls_back(3, 3)


def test_what_the_family_has_no_words_for_keeps_its_code_and_status() -> None:
    """A refusal of the ledger, as WordPress would tell it."""
    error = told(Problem("insufficient_stock", "There is not enough.", sku="A"))
    assert error == (
        409,
        "rest_insufficient_stock",
        "There is not enough.",
        {"status": 409, "sku": "A"},
    )
