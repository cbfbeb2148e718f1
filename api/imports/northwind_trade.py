"""What Northwind did on each day, and what it must have bought to be able to.

The files tell of sales alone. That the goods were there is made up, by a rule that a reader can
check: each month, one purchase order to each supplier for what will be ordered of its products
in that month, placed in the middle of the month before and received on the first. The first of
them also brings a base stock: what the files say is in stock at the end. So at the end there
is available what the files say; what is reserved for orders that have not left is on hand
besides. A unit costs 60 % of the list price on the product's next order line, to the cent.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import date, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, NamedTuple

from api.imports.northwind import Northwind, Order, Product

COST_SHARE: Final = Decimal("0.60")
PLACED_ON: Final = 15
DELIVERY_DAYS: Final = 14
# When things happen on a day, on the warehouse's clocks.
PURCHASED_AT: Final = time(9)
RECEIVED_AT: Final = time(8)
ORDERED_AT: Final = time(12)
PAID_AT: Final = time(15)
SHIPPED_AT: Final = time(16)
_CENT: Final = Decimal("0.01")


class Bought(NamedTuple):
    product_id: int
    quantity: Decimal
    unit_cost: Decimal


class Purchase(NamedTuple):
    """An order to a supplier; ``number`` is what this calls it, as in ``1996-07/12``."""

    number: str
    supplier_id: int
    placed: date
    expected: date
    lines: tuple[Bought, ...]


class Day(NamedTuple):
    """What happened on one day, in this order."""

    date: date
    received: tuple[Purchase, ...]
    purchased: tuple[Purchase, ...]
    ordered: tuple[Order, ...]
    paid: tuple[Order, ...]
    shipped: tuple[Order, ...]


def days(northwind: Northwind) -> Iterator[Day]:
    """Yield each day on which anything happened, in order, from the first purchase on.

    An order is paid on the day after it was placed, or when it is shipped if that is sooner.
    """
    last_day = northwind.last_day
    purchases = monthly_purchases(northwind)
    received: defaultdict[date, list[Purchase]] = defaultdict(list)
    purchased: defaultdict[date, list[Purchase]] = defaultdict(list)
    for purchase in purchases:
        purchased[purchase.placed].append(purchase)
        received[purchase.expected].append(purchase)
    ordered: defaultdict[date, list[Order]] = defaultdict(list)
    paid: defaultdict[date, list[Order]] = defaultdict(list)
    shipped: defaultdict[date, list[Order]] = defaultdict(list)
    for order in northwind.orders:
        ordered[order.ordered].append(order)
        next_day = order.ordered + timedelta(days=1)
        paid[min(next_day, order.shipped or next_day)].append(order)
        if order.shipped is not None:
            shipped[order.shipped].append(order)
    for day in sorted({*received, *purchased, *ordered, *paid, *shipped}):
        if day <= last_day:
            yield Day(
                day,
                received=tuple(received[day]),
                purchased=tuple(purchased[day]),
                ordered=tuple(ordered[day]),
                paid=tuple(paid[day]),
                shipped=tuple(shipped[day]),
            )


def monthly_purchases(northwind: Northwind) -> list[Purchase]:
    """Return the purchase orders that all sales are served from, in the order of their dates."""
    wanted: defaultdict[date, defaultdict[int, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for order in northwind.orders:
        for line in order.lines:
            wanted[order.ordered.replace(day=1)][line.product_id] += line.quantity
    first = min(wanted)
    for product in northwind.products.values():
        if product.in_stock:
            wanted[first][product.product_id] += product.in_stock
    prices = _Prices(northwind)
    purchases: list[Purchase] = []
    for month, quantities in sorted(wanted.items()):
        placed = (month - timedelta(days=1)).replace(day=PLACED_ON)
        purchases += _by_supplier(northwind, prices, f"{month:%Y-%m}", placed, month, quantities)
    return purchases


def open_purchases(northwind: Northwind) -> list[Purchase]:
    """Return the purchase orders of the last day, for what the files say is on order."""
    placed = northwind.last_day
    quantities = {
        product.product_id: product.on_order
        for product in northwind.products.values()
        if product.on_order
    }
    expected = placed + timedelta(days=DELIVERY_DAYS)
    return _by_supplier(northwind, _Prices(northwind), "open", placed, expected, quantities)


def list_cost(product: Product) -> Decimal:
    """Return what one of a product costs by its list price of today."""
    return _cost(product.list_price)


# --- parts ------------------------------------------------------------------------------


class _Prices:
    """The list prices that the order lines show, which changed over the years."""

    def __init__(self, northwind: Northwind) -> None:
        self._products = northwind.products
        self._shown: defaultdict[int, list[tuple[date, Decimal]]] = defaultdict(list)
        for order in northwind.orders:
            for line in order.lines:
                self._shown[line.product_id].append((order.ordered, line.list_price))

    def next_after(self, product_id: int, day: date) -> Decimal:
        """Return the price on the next order line from a day on; else the product's own."""
        for ordered, price in self._shown[product_id]:
            if ordered >= day:
                return price
        return self._products[product_id].list_price


def _by_supplier(
    northwind: Northwind,
    prices: _Prices,
    label: str,
    placed: date,
    expected: date,
    quantities: "defaultdict[int, Decimal] | dict[int, Decimal]",
) -> list[Purchase]:
    lines: defaultdict[int, list[Bought]] = defaultdict(list)
    for product_id, quantity in sorted(quantities.items()):
        cost = _cost(prices.next_after(product_id, expected))
        supplier_id = northwind.products[product_id].supplier_id
        lines[supplier_id].append(Bought(product_id, quantity, cost))
    return [
        Purchase(f"{label}/{supplier_id}", supplier_id, placed, expected, tuple(bought))
        for supplier_id, bought in sorted(lines.items())
    ]


def _cost(price: Decimal) -> Decimal:
    return (price * COST_SHARE).quantize(_CENT, ROUND_HALF_UP)
