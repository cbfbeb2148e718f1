"""Northwind's files, and the trade they stand for: read exactly, bought ahead of need."""

from collections import Counter, defaultdict
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from api.imports.northwind import Northwind, read_northwind
from api.imports.northwind_trade import Day, days, list_cost, monthly_purchases, open_purchases
from api.imports.tables import UnreadableFile
from deploy.commands import demo
from tests.support.northwind import FILES, write_northwind


@pytest.fixture
def northwind(tmp_path: Path) -> Northwind:
    """The small company."""
    return read_northwind(write_northwind(tmp_path / "files"))


def test_what_is_charged_is_the_price_less_the_discount_exactly(northwind: Northwind) -> None:
    """To the last digit: 14.4 less a quarter is 10.8, 20 less 5 % is 19."""
    charged = {
        (order.order_id, line.product_id): line.charged
        for order in northwind.orders
        for line in order.lines
    }
    assert charged[10249, 1] == Decimal("10.80")
    assert charged[10248, 3] == Decimal(19)
    assert charged[10250, 1] == Decimal("15.3")


def test_orders_come_in_the_order_of_their_dates(tmp_path: Path) -> None:
    """However the file has them."""
    header, *lines = FILES["orders"].splitlines()
    folder = write_northwind(tmp_path / "files", orders="\n".join([header, *reversed(lines)]))
    northwind = read_northwind(folder)
    assert [order.order_id for order in northwind.orders] == [10248, 10249, 10250, 10251, 10252]
    assert northwind.last_day == date(1996, 8, 14)


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("orders", "1996-08-10", "10/08/1996", "orders.csv, line 4: order_date"),
        ("orders", "1996-08-14,Alfreds", "1996-08-09,Alfreds", "line 4: was shipped before"),
        ("orders", "BERGS,1996-07-31", "NOBODY,1996-07-31", "orders.csv: there is no customer"),
        ("orders", "10249", "10248", "line 3: 10248 is there twice"),
        ("order_details", "10252,2", "10252,9", "line 8: there is no product 9"),
        ("order_details", "10252,2,19,2,0", "", "orders.csv, line 6: has no lines"),
        ("order_details", "19,2,0", "19,2,1.5", "line 8: a discount is a part of 1"),
        ("order_details", "19,2,0", "19,-2,0", "line 8: quantity is below zero"),
        ("order_details", "19,2,0", "19,two,0", "line 8: quantity: 'two'"),
        ("products", "Chai,1,1", "Chai,7,1", "products.csv: there is no supplier 7"),
        ("products", "Chai,1,1", "Chai,1,9", "products.csv: there is no category 9"),
        ("products", "Chai", "", "line 2: has no product_name"),
        ("products", "25,1", "25,perhaps", "line 4: discontinued"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, name: str, old: str, new: str, told: str
) -> None:
    """By file and line, before anything is sent."""
    assert FILES[name].count(old) >= 1
    folder = write_northwind(tmp_path / "files", **{name: FILES[name].replace(old, new, 1)})
    with pytest.raises(UnreadableFile, match=told.replace("(", r"\(")):
        read_northwind(folder)


def test_a_folder_without_the_files_is_told_what_it_lacks(tmp_path: Path) -> None:
    """A file in its place, or one of the files missing."""
    with pytest.raises(UnreadableFile, match=r"is not a folder; it should have categories\.csv"):
        read_northwind(tmp_path / "nowhere")
    folder = write_northwind(tmp_path / "files")
    (folder / "orders.csv").unlink()
    with pytest.raises(UnreadableFile, match=r"orders\.csv: No such file"):
        read_northwind(folder)


