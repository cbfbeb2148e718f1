"""What sales orders and purchase orders have in common: what their lines name, and amounts.

Quantities, prices and costs are kept per one of a product's own unit. Amounts are exact.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final, Protocol

from ledger.aliases import DEFAULT_LOCATION, LOCATION, SKU, fold
from ledger.domain.decision import (
    Alias,
    LocationNotFound,
    Names,
    ProductNotFound,
    Refs,
    Refusal,
)
from schemas.common import DECIMAL_LIMIT, FRACTION_DIGITS_MAX

# A quantity times a price has 36 digits, and a sum of 500 of them 39.
EXACT: Final = Context(prec=60)
_ONE: Final = Decimal(1)
_ZERO: Final = Decimal(0)


class _Entry(Protocol):
    """A line as a client writes it: its product is named by its id or its SKU."""

    @property
    def product_id(self) -> int | None: ...

    @property
    def sku(self) -> str | None: ...


class _Order(Protocol):
    """A command with such lines, for a location that it may name by its id or its name."""

    @property
    def lines(self) -> Sequence[_Entry]: ...

    @property
    def location_id(self) -> int | None: ...

    @property
    def location(self) -> str | None: ...


def resolve(command: _Order, names: Names) -> Refs | Refusal:
    """Return the ids of the lines' products and of the location: the named or the default one.

    The location is 0 where none is named and there is no default one.
    """
    wanted: list[Alias] = [(SKU, fold(line.sku)) for line in command.lines if line.sku is not None]
    location_id = command.location_id
    place: Alias = (DEFAULT_LOCATION, "")
    if command.location is not None:
        place = (LOCATION, fold(command.location))
    if location_id is None:
        wanted.append(place)
    found: Mapping[Alias, int | None] = names.find_aliases(wanted) if wanted else {}
    products: list[int] = []
    for line in command.lines:
        product_id = line.product_id
        if line.sku is not None:
            product_id = found[SKU, fold(line.sku)]
            if product_id is None:
                return ProductNotFound(sku=line.sku)
        assert product_id is not None, "a line has one of product_id and sku"
        products.append(product_id)
    if location_id is None:
        location_id = found[place]
        if location_id is None and command.location is not None:
            return LocationNotFound(location=command.location)
    return Refs(location_id=location_id or 0, products=tuple(products))


# --- amounts ----------------------------------------------------------------------------


def of_own_unit(amount: Decimal, entered: Decimal, quantity: Decimal) -> Decimal | None:
    """Return what one of a product's own unit costs, None where that is not exact.

    ``amount`` is for one of the unit that ``entered`` was given in, which is ``quantity`` of the
    product's own.
    """
    exact = Fraction(amount) * Fraction(entered) / Fraction(quantity)
    count = exact * 10**FRACTION_DIGITS_MAX
    if count.denominator != 1 or exact >= DECIMAL_LIMIT:
        return None
    return plain(Decimal(count.numerator).scaleb(-FRACTION_DIGITS_MAX))


def total(lines: Iterable[tuple[Decimal, Decimal]]) -> Decimal:
    """Return the exact sum of quantities times amounts; it may be beyond the limit."""
    amount = _ZERO
    for quantity, each in lines:
        amount = EXACT.fma(quantity, each, amount)
    return plain(amount)


def plain(value: Decimal) -> Decimal:
    """Return a decimal without zeros at its end, and without an exponent."""
    short = value.normalize(EXACT)
    exponent = short.as_tuple().exponent
    if isinstance(exponent, int) and exponent > 0:
        return short.quantize(_ONE, context=EXACT)
    return short
