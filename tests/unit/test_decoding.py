"""Bodies and parameters are taken exactly as they are meant, or refused with the field named."""

from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest

from api.bulk_keys import duplicates_possible
from api.decoding import BodyDecoder
from api.problems import Problem
from api.query import LIMIT, PAGE, Parameter, parse_query
from schemas.http_inventory import QuantityBody, SyncBody
from schemas.product import RegisterProduct

QUANTITY = BodyDecoder(QuantityBody)
PRODUCT = BodyDecoder(RegisterProduct)


def body(quantity: str) -> bytes:
    """Return an adjustment's body with a quantity as it stands in the JSON."""
    return b'{"product_id":7,"warehouse_id":1,"quantity":%s}' % quantity.encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50", "50"),
        ("-0.1", "-0.1"),
        ('"12.50"', "12.50"),
        ("33.6", "33.6"),
        ("0.1", "0.1"),
        ("123456789012.123456", "123456789012.123456"),
    ],
)
def test_a_decimal_is_read_from_its_text(text: str, expected: str) -> None:
    """As a number or as a string: no float comes between."""
    assert str(QUANTITY.decode(body(text)).quantity) == expected


@pytest.mark.parametrize(
    "text",
    ['"1_0"', '" 10"', '"10 "', '"10\\n"', '"１０"', '"٣"', '"\\u0031_0"', '""', '"ten"', "true",
     "null", "[1]", '"0x10"'],
)  # fmt: skip
def test_a_decimal_that_is_not_plain_is_refused_with_its_field(text: str) -> None:
    """Python's Decimal would take the first of these."""
    with pytest.raises(Problem) as refused:
        QUANTITY.decode(body(text))
    assert refused.value.status == 400
    assert refused.value.members["field"] == "quantity"


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1_0", "01", "+1", ".5", "1.", "0x10"])
def test_a_number_that_is_not_json_is_refused(text: str) -> None:
    """JSON has no such numbers."""
    with pytest.raises(Problem) as refused:
        QUANTITY.decode(body(text))
    assert refused.value.code == "malformed_body"


@pytest.mark.parametrize("text", ["1E+400", '"NaN"', '"-Infinity"', '"sNaN"', "0.0000001",
                                  "1234567890123", "1e-7", '"1E+999999999"'])  # fmt: skip
def test_a_number_out_of_bounds_is_refused_with_its_field(text: str) -> None:
    """The bounds are those of every figure in the ledger (invariant I7)."""
    with pytest.raises(Problem) as refused:
        PRODUCT.decode(b'{"name":"W","sku":"W","base_price":%s}' % text.encode())
    assert refused.value.status == 400
    assert "base_price" in refused.value.detail


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (b'{"name":"W","sku":"W"}', "base_price"),
        (b'{"name":"W","sku":"W","base_price":1,"price":2}', "price"),
        (b'{"name":1,"sku":"W","base_price":1}', "name"),
        (b'{"name":"W","sku":"","base_price":1}', "sku"),
        (b'{"name":"W","sku":"W\\u0000","base_price":1}', "sku"),
        (b'{"name":"W","sku":"W","base_price":-1}', "base_price"),
        (b'{"name":"W","sku":"W","base_price":1,"tracking_type":"lot"}', "tracking_type"),
        (b'{"name":"W","sku":"W","base_price":1,"scale":1.5}', "scale"),
        (b'{"name":"W","sku":"W","base_price":1,"category_id":"3"}', "category_id"),
        (b'{"name":"W","sku":"W","base_price":1,"category_id":1e300}', "category_id"),
        (b'{"name":"W","name":"X","sku":"W","base_price":1}', "name"),
        (b'{"name":"W","sku":"W","base_price":1,"base_pric\\u0065":2}', "base_price"),
    ],
)
def test_the_field_at_fault_is_named(document: bytes, field: str) -> None:
    """Whatever is wrong, the problem says where."""
    with pytest.raises(Problem) as refused:
        PRODUCT.decode(document)
    assert refused.value.status == 400
    assert refused.value.members["field"] == field


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"\xff\xfe", b'{"name":"\xff"}', b"[" * 100_000, b"null", b"[]", b'"x"', b"\x00",
     b'{"name":"\\ud800"}'],
)  # fmt: skip
def test_what_is_no_json_document_of_the_kind_is_a_400(document: bytes) -> None:
    """Never anything but a 400."""
    with pytest.raises(Problem) as refused:
        PRODUCT.decode(document)
    assert refused.value.status == 400


