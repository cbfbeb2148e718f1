"""Order lines: what each kind of line is translated to, and what is refused by which rule."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.imports.order_lines import (
    KNOWN_HEADINGS,
    REQUIRED,
    OpeningPolicy,
    OrderLineOptions,
    OrderLineTranslator,
    lowest_balance,
)
from api.imports.tables import Table, UnreadableFile
from api.imports.translation import Translated, choose_columns
from schemas.product import RegisterProduct
from schemas.stock import AdjustStock, IssueStock, ReceiveStock

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID\n"
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def translated(
    tmp_path: Path,
    lines: str,
    *,
    opening: OpeningPolicy = "cover",
    mapping: str | None = None,
    cost_ratio: str | None = None,
) -> list[Translated]:
    """Translate a CSV of order lines of a shop in London."""
    translator = surveyed(tmp_path, lines, opening, mapping, cost_ratio)
    return list(translator.translate())


def surveyed(
    tmp_path: Path,
    lines: str,
    opening: OpeningPolicy = "cover",
    mapping: str | None = None,
    cost_ratio: str | None = None,
) -> OrderLineTranslator:
    """Return a translator that has read a CSV of order lines once."""
    path = tmp_path / "lines.csv"
    path.write_text(HEADER + lines)
    table = Table(path)
    options = OrderLineOptions(
        columns=choose_columns(table, KNOWN_HEADINGS, REQUIRED, mapping),
        zone=ZoneInfo("Europe/London"),
        opening=opening,
        cost_ratio=None if cost_ratio is None else Decimal(cost_ratio),
    )
    translator = OrderLineTranslator(table, options)
    for _ in translator.survey():
        pass
    return translator


def test_a_sale_registers_the_product_covers_it_and_issues(tmp_path: Path) -> None:
    """Product, opening stock just before the first line, issue, in this order."""
    (only,) = translated(tmp_path, "536365,85123A,HEART HOLDER ,6,2010-12-01 08:26,2.55,17850\n")
    at = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
    assert [
        RegisterProduct(name="HEART HOLDER", sku="85123A", base_price=Decimal("2.55"), scale=0),
        ReceiveStock(
            sku="85123A",
            location="MAIN",
            quantity=Decimal(6),
            effective_at=at - timedelta(seconds=1),
            reason="opening stock",
            notes="worked out from the order lines that follow",
        ),
    ] == only.before
    assert (
        IssueStock(
            sku="85123A",
            location="MAIN",
            quantity=Decimal(6),
            effective_at=at,
            unit_price=Decimal("2.55"),
            reference="536365",
            notes="line 2",
        )
        == only.own
    )


def test_cancellations_are_returns_from_customers(tmp_path: Path) -> None:
    """By the invoice's first letter, or by a customer on a negative line."""
    lines = translated(
        tmp_path,
        "C1,A,,-2,2010-12-01,1,\n1,A,,-3,2010-12-01,1,77\n",
    )
    assert [("customer", Decimal(2)), ("customer", Decimal(3))] == [
        (line.own.source, line.own.quantity) for line in lines if isinstance(line.own, ReceiveStock)
    ]


def test_lines_say_what_was_paid(tmp_path: Path) -> None:
    """A sale what it was sold for, a return what was given back; none and nothing differ."""
    lines = translated(
        tmp_path,
        "1,A,,2,2010-12-01,1.25,\nC1,A,,-1,2010-12-01,1.10,\n"
        "2,A,,1,2010-12-01,0,\n3,A,,1,2010-12-01,,\n",
    )
    moved = [line.own for line in lines]
    assert [Decimal("1.25"), Decimal("1.10"), Decimal(0), None] == [
        each.unit_price for each in moved if isinstance(each, IssueStock | ReceiveStock)
    ]


def test_a_cost_ratio_gives_costs_where_the_file_has_none(tmp_path: Path) -> None:
    """A share of the first price above zero, on the product and on its opening stock."""
    lines = (
        "1,A,,2,2010-12-01,0,\n2,A,,1,2010-12-02,1.99,\n3,A,,1,2010-12-03,5,\n1,X,,1,2010-12-01,,\n"
    )
    costs: dict[str, list[Decimal | None]] = {"0.55": [], "": []}
    for ratio, found in costs.items():
        for line in translated(tmp_path, lines, cost_ratio=ratio or None):
            for command in line.before:
                if isinstance(command, RegisterProduct):
                    found.append(command.cost_price)
                elif isinstance(command, ReceiveStock):
                    found.append(command.unit_cost)
    assert costs == {
        "0.55": [Decimal("1.0945"), Decimal("1.0945"), None, None],
        "": [None, None, None, None],
    }


