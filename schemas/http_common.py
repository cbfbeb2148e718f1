"""What HTTP replies are made of: exact numbers, money as text, messages and problems."""

from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

Quantity = Annotated[
    Decimal,
    Meta(
        description="A quantity, exact, as a JSON number",
        extra_json_schema={"type": "number", "format": "decimal"},
    ),
]
Amount = Annotated[
    Decimal,
    Meta(
        description="An amount of money, exact, as a JSON number",
        extra_json_schema={"type": "number", "format": "decimal"},
    ),
]
Money = Annotated[
    str,
    Meta(
        description="An amount of money, exact, as text with at least two decimals",
        extra_json_schema={"pattern": r"^-?[0-9]+\.[0-9]{2,}$"},
    ),
]
PlainDecimal = Annotated[
    str,
    Meta(
        description="A decimal, exact, as text",
        extra_json_schema={"pattern": r"^-?[0-9]+(\.[0-9]+)?$"},
    ),
]


class MessageReply(msgspec.Struct, frozen=True, kw_only=True):
    """That it is done, in words."""

    message: str


class ProblemReply(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457, with ``error`` for clients of seed 003's API. Kinds add members of their own."""

    type: Annotated[str, Meta(description="What kind of problem, see /problems")]
    title: str
    status: int
    detail: Annotated[str, Meta(description="What is wrong here, and the way out")]
    error: str
    code: str
    field: str | msgspec.UnsetType = msgspec.UNSET


class ProblemKindReply(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of problem in the list at /problems."""

    type: str
    code: str
    title: str
    status: int


class ProblemKindsReply(msgspec.Struct, frozen=True, kw_only=True):
    problems: list[ProblemKindReply]


class HealthReply(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    checks: dict[str, Any] = {}
