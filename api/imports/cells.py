"""Cells into exact values, and back into cells that no spreadsheet will run."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from api.imports.tables import Cell
from schemas.common import DECIMAL_RULE, exact

_PLAIN_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII)
YEAR_MIN: Final = 1900
YEAR_MAX: Final = 2999
_SIGNIFICANT_DIGITS: Final = 15  # what a worksheet shows of a binary number


class Unusable(Exception):
    """A cell cannot stand for what is wanted. ``code`` sorts it, ``detail`` tells a person."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def text_of(cell: Cell) -> str:
    """Return a cell as trimmed text, control characters made blanks, 71053.0 made 71053."""
    match cell:
        case None:
            return ""
        case str():
            return _CONTROL.sub(" ", cell).strip()
        case float():
            return f"{cell:.{_SIGNIFICANT_DIGITS}g}"
        case datetime():
            return cell.isoformat(sep=" ")
        case _:
            return str(cell)


def decimal_of(column: str, cell: Cell) -> Decimal:
    """Return a cell as an exact decimal; raise Unusable(``bad_<column>``) when it is none.

    A worksheet keeps 2.55 as the nearest binary number and shows 15 digits of it, so those
    15 digits are what its author wrote. Text must be a plain decimal: no thousands marks, no
    currency signs, no exponent.
    """
    match cell:
        case float():
            plain = f"{Decimal(f'{cell:.{_SIGNIFICANT_DIGITS}g}'):f}"
        case bool() | datetime():
            plain = ""
        case _:
            plain = text_of(cell)
    # A number of 40 digits is no number here; the length also bounds the work of parsing it.
    if len(plain) > 40 or _PLAIN_DECIMAL.fullmatch(plain) is None:
        raise _unusable(column, cell, DECIMAL_RULE)
    try:
        return exact(column, Decimal(plain))
    except ValueError as error:
        raise _unusable(column, cell, DECIMAL_RULE) from error


def instant_of(column: str, cell: Cell, zone: ZoneInfo, date_format: str | None) -> datetime:
    """Return a cell as an instant in UTC; raise Unusable when there is no such instant.

    Text is ISO 8601 unless ``date_format`` (as for strptime) says otherwise; an offset in the
    text is believed. A time without one is on the clocks of ``zone``. Where clocks went back
    and showed it twice, it is the first of the two. A time that clocks skipped is refused:
    no clock there showed it, so either the time or the zone is wrong.
    """
    if isinstance(cell, datetime):
        local = cell
    else:
        text = text_of(cell)
        try:
            if not isinstance(cell, str):
                raise ValueError("no date")
            local = (
                datetime.fromisoformat(text)
                if date_format is None
                else datetime.strptime(text, date_format)  # noqa: DTZ007 - given a zone below
            )
        except ValueError as error:
            wanted = "an ISO 8601 date and time" if date_format is None else date_format
            raise _unusable(column, cell, wanted) from error
    if not YEAR_MIN <= local.year <= YEAR_MAX:
        raise _unusable(column, cell, f"a time in {YEAR_MIN} to {YEAR_MAX}")
    if local.tzinfo is not None:
        return local.astimezone(UTC)
    instant = _first_instant(local, zone)
    if instant is None:
        raise Unusable(
            "no_such_local_time", f"clocks in {zone.key} never showed {local.isoformat(sep=' ')}"
        )
    return instant


@lru_cache(maxsize=4_096)  # the lines of one document share their time
def _first_instant(local: datetime, zone: ZoneInfo) -> datetime | None:
    """Return the first instant at which clocks of a zone showed a time, if they ever did."""
    instant = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    shown = instant.astimezone(zone).replace(tzinfo=None, fold=0)
    return instant if shown == local else None


def truth_of(column: str, cell: Cell) -> bool:
    """Return a yes-or-no cell; blank is no. Raises Unusable on anything unclear."""
    text = text_of(cell).casefold()
    if text in ("", "0", "n", "no", "f", "false"):
        return False
    if text in ("1", "y", "yes", "t", "true"):
        return True
    raise _unusable(column, cell, "yes or no")


def _unusable(column: str, cell: Cell, wanted: str) -> Unusable:
    return Unusable(f"bad_{column}", f"{column}: {text_of(cell)[:60]!r} is not {wanted}")


def harmless(text: str) -> str:
    """Return text that a spreadsheet will show and never run: formulas get a leading quote.

    Plain numbers stay as they are, also negative ones.
    """
    if text.startswith(_FORMULA_STARTS) and _NUMBER.fullmatch(text) is None:
        return f"'{text}"
    return text
