"""Rounding amounts of money so that a column of them still adds up."""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

CENT: Final = Decimal("0.01")
_WIDE: Final = Context(prec=80)
_DIGITS: Final = 12
"""Digits behind the point that an amount may have here: a price times a quantity."""


def cents(amount: Decimal) -> Decimal:
    """Return one amount in whole cents; half a cent goes away from zero."""
    return amount.quantize(CENT, ROUND_HALF_UP, _WIDE)


def in_cents(amounts: Sequence[Decimal]) -> list[Decimal]:
    """Return amounts in whole cents that add up to the rounded sum of them all.

    Each is rounded down, and the cents that are then missing go to those with the largest
    remainders; among equals to the first.
    """
    exact = [int(amount.scaleb(_DIGITS, _WIDE)) for amount in amounts]
    total = int(cents(Decimal(sum(exact)).scaleb(-_DIGITS, _WIDE)).scaleb(2, _WIDE))
    parts = by_largest_remainder(exact, 10 ** (_DIGITS - 2), total)
    return [Decimal(part).scaleb(-2, _WIDE) for part in parts]


def by_largest_remainder(numerators: Sequence[int], denominator: int, total: int) -> list[int]:
    """Return whole numbers that add up to ``total``, each within one of its fraction.

    ``total`` is the sum of the fractions, rounded; ``denominator`` is above zero.
    """
    parts: list[int] = []
    remainders: list[int] = []
    for numerator in numerators:
        part, remainder = divmod(numerator, denominator)
        parts.append(part)
        remainders.append(remainder)
    missing = total - sum(parts)
    for index in sorted(range(len(parts)), key=lambda i: -remainders[i])[:missing]:
        parts[index] += 1
    return parts
