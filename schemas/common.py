"""The parts every command and event is made of, and the bounds their values keep.

Numbers are decimals with at most 12 digits before the point and 6 behind (invariant I7):
wide enough for any stock figure or price, narrow enough that a sum of a billion of them
is exact in PostgreSQL's ``numeric`` and in Python's ``decimal``.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

INTEGER_DIGITS_MAX: Final = 12
FRACTION_DIGITS_MAX: Final = 6
DECIMAL_LIMIT: Final = Decimal(10) ** INTEGER_DIGITS_MAX
_LOWEST: Final = -DECIMAL_LIMIT
_WHOLE: Final = Decimal(1)
_CENT: Final = Decimal("0.01")
DECIMAL_RULE: Final = (
    f"a plain decimal with at most {INTEGER_DIGITS_MAX} digits before the point "
    f"and {FRACTION_DIGITS_MAX} behind"
)

Id = Annotated[int, Meta(ge=1, le=2**53 - 1, description="An identifier, counted per tenant")]
Sku = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Code = Annotated[str, Meta(min_length=1, max_length=50, pattern=r"^[^\x00-\x1f\x7f]+$")]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
ShortText = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]
LongText = Annotated[str, Meta(max_length=2000, pattern=r"^[^\x00]*$")]
Instant = Annotated[datetime, Meta(tz=True)]


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client asks for, in the imperative. ``TYPE`` names it in ``/api/ledger/commands``."""

    TYPE: ClassVar[str]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact, in the past tense of the trade.

    ``TYPE`` is the storage format's name of it: never change one that has been stored.
    ``SCHEMA_VERSION`` goes up when the shape changes, together with an upcaster from the
    version before and a golden file of the new one. ``READS_FROM`` is the first version that
    needs no upcaster, since those after it only added fields with defaults that say what was so
    before; 0 stands for
    ``SCHEMA_VERSION`` itself.
    """

    TYPE: ClassVar[str]
    SCHEMA_VERSION: ClassVar[int] = 1
    READS_FROM: ClassVar[int] = 0


def exact(field: str, value: Decimal) -> Decimal:
    """Return ``value`` in plain notation; raise ValueError when it breaks ``DECIMAL_RULE``.

    The comparison comes first: it is also what refuses NaN and the infinities, whose
    exponents are letters.
    """
    if not value.is_finite() or not (_LOWEST < value < DECIMAL_LIMIT):
        raise ValueError(f"{field} must be {DECIMAL_RULE}")
    # Whole numbers and cents, as nearly all are; to take a decimal apart costs much more.
    if value.same_quantum(_WHOLE) or value.same_quantum(_CENT):
        return value
    exponent = value.as_tuple().exponent
    if exponent == 0:
        return value
    if not isinstance(exponent, int) or exponent < -FRACTION_DIGITS_MAX:
        raise ValueError(f"{field} must be {DECIMAL_RULE}")
    return value.quantize(Decimal(1)) if exponent > 0 else value


def keep_exact(struct: msgspec.Struct, field: str, value: Decimal | None) -> Decimal | None:
    """Bound a decimal field from a struct's ``__post_init__`` and store it in plain notation."""
    if value is None:
        return None
    plain = exact(field, value)
    if plain is not value:
        msgspec.structs.force_setattr(struct, field, plain)
    return plain


def keep_amount(struct: msgspec.Struct, field: str, value: Decimal | None) -> None:
    """Bound an amount of money from a struct's ``__post_init__``: exact, and not below zero."""
    plain = keep_exact(struct, field, value)
    if plain is not None and plain < 0:
        raise ValueError(f"{field} must not be below zero")


def require_positive(field: str, value: Decimal) -> None:
    """Raise ValueError unless ``value`` is above zero."""
    if value <= 0:
        raise ValueError(f"{field} must be above zero")


def require_at_most_one(first: str, first_value: object, second: str, second_value: object) -> None:
    """Raise ValueError when both of two alternative fields are given."""
    if first_value is not None and second_value is not None:
        raise ValueError(f"give only one of {first} and {second}")


def require_one(first: str, first_value: object, second: str, second_value: object) -> None:
    """Raise ValueError unless exactly one of two alternative fields is given."""
    if (first_value is None) == (second_value is None):
        problem = "give exactly one of" if first_value is None else "give only one of"
        raise ValueError(f"{problem} {first} and {second}")