def test_only_a_given_cost_ratio_is_part_of_a_batchs_name(tmp_path: Path) -> None:
    """So that a file taken in before there was such an option is found again."""
    line = "1,A,,2,2010-12-01,1,\n"
    assert "cost_ratio" not in surveyed(tmp_path, line).options
    assert surveyed(tmp_path, line, cost_ratio="0.50").options["cost_ratio"] == "0.5"


def test_other_negative_lines_correct_the_books(tmp_path: Path) -> None:
    """With what was written on them as the reason; it never becomes the product's name."""
    first, second = translated(tmp_path, "1,A,mouldy,-4,2010-12-01,0,\n2,A,,-1,2010-12-01,0,\n")
    assert isinstance(first.own, AdjustStock)
    assert isinstance(second.own, AdjustStock)
    assert (Decimal(-4), "mouldy") == (first.own.quantity, first.own.reason)
    assert second.own.reason == "stock correction"
    product, opening = first.before
    assert isinstance(product, RegisterProduct)
    assert product.name == "A"
    assert isinstance(opening, ReceiveStock)
    assert opening.quantity == 5, "what is thrown away must have been there"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("1,POST,POSTAGE,1,2010-12-01,1,1", "not_goods"),
        ("1,m,Manual,1,2010-12-01,1,1", "not_goods"),
        ("1,gift_0001_40,Voucher,1,2010-12-01,1,1", "not_goods"),
        ("1,BANK CHARGES,,1,2010-12-01,1,1", "not_goods"),
        ("1,A,,0,2010-12-01,1,1", "quantity_zero"),
        ("1,A,,-0,2010-12-01,1,1", "quantity_zero"),
        ("1,A,,six,2010-12-01,1,1", "bad_quantity"),
        ("1,A,,1,2010-13-01,1,1", "bad_date"),
        ("1,A,,1,2011-03-27 01:30,1,1", "no_such_local_time"),
        ("1,A,,1,2010-12-01,-1,1", "bad_price"),
        ("1,,x,1,2010-12-01,1,1", "missing_sku"),
        (",A,x,1,2010-12-01,1,1", "missing_invoice"),
        ("C1,A,x,1,2010-12-01,1,1", "contradictory"),
        (f"1,{'A' * 101},x,1,2010-12-01,1,1", "bad_sku"),
        ("1,A", "bad_quantity"),
    ],
)
def test_refused_lines_say_by_which_rule(tmp_path: Path, line: str, code: str) -> None:
    """And ask nothing of the ledger."""
    (only,) = translated(tmp_path, line + "\n")
    assert only.fault is not None
    assert code == only.fault.code
    assert only.own is None
    assert only.before == ()


def test_a_free_line_is_a_movement_still(tmp_path: Path) -> None:
    """The price is the last one above zero, wherever it stands."""
    first, _, _ = translated(
        tmp_path,
        "1,A,x,1,2010-12-01,0,1\n2,A,x,1,2010-12-02,2.50,1\n3,A,x,1,2010-12-03,,1\n",
    )
    assert isinstance(first.own, IssueStock)
    assert isinstance(first.before[0], RegisterProduct)
    assert Decimal("2.50") == first.before[0].base_price


def test_spellings_that_differ_in_case_are_one_product(tmp_path: Path) -> None:
    """Registered once, under the spelling seen first; its stock covers both."""
    first, second = translated(
        tmp_path, "1,85114A,BLACK,1,2010-12-01,1,1\n2,85114a,BLACK,2,2010-12-02,1,1\n"
    )
    assert second.before == ()
    assert isinstance(second.own, IssueStock)
    assert second.own.sku == "85114A"
    assert isinstance(first.before[1], ReceiveStock)
    assert Decimal(3) == first.before[1].quantity


def test_the_commonest_description_names_the_product(tmp_path: Path) -> None:
    """A remark typed once into the description does not."""
    first, *_ = translated(
        tmp_path,
        "1,A,?,1,2010-12-01,1,1\n2,A,LAMP,1,2010-12-01,1,1\n3,A,LAMP ,1,2010-12-01,1,1\n",
    )
    assert isinstance(first.before[0], RegisterProduct)
    assert first.before[0].name == "LAMP"


