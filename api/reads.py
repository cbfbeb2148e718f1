"""Reading: one transaction a request, which sees one tenant and checks the credential again."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from decimal import Context, Decimal
from typing import Any, Final, Literal, NamedTuple, cast
from urllib.parse import unquote

from api.context import Call
from api.problems import Problem
from api.query import parse_integer
from api.reply import Headers, Reply, encode
from ledger.store import Connection, tenant_transaction
from projections.past import Moment

MIN_POSITION_WAIT_S: Final = 2.0
_POLL_S: Final = 0.02

_HEAD = "SELECT position FROM ledger.head WHERE tenant_id = $1"
# A projection without a checkpoint has folded nothing yet.
_FOLDED = """
SELECT min(coalesce(c.position, 0))
FROM unnest($2::text[]) AS wanted (name)
LEFT JOIN projections.checkpoint c ON c.tenant_id = $1 AND c.name = wanted.name
"""


class Reading(NamedTuple):
    """An open transaction: its connection, its tenant, and the position that it sees.

    Where following projections are read, it is the position that all of them have reached. Where
    a ``moment`` was asked for (`api.past`) it is that of the moment, and ``now`` its time.
    """

    connection: Connection
    tenant_id: int
    position: int
    moment: Moment | None = None
    now: datetime | None = None

    def has(self, position: int, effective_at: datetime) -> bool:
        """Tell whether something had been recorded, and had happened, by the moment."""
        if self.moment is None:
            return True
        as_of = self.moment.as_of
        return position <= self.moment.position and (as_of is None or effective_at <= as_of)


@asynccontextmanager
async def reading(
    call: Call,
    min_position: int | None = None,
    *,
    following: Sequence[str] = (),
    isolation: Literal["read committed", "repeatable read"] = "repeatable read",
) -> AsyncGenerator[Reading]:
    """Open a snapshot of the caller's tenant, at ``min_position`` or later.

    All its statements see the same state, so a figure and the position it is told with belong
    together. ``following`` names the following projections that are read: each has folded the
    log up to the position, or further. Less ``isolation`` is for reads of what never changes.
    Raise Problem (412) when the position is not reached within two seconds.
    """
    if call.pin is not None:
        yield await call.pin.read(min_position, following, isolation)
        return
    caller = call.caller
    deadline = time.monotonic() + MIN_POSITION_WAIT_S
    what = "This report" if following else "The ledger"
    while True:
        async with tenant_transaction(
            call.house.pool,
            caller.tenant_id,
            credential=caller.credential,
            isolation=isolation,
        ) as connection:
            position: int | None = await connection.fetchval(_HEAD, caller.tenant_id)
            if position is None:
                raise Problem("not_found", "There is no such tenant any more.")
            if following:
                position = min(position, await _folded(connection, caller.tenant_id, following))
            if min_position is None or position >= min_position:
                yield Reading(connection, caller.tenant_id, position)
                return
        if time.monotonic() >= deadline:
            raise Problem(
                "not_yet",
                f"{what} is at position {position}, not yet at {min_position}; try again.",
                headers=[(b"retry-after", b"1")],
                position=position,
            )
        await asyncio.sleep(_POLL_S)


async def _folded(connection: Connection, tenant_id: int, following: Sequence[str]) -> int:
    """Return the position that all of some following projections have reached."""
    folded: int | None = await connection.fetchval(_FOLDED, tenant_id, list(following))
    return folded or 0


class Pin:
    """One snapshot for several reads of a call, open until the stack is closed.

    Each read opens one of its own, as it would without, until ``hold``; from then on all reads
    are of the last one.
    """

    def __init__(self, call: Call, stack: AsyncExitStack) -> None:
        """``call`` is the one that the snapshots are opened for; it has no pin itself."""
        self._call = call
        self._stack = stack
        self._read: Reading | None = None
        self._is_held = False

    def hold(self) -> None:
        """Keep the snapshot of the last read."""
        self._is_held = True

    async def read(
        self,
        min_position: int | None,
        following: Sequence[str],
        isolation: Literal["read committed", "repeatable read"],
    ) -> Reading:
        """Return the snapshot, at the position that ``following`` has reached in it."""
        if self._is_held and self._read is not None:
            connection, tenant_id = self._read.connection, self._read.tenant_id
            position: int = await connection.fetchval(_HEAD, tenant_id)
            if following:
                position = min(position, await _folded(connection, tenant_id, following))
            return Reading(connection, tenant_id, position)
        await self._stack.aclose()
        self._read = await self._stack.enter_async_context(
            reading(self._call, min_position, following=following, isolation=isolation)
        )
        return self._read


def answer(value: Any, position: int, headers: Headers = ()) -> Reply:
    """Return a read's reply, with the position that it was read at."""
    return Reply(200, encode(value), [(b"ledger-position", b"%d" % position), *headers])


def path_id(call: Call, name: str = "id", *, code: str = "not_found") -> int:
    """Return the id in a path; raise Problem (404) when it is none."""
    text = call.path_params[name]
    number = parse_integer(text)
    if number is None or number == 0:
        raise Problem(code, f"There is nothing with the id {text[:40]!r}: an id is a number.")
    return number


def path_text(call: Call, prefix: str) -> str:
    """Return the text behind ``prefix`` in the path, decoded once: a SKU may hold slashes.

    Raise Problem (404) when it cannot be a name.
    """
    raw: bytes = cast(dict[str, Any], call.scope).get("raw_path") or b""
    encoded = raw.partition(b"?")[0].decode("latin-1")
    if not encoded.startswith(prefix):
        encoded = call.scope["path"]
    try:
        text = unquote(encoded[len(prefix) :], errors="strict")
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) > 100 or any(ord(character) < 32 for character in text):
        raise Problem("not_found", "There is nothing with such a name.")
    return text


def money(value: Decimal) -> str:
    """Return an amount as text with at least two decimals, and all that it has."""
    plain = trimmed(value)
    exponent = plain.as_tuple().exponent
    if isinstance(exponent, int) and exponent > -2:
        plain = plain.quantize(_CENT, context=_WIDE)
    return format(plain, "f")


def money_or_none(value: Decimal | None) -> str | None:
    """Return an amount as text, or None for one that is not known."""
    return None if value is None else money(value)


def trimmed(value: Decimal) -> Decimal:
    """Return a decimal without zeros at its end: 200 for 200.000000."""
    if value == value.to_integral_value():
        return value.quantize(_ONE, context=_WIDE)
    return value.normalize(_WIDE)


def trimmed_or_none(value: Decimal | None) -> Decimal | None:
    """Return a decimal without zeros at its end, or None for one that is not known."""
    return None if value is None else trimmed(value)


def next_cursor(rows: list[Any], limit: int, last: str) -> str | None:
    """Return the cursor behind a full page; a page that is not full is the last."""
    return last if len(rows) == limit else None


def contains(text: str) -> str:
    """Return a LIKE pattern for text within text."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


_ONE: Final = Decimal(1)
_CENT: Final = Decimal("0.01")
# A sum may have 30 digits, two more than the default context keeps.
_WIDE: Final = Context(prec=60)
