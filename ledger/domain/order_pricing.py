"""What a line of an order costs: the price given, else the customer's tier's, else the list's.

The list's price is that of the location where the line is looked for first, the sale price before
the regular one, where its listing says one; else the product's base price. A tier's special price
comes before it, and a tier's percentage is taken off it.

Prices are kept per one of the product's own unit. Nothing is rounded but what a tier takes off
the list price, which is brought to the six digits that a price may have.
"""

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, NamedTuple

from ledger.domain import trading
from ledger.domain.decision import InvalidCommand
from ledger.domain.price_tier import PriceTierState
from ledger.domain.product import ProductState
from ledger.domain.refusals_orders import OrderTotalOutOfBounds
from schemas.common import DECIMAL_LIMIT, FRACTION_DIGITS_MAX
from schemas.customer import TierPrice
from schemas.order import OrderLine, OrderLineEntry, PriceSource

_QUANTUM: Final = Decimal(1).scaleb(-FRACTION_DIGITS_MAX)
_HUNDRED: Final = Decimal(100)


class Price(NamedTuple):
    """What one of a product's own unit costs, and what says so."""

    unit_price: Decimal
    source: PriceSource


def price_of(
    entry: OrderLineEntry,
    index: int,
    product: ProductState,
    quantity: Decimal,
    tier: PriceTierState | None,
    listed: Decimal | None = None,
) -> Price | InvalidCommand:
    """Return what a line costs; ``quantity`` is what it is of the product's own unit.

    ``listed`` is the price of the location's listing, where it says one.
    """
    if entry.unit_price is not None:
        return _given(entry, entry.unit_price, index, product, quantity)
    if tier is not None:
        special = _special(tier.prices, product.product_id, quantity)
        if special is not None:
            return Price(special.unit_price, "tier")
        if tier.discount_percent:
            share = trading.EXACT.divide(_HUNDRED - tier.discount_percent, _HUNDRED)
            full = trading.EXACT.multiply(product.base_price if listed is None else listed, share)
            rounded = full.quantize(_QUANTUM, ROUND_HALF_EVEN, context=trading.EXACT)
            return Price(trading.plain(rounded), "tier")
    return Price(product.base_price, "list") if listed is None else Price(listed, "listing")


def _special(prices: Iterable[TierPrice], product_id: int, quantity: Decimal) -> TierPrice | None:
    """Return the tier's price of a product for a quantity: that of the highest minimum reached."""
    reached = [
        price
        for price in prices
        if price.product_id == product_id and price.min_quantity <= quantity
    ]
    return max(reached, key=lambda price: price.min_quantity, default=None)


def _given(
    entry: OrderLineEntry,
    price: Decimal,
    index: int,
    product: ProductState,
    quantity: Decimal,
) -> Price | InvalidCommand:
    if quantity == entry.quantity:
        return Price(price, "given")
    # So many base units are one entered unit, so the price of one is that much smaller.
    converted = trading.of_own_unit(price, entry.quantity, quantity)
    if converted is None:
        fault = (
            f"{price:f} for one {entry.unit} is no exact price of one {product.unit} with "
            f"{FRACTION_DIGITS_MAX} digits behind the point; order in {product.unit}, at its "
            f"price"
        )
        return InvalidCommand(field=f"lines[{index}].unit_price", fault=fault)
    return Price(converted, "given")


def total_amount(lines: Iterable[OrderLine]) -> Decimal | OrderTotalOutOfBounds:
    """Return the exact sum of quantity times price, or the refusal of one that is too large."""
    total = trading.total((line.quantity, line.unit_price) for line in lines)
    return OrderTotalOutOfBounds(total_amount=total) if total >= DECIMAL_LIMIT else total