def test_a_months_goods_are_bought_of_each_supplier_in_the_month_before(
    northwind: Northwind,
) -> None:
    """The first time with the base stock; at 60 % of the list price of the next order line."""
    told = [
        (each.number, each.placed, each.expected, [tuple(line) for line in each.lines])
        for each in monthly_purchases(northwind)
    ]
    june, july = date(1996, 6, 15), date(1996, 7, 1)
    assert told == [
        (
            "1996-07/1",
            june,
            july,
            [(1, Decimal(12 + 1 + 39), Decimal("8.64")), (2, Decimal(9 + 17), Decimal("9.12"))],
        ),
        ("1996-07/2", june, july, [(3, Decimal(5), Decimal("12.00"))]),
        (
            "1996-08/1",
            date(1996, 7, 15),
            date(1996, 8, 1),
            [(1, Decimal(40), Decimal("10.80")), (2, Decimal(2), Decimal("11.40"))],
        ),
        ("1996-08/2", date(1996, 7, 15), date(1996, 8, 1), [(3, Decimal(7), Decimal("15.00"))]),
    ]


def test_what_is_on_order_is_bought_on_the_last_day(northwind: Northwind) -> None:
    """At the list price of today, to come in two weeks."""
    (purchase,) = open_purchases(northwind)
    last = date(1996, 8, 14)
    assert (purchase.supplier_id, purchase.placed) == (1, last)
    assert purchase.expected == last + timedelta(days=14)
    assert purchase.lines == ((2, Decimal(40), list_cost(northwind.products[2])),)


def test_an_order_is_paid_the_day_after_or_when_it_leaves(northwind: Northwind) -> None:
    """Whichever is sooner; that of the last day is not paid yet."""
    story = list(days(northwind))
    paid = {order.order_id: day.date.day for day in story for order in day.paid}
    assert paid == {10248: 31, 10249: 31, 10250: 11, 10251: 14}
    shipped = {order.order_id: day.date for day in story for order in day.shipped}
    assert shipped == {o.order_id: o.shipped for o in northwind.orders if o.shipped}


def test_no_order_ever_lacks_goods(northwind: Northwind) -> None:
    """Day by day; and at the end there is available what the file says is in stock."""
    assert available_at_the_end(list(days(northwind))) == {1: 39, 2: 17, 3: 0}


@pytest.mark.data
def test_the_real_company_never_lacks_goods(test_data: Path) -> None:
    """830 orders with 2,155 lines."""
    northwind = read_northwind(test_data / "northwind")
    assert len(northwind.orders) == 830
    assert sum(len(order.lines) for order in northwind.orders) == 2155
    story = list(days(northwind))
    assert available_at_the_end(story) == {
        number: product.in_stock for number, product in northwind.products.items()
    }
    counts = Counter({part: len(value) for part, value in _parts(story).items()})
    assert counts["ordered"] == 830
    assert counts["shipped"] == 809


def _parts(story: list[Day]) -> dict[str, list[object]]:
    parts: defaultdict[str, list[object]] = defaultdict(list)
    for day in story:
        for part in ("received", "purchased", "ordered", "paid", "shipped"):
            parts[part] += getattr(day, part)
    return parts


def available_at_the_end(story: list[Day]) -> dict[int, Decimal]:
    """Receive and reserve as the days say; fail where more is reserved than there is."""
    available: defaultdict[int, Decimal] = defaultdict(Decimal)
    purchased: set[str] = set()
    for day in story:
        for purchase in day.received:
            assert purchase.number in purchased
            for bought in purchase.lines:
                available[bought.product_id] += bought.quantity
        purchased |= {purchase.number for purchase in day.purchased}
        for order in day.ordered:
            for line in order.lines:
                available[line.product_id] -= line.quantity
                assert available[line.product_id] >= 0, (day.date, order.order_id)
    return dict(available)


def test_the_command_tells_what_is_wrong_with_the_folder(tmp_path: Path) -> None:
    """Before a database is opened; and without a name the demo is the made-up shop."""
    refused = CliRunner().invoke(demo.command, ["northwind", "--from", str(tmp_path / "nowhere")])
    assert refused.exit_code == 1
    assert "folder" in refused.output
    assert "categories.csv" in refused.output
    shop = CliRunner().invoke(demo.command, ["--years", "0"])
    assert shop.exit_code == 2
    assert "1<=x<=20" in shop.output
