"""The two times, as options of commands: ``--as-of`` and ``--known-at``."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import rich_click as click

from api.moments import position_at
from api.problems import Problem
from api.reads import Reading
from ledger.store import Connection, read_head
from projections.past import Moment


class _Time(click.ParamType[datetime]):
    """A time with its zone."""

    name = "TIME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            at = msgspec.convert(value, datetime)
        except msgspec.ValidationError:
            self.fail(f"{value!r} is no time such as 2026-05-06T12:00:00Z", param, ctx)
        if at.tzinfo is None:
            self.fail(f"{value!r} has no zone; say 2026-05-06T12:00:00Z", param, ctx)
        return at.astimezone(UTC)


class _Point(click.ParamType[int | datetime]):
    """A position of the ledger, or a time with its zone."""

    name = "POSITION|TIME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | datetime:
        if isinstance(value, int | datetime):
            return value
        if value.isascii() and value.isdigit() and len(value) <= 15:
            return int(value)
        return TIME.convert(value, param, ctx)


TIME: Final = _Time()
"""For options that take a time with its zone."""
POINT: Final = _Point()
"""For options that take a position of the ledger, or a time with its zone."""


class NotThere(ValueError):
    """A position or time that the log has not come to."""


async def position_of(
    connection: Connection, tenant_id: int, point: int | datetime | None, option: str
) -> int:
    """Return the position that an option stands for, the head for None; raise NotThere."""
    head = (await read_head(connection, tenant_id)).position
    if point is None:
        return head
    if isinstance(point, int):
        if point > head:
            raise NotThere(f"{option}: the log ends at position {head}")
        return point
    try:
        return await position_at(Reading(connection, tenant_id, head), point)
    except Problem as problem:
        raise NotThere(problem.detail.replace("known_at", option, 1)) from problem


async def moment_at(
    connection: Connection,
    tenant_id: int,
    known_at: int | datetime | None,
    as_of: datetime | None,
    option: str = "--known-at",
) -> Moment:
    """Return the moment that two options stand for; raise NotThere where it is none yet."""
    return Moment(await position_of(connection, tenant_id, known_at, option), as_of)