def test_opening_stock_is_exactly_what_is_needed(tmp_path: Path) -> None:
    """A return in between lowers it; the lowest point counts, not the end."""
    first, *_ = translated(
        tmp_path,
        "1,A,x,5,2010-12-01,1,1\nC1,A,x,-2,2010-12-02,1,1\n2,A,x,4,2010-12-03,1,1\n"
        "C2,A,x,-4,2010-12-04,1,1\n",
    )
    assert isinstance(first.before[1], ReceiveStock)
    assert Decimal(7) == first.before[1].quantity


def test_a_product_that_only_came_back_needs_none(tmp_path: Path) -> None:
    """Nothing is received for it beforehand."""
    (only,) = translated(tmp_path, "C1,A,x,-2,2010-12-02,1,1\n")
    assert len(only.before) == 1


def test_lines_out_of_order_are_covered_from_the_earliest_on(tmp_path: Path) -> None:
    """A late line counts from its own time on: the return recorded first came after it."""
    first, *_ = translated(tmp_path, "C1,A,x,-5,2010-12-05,1,1\n1,A,x,3,2010-12-02,1,1\n")
    opening = first.before[1]
    assert isinstance(opening, ReceiveStock)
    assert Decimal(3) == opening.quantity
    assert datetime(2010, 12, 1, 23, 59, 59, tzinfo=UTC) == opening.effective_at


def test_without_opening_stock_only_the_product_is_made(tmp_path: Path) -> None:
    """The ledger then refuses what is not there."""
    (only,) = translated(tmp_path, "1,A,x,1,2010-12-01,1,1\n", opening="none")
    assert len(only.before) == 1


def test_fractions_give_the_product_a_scale(tmp_path: Path) -> None:
    """1.25 metres of cloth are two digits, 3.000 are none more."""
    first, *_ = translated(tmp_path, "1,A,x,1.25,2010-12-01,1,1\n1,A,x,3.000,2010-12-01,1,1\n")
    assert isinstance(first.before[0], RegisterProduct)
    assert first.before[0].scale == 2


def test_columns_can_have_any_name(tmp_path: Path) -> None:
    """Said with a map; a field or a heading that there is not is told."""
    path = tmp_path / "lines.csv"
    path.write_text("doc,item,n,when\n1,A,1,2010-12-01\n")
    table = Table(path)
    chosen = choose_columns(
        table, KNOWN_HEADINGS, REQUIRED, "invoice=doc,sku=ITEM,quantity=n,date=when"
    )
    assert chosen == {"invoice": "doc", "sku": "item", "quantity": "n", "date": "when"}
    with pytest.raises(ValueError, match="no column for invoice"):
        choose_columns(table, KNOWN_HEADINGS, REQUIRED, "sku=item")
    with pytest.raises(ValueError, match="no column 'nope'"):
        choose_columns(table, KNOWN_HEADINGS, REQUIRED, "sku=nope")
    with pytest.raises(ValueError, match="fields: invoice"):
        choose_columns(table, KNOWN_HEADINGS, REQUIRED, "colour=item")


def test_a_heading_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """Guessing which is meant would be wrong half the time."""
    path = tmp_path / "lines.csv"
    path.write_text("invoice,sku,sku,quantity,date\n1,A,B,1,2010-12-01\n")
    table = Table(path)
    columns = choose_columns(table, KNOWN_HEADINGS, REQUIRED)
    with pytest.raises(UnreadableFile, match="2 columns 'sku'"):
        OrderLineTranslator(table, OrderLineOptions(columns=columns, zone=ZoneInfo("UTC")))


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(-9, 9)), max_size=30))
def test_the_lowest_balance_is_that_of_every_prefix(changes: list[tuple[int, int]]) -> None:
    """Against trying all: after each recording, each prefix in order of time."""
    lowest = 0
    for recorded in range(1, len(changes) + 1):
        balance = 0
        for _, change in sorted(changes[:recorded], key=lambda pair: pair[0]):
            balance += change
            lowest = min(lowest, balance)
    assert lowest == lowest_balance([at for at, _ in changes], [n for _, n in changes])


def test_the_example_file_shows_every_kind_of_line(tmp_path: Path) -> None:
    """Newcomers see at once what is taken and what is refused."""
    text = (EXAMPLES / "order_lines.csv").read_text().split("\n", 1)[1]
    lines = translated(tmp_path, text)
    kinds = Counter(line.fault.code if line.fault else type(line.own).__name__ for line in lines)
    assert 60 <= kinds.total() <= 70
    assert {
        *("IssueStock", "ReceiveStock", "AdjustStock", "not_goods", "quantity_zero"),
        *("missing_sku", "bad_quantity", "bad_price", "no_such_local_time"),
    } == set(kinds)
