"""Demand: lines accepted and refused each for itself, chunks in order, batches taken back."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from schemas.demand import (
    DemandEntry,
    DemandLine,
    DemandRecorded,
    ImportBatchReversed,
    RecordDemandChunk,
    ReverseImportBatch,
)
from schemas.import_batch import (
    CloseImportBatch,
    LineRefusal,
    OpenImportBatch,
    RecordImportChunk,
)
from schemas.product import DiscontinueProduct, ReviseProduct
from tests.support.decisions import World, shop, types

DAY = date(2030, 3, 5)


def opened(kind: Any = "demand", **product: Any) -> World:
    """Return a shop with TEA in tenths, and an open batch."""
    return shop(scale=1, product=product).given(
        OpenImportBatch(batch_id="b", kind=kind, source_name="feed", source_digest="")
    )


def entry(line: int, sku: str = "TEA", quantity: str = "1", **more: Any) -> DemandEntry:
    """Return a line."""
    return DemandEntry(line=line, sku=sku, quantity=Decimal(quantity), order_date=DAY, **more)


def chunk(*lines: DemandEntry, number: int = 0, **more: Any) -> RecordDemandChunk:
    """Return a chunk of lines."""
    fields: dict[str, Any] = {
        "first_line": lines[0].line if lines else 1,
        "last_line": lines[-1].line if lines else 1,
        "digest": f"digest {number}",
    }
    return RecordDemandChunk(batch_id="b", chunk=number, lines=lines, **{**fields, **more})


def test_lines_of_known_products_are_recorded_under_their_ids():
    """In the product's scale, each with its own period; SKUs in any case."""
    lines = (entry(1, quantity="2"), entry(2, " tea", "0.5", period="month"))
    (recorded,) = opened().do(chunk(*lines))
    assert recorded.stream == "import-b"
    assert recorded.event == DemandRecorded(
        batch_id="b",
        chunk=0,
        first_line=1,
        last_line=2,
        digest="digest 0",
        lines=(
            DemandLine(line=1, product_id=1, quantity=Decimal("2.0"), order_date=DAY),
            DemandLine(
                line=2, product_id=1, quantity=Decimal("0.5"), order_date=DAY, period="month"
            ),
        ),
    )
    assert str(recorded.event.lines[0].quantity) == "2.0"


def test_each_other_line_is_refused_for_itself():
    """With those refused before, in the order of lines; nothing but the batch is written to."""
    world = opened()
    before = LineRefusal(line=3, code="invalid_line", detail="no date")
    lines = (entry(1, "NOPE"), entry(2, quantity="0.25"), entry(4))
    (recorded,) = world.do(chunk(*lines, refusals=(before,)))
    assert [each.line for each in recorded.event.lines] == [4]
    assert [(each.line, each.code) for each in recorded.event.refusals] == [
        (1, "product_not_found"),
        (2, "quantity_not_in_scale"),
        (3, "invalid_line"),
    ]
    assert "0.25 has more than the 1 digits" in recorded.event.refusals[1].detail
    assert {each.stream for each in world.log if each.event.TYPE.startswith("Stock")} == set()


def test_a_long_sku_leaves_the_reason_short_enough_to_keep():
    """A detail has at most 200 characters."""
    (recorded,) = opened().do(chunk(entry(1, "é" * 100)))
    assert len(recorded.event.refusals[0].detail) <= 200


def test_a_product_that_is_not_active_was_wanted_too():
    """One taken out of the catalogue has no SKU any more."""
    world = opened().given(
        ReviseProduct(product_id=1, name="Tea", sku="TEA", base_price=Decimal(1), scale=1,
                      is_active=False)
    )  # fmt: skip
    assert len(world.do(chunk(entry(1)))[0].event.lines) == 1
    world.given(DiscontinueProduct(product_id=1))
    assert world.do(chunk(entry(2), number=1))[0].event.refusals[0].code == "product_not_found"


def test_a_chunk_is_recorded_once_and_in_order():
    """As those of any batch are."""
    world = opened().given(chunk(entry(1), entry(2)))
    assert types(world.do(chunk(entry(1), entry(2)))) == ["chunk_already_recorded"]
    assert types(world.do(chunk(entry(3), number=2))) == ["chunk_out_of_order"]
    assert types(world.do(chunk(entry(2), number=1))) == ["invalid_command"]
    assert types(world.do(chunk(entry(4), number=1, last_line=3))) == ["invalid_command"]
    short = chunk(entry(3), entry(4), number=1, last_line=3)
    assert types(world.do(short)) == ["import_counts_differ"]
    world.given(
        chunk(entry(3, "NOPE"), number=1),
        CloseImportBatch(batch_id="b", lines=3, accepted=2, refused=1),
    )
    assert types(world.do(chunk(entry(4), number=2))) == ["import_batch_closed"]


def test_closing_must_add_up():
    """Every line is accepted or refused, once."""
    world = opened().given(chunk(entry(1), entry(2, "NOPE")))
    wrong = CloseImportBatch(batch_id="b", lines=2, accepted=2, refused=0)
    assert types(world.do(wrong)) == ["import_counts_differ"]
    right = CloseImportBatch(batch_id="b", lines=2, accepted=1, refused=1)
    assert types(world.do(right)) == ["ImportBatchClosed"]
    assert world.do(right) == []


def test_a_batch_is_of_demand_or_of_something_else():
    """A chunk of the other sort is refused, and so is taking back what is no demand."""
    other = RecordImportChunk(batch_id="b", chunk=0, first_line=1, last_line=1, accepted=1,
                              refused=0)  # fmt: skip
    assert types(opened().do(other)) == ["import_batch_conflict"]
    world = opened("products")
    assert types(world.do(chunk(entry(1)))) == ["import_batch_conflict"]
    refusal = world.do(ReverseImportBatch(batch_id="b"))
    assert refusal.CODE == "not_a_demand_batch"
    assert refusal.detail() == (
        "Import batch 'b' took in products, not demand; undo what it brought about one by one."
    )


@pytest.mark.parametrize("command", [chunk(entry(1)), ReverseImportBatch(batch_id="b")])
def test_there_must_be_such_a_batch(command: Any):
    """Whatever is asked of it."""
    assert types(shop().do(command)) == ["import_batch_not_found"]


def test_a_batch_is_taken_back_as_a_whole_and_once():
    """Closed or open; an open one takes no more and is not closed."""
    for is_closed in (False, True):
        world = opened().given(chunk(entry(1)))
        close = CloseImportBatch(batch_id="b", lines=1, accepted=1, refused=0)
        if is_closed:
            world.given(close)
        (recorded,) = world.do(ReverseImportBatch(batch_id="b", reason="sent twice"))
        assert recorded.event == ImportBatchReversed(batch_id="b", reason="sent twice")
        assert world.do(ReverseImportBatch(batch_id="b")) == []
        more = types(world.do(chunk(entry(2), number=1)))
        assert more == ["import_batch_closed" if is_closed else "import_batch_reversed"]
        assert types(world.do(close) or []) == ([] if is_closed else ["import_batch_reversed"])


@pytest.mark.parametrize("quantity", ["0", "-1", "0.0000001", "1000000000000"])
def test_a_quantity_is_above_zero_and_exact(quantity: str):
    """Before it is a command at all."""
    with pytest.raises(ValueError, match=r"^quantity must be"):
        entry(1, quantity=quantity)
