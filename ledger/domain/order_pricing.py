"""What a line of an order costs: the price given, else the customer's tier's, else the list's.

Prices are kept per one of the product's own unit. Nothing is rounded but what a tier takes off
the list price, which is brought to the six digits that a price may have.
"""

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from ledger.domain.decision import InvalidCommand
from ledger.domain.price_tier import PriceTierState
from ledger.domain.product import ProductState
from ledger.domain.refusals_orders import OrderTotalOutOfBounds
from schemas.common import DECIMAL_LIMIT, FRACTION_DIGITS_MAX
from schemas.customer import TierPrice
from schemas.order import OrderLine, OrderLineEntry, PriceSource

# A quantity times a price has 36 digits, and an order's sum of 500 of them 39.
_EXACT: Final = Context(prec=60)
_QUANTUM: Final = Decimal(1).scaleb(-FRACTION_DIGITS_MAX)
_HUNDRED: Final = Decimal(100)
_ONE: Final = Decimal(1)


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
) -> Price | InvalidCommand:
    """Return what a line costs; ``quantity`` is what it is of the product's own unit."""
    if entry.unit_price is not None:
        return _given(entry, entry.unit_price, index, product, quantity)
    if tier is not None:
        special = _special(tier.prices, product.product_id, quantity)
        if special is not None:
            return Price(special.unit_price, "tier")
        if tier.discount_percent:
            share = _EXACT.divide(_HUNDRED - tier.discount_percent, _HUNDRED)
            full = _EXACT.multiply(product.base_price, share)
            rounded = full.quantize(_QUANTUM, ROUND_HALF_EVEN, context=_EXACT)
            return Price(_plain(rounded), "tier")
    return Price(product.base_price, "list")


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
    exact = Fraction(price) * Fraction(entry.quantity) / Fraction(quantity)
    count = exact * 10**FRACTION_DIGITS_MAX
    if count.denominator != 1 or exact >= DECIMAL_LIMIT:
        fault = (
            f"{price:f} for one {entry.unit} is no exact price of one {product.unit} with "
            f"{FRACTION_DIGITS_MAX} digits behind the point; order in {product.unit}, at its "
            f"price"
        )
        return InvalidCommand(field=f"lines[{index}].unit_price", fault=fault)
    return Price(_plain(Decimal(count.numerator).scaleb(-FRACTION_DIGITS_MAX)), "given")


def total_amount(lines: Iterable[OrderLine]) -> Decimal | OrderTotalOutOfBounds:
    """Return the exact sum of quantity times price, or the refusal of one that is too large."""
    total = Decimal(0)
    for line in lines:
        total = _EXACT.add(total, _EXACT.multiply(line.quantity, line.unit_price))
    if total >= DECIMAL_LIMIT:
        return OrderTotalOutOfBounds(total_amount=total)
    return _plain(total)


def _plain(value: Decimal) -> Decimal:
    """Return a decimal without zeros at its end, and without an exponent."""
    plain = value.normalize(_EXACT)
    exponent = plain.as_tuple().exponent
    if isinstance(exponent, int) and exponent > 0:
        return plain.quantize(_ONE, context=_EXACT)
    return plain