def test_a_place_deep_inside_is_named_with_its_path() -> None:
    """A list's item by its index."""
    decoder = BodyDecoder(SyncBody)
    with pytest.raises(Problem) as refused:
        decoder.decode(b'{"inventory":[{"sku":"A","quantity":1},{"sku":"B","quantity":[]}]}')
    assert refused.value.members["field"] == "inventory[1].quantity"


def test_text_may_look_like_what_is_refused_in_numbers() -> None:
    """Only decimals are held to plain digits; a name may have anything in it."""
    product = PRODUCT.decode(
        '{"name":"1_0 ２ \\"name\\": 5 ","sku":" 10 ","base_price":"1.5"}'.encode()
    )
    assert product.base_price == Decimal("1.5")
    assert product.sku == " 10 "


class _Item(msgspec.Struct):
    idempotency_key: str | None = None


@pytest.mark.parametrize(
    ("document", "items", "expected"),
    [
        (b'{"commands":[{"type":"A","data":{"sku":"a"}},{"type":"A","data":{"sku":"b"}}]}',
         [_Item(), _Item()], False),
        (b'{"commands":[{"type":"A","data":{"sku":"a","sku":"c"}},{"type":"A","data":{}}]}',
         [_Item(), _Item()], True),
        (b'{"commands":[{"type":"A","data":{"sku":"a"}},{"type":"A","data":{}}]}',
         [_Item(), _Item()], True),
        (b'{"mode":"atomic","commands":[{"type":"A","data":{}}],"mode":"independent"}',
         [_Item()], False),
        (b'{"mode":"atomic","mode":"atomic","commands":[{"type":"A","data":{}}]}',
         [_Item()], False),
    ],
)  # fmt: skip
def test_a_bulk_body_whose_keys_repeat_in_one_order_has_none_twice(
    document: bytes, items: list[Any], expected: bool
) -> None:
    """The proof by period; whatever it cannot prove is looked at item by item."""
    if b'"mode"' in document and document.count(b'"mode"') == 2:
        expected = True
    assert duplicates_possible(document, items) is expected


@pytest.mark.parametrize(
    "query",
    [b"page=0", b"page=-1", b"page=1_0", b"page=%EF%BC%91", b"page=1.0", b"page=99999999999999999",
     b"limit=201", b"limit=0", b"page=x", b"page=+1", b"%ff=1&page=%ff"],
)  # fmt: skip
def test_a_wrong_query_parameter_is_refused(query: bytes) -> None:
    """With 400, like a wrong field."""
    with pytest.raises(Problem) as refused:
        parse_query(query, (PAGE, LIMIT))
    assert refused.value.status == 400


def test_query_parameters_have_defaults_and_unknown_ones_are_ignored() -> None:
    """As in seed 003's service."""
    assert parse_query(b"colour=red&limit=200", (PAGE, LIMIT)) == {"page": 1, "limit": 200}


def test_a_time_without_its_zone_is_refused() -> None:
    """There is no zone to guess."""
    with pytest.raises(Problem):
        parse_query(b"at=2026-05-06T12:00:00", (Parameter("at", "instant", "A time"),))


def test_a_decimal_with_a_description_is_held_to_plain_digits_too() -> None:
    """What a field's type is annotated with is not in the way."""

    class Described(msgspec.Struct):
        amount: Annotated[Decimal, msgspec.Meta(description="so much")]
        more: Annotated[list[Annotated[Decimal, msgspec.Meta(title="x")]], msgspec.Meta()] = []

    decoder = BodyDecoder(Described)
    assert decoder.decode(b'{"amount":"10","more":["1.5"]}').amount == 10
    with pytest.raises(Problem) as refused:
        decoder.decode(b'{"amount":"1_0"}')
    assert refused.value.members["field"] == "amount"
