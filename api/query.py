"""Query parameters: declared once for the route and for OpenAPI, and parsed strictly.

Unknown parameters are ignored, as in seed 003's service, but where a route asks for
`refuse_unknown`; a wrong value of a known one is refused with its name.
"""

from datetime import UTC, date, datetime
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from api.problems import Problem

ParameterKind = Literal["integer", "boolean", "string", "date", "instant", "instant_or_position"]
QUERY_BYTES_MAX: Final = 8192
PAGE_MAX: Final = 1_000_000
ID_MAX: Final = 2**53 - 1


class Parameter(NamedTuple):
    """A query parameter: ``maximum`` bounds an integer's value and a string's length."""

    name: str
    kind: ParameterKind
    description: str
    default: Any = None
    minimum: int = 0
    maximum: int = ID_MAX
    values: tuple[str, ...] = ()
    required: bool = False

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        schema: dict[str, Any]
        if self.kind == "integer":
            schema = {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}
        elif self.kind == "boolean":
            schema = {"type": "boolean"}
        elif self.kind == "instant":
            schema = {"type": "string", "format": "date-time"}
        elif self.kind == "instant_or_position":
            schema = {
                "anyOf": [
                    {"type": "integer", "minimum": 0, "maximum": self.maximum},
                    {"type": "string", "format": "date-time"},
                ]
            }
        elif self.kind == "date":
            schema = {"type": "string", "format": "date"}
        else:
            schema = {"type": "string", "maxLength": min(self.maximum, 1000)}
            if self.required:
                schema["minLength"] = 1
            if self.values:
                schema = {"type": "string", "enum": list(self.values)}
        if self.default is not None:
            schema["default"] = self.default
        return schema


PAGE: Final = Parameter("page", "integer", "Page number, from 1", 1, 1, PAGE_MAX)
LIMIT: Final = Parameter("limit", "integer", "Results per page", 50, 1, 200)
MIN_POSITION: Final = Parameter(
    "min_position",
    "integer",
    "Answer from a state at this ledger position or later; waits up to 2 seconds for it",
)


def parse_query(raw: bytes, parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """Return every declared parameter's value, or its default; raise Problem (400) naming it."""
    values: dict[str, Any] = {parameter.name: parameter.default for parameter in parameters}
    if not raw:
        given: dict[str, str] = {}
    else:
        if len(raw) > QUERY_BYTES_MAX:
            raise Problem("invalid_parameter", "The query is too long; send fewer parameters.")
        try:
            pairs = parse_qsl(
                raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100
            )
        except ValueError:
            raise Problem("invalid_parameter", "The query is not percent-encoded UTF-8.") from None
        given = dict(pairs)
    for parameter in parameters:
        text = given.get(parameter.name)
        if text is None or (text == "" and not parameter.required):
            if parameter.required:
                raise Problem(
                    "invalid_parameter",
                    f"{parameter.name}: is missing; add ?{parameter.name}=… to the address.",
                    field=parameter.name,
                )
            continue
        values[parameter.name] = _parse(parameter, text)
    return values


def refuse_unknown(raw: bytes, parameters: tuple[Parameter, ...]) -> None:
    """Raise Problem (400) naming what a query has that is none of the parameters.

    For routes that no seed has: a misspelt filter would otherwise give everything. To be called
    after `parse_query`, which has bounded the query.
    """
    known = {parameter.name for parameter in parameters}
    given = dict(parse_qsl(raw.decode("ascii"), keep_blank_values=True))
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise Problem(
            "invalid_parameter",
            f"{unknown[:60]!r} is no parameter here; there are {', '.join(sorted(known))}.",
            field=unknown[:60],
        )


def _parse(parameter: Parameter, text: str) -> Any:
    if parameter.kind == "integer":
        number = parse_integer(text)
        if number is None or not parameter.minimum <= number <= parameter.maximum:
            raise _wrong(
                parameter, f"a whole number from {parameter.minimum} to {parameter.maximum}"
            )
        return number
    if parameter.kind == "boolean":
        flag = {"true": True, "1": True, "false": False, "0": False}.get(text)
        if flag is None:
            raise _wrong(parameter, "true or false")
        return flag
    if parameter.kind == "instant":
        return _instant(parameter, text)
    if parameter.kind == "instant_or_position":
        position = parse_integer(text)
        return _instant(parameter, text) if position is None else position
    if parameter.kind == "date":
        return _date(parameter, text)
    if parameter.values and text not in parameter.values:
        raise _wrong(parameter, "one of " + ", ".join(parameter.values))
    if "\x00" in text or len(text) > min(parameter.maximum, 1000) or not text:
        raise _wrong(parameter, f"text of 1 to {min(parameter.maximum, 1000)} characters")
    return text


def parse_integer(text: str) -> int | None:
    """Return the number that plain ASCII digits spell, up to 2**53 - 1; None for anything else."""
    if not text.isascii() or not text.isdigit() or len(text) > 16:
        return None
    number = int(text)
    return number if number <= ID_MAX else None


def _instant(parameter: Parameter, text: str) -> datetime:
    # A plus that was not percent-encoded arrives as a space.
    text = text.replace(" ", "+")
    try:
        value = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        raise _wrong(parameter, "a time such as 2026-05-06T12:00:00Z") from None
    if value.tzinfo is None:
        raise _wrong(parameter, "a time with its zone, such as 2026-05-06T12:00:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise _wrong(parameter, "a time between the years 1 and 9999") from None


def _date(parameter: Parameter, text: str) -> date:
    try:
        return msgspec.convert(text, date)
    except msgspec.ValidationError:
        raise _wrong(parameter, "a date such as 2026-05-06") from None


def _wrong(parameter: Parameter, right: str) -> Problem:
    return Problem("invalid_parameter", f"{parameter.name}: must be {right}.", field=parameter.name)
