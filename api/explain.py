"""Why any figure of any read model is what it is, and what changed between two moments."""

import asyncio
import inspect
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from api.context import Call
from api.endpoint import Routes, query
from api.moments import AS_OF, KNOWN_AT, moment_headers, moment_of, position_at
from api.problems import Problem
from api.query import ID_MAX, LIMIT, PAGE, Parameter, parse_integer, refuse_unknown
from api.reads import Reading, answer, reading, trimmed
from api.reply import Reply
from api.tabular import Table
from ledger.aliases import LOCATION, SKU, fold
from projections import explaining, figures
from projections.aliases import find_aliases
from projections.engine import FOLLOWING
from projections.explaining_fold import Explanation, Step, TooManyEvents
from projections.figures import Figure, ReadModel, Row
from projections.past import Moment
from projections.reach import Span
from schemas.http_explain import (
    DifferenceReply,
    ExplanationReply,
    ExplanationStep,
    FigureChange,
    ReadModelColumn,
    ReadModelsReply,
    RowDifference,
)
from schemas.http_explain import ReadModel as ReadModelShown

routes = Routes("Ledger")

AT_ONCE_MAX: Final = 2
"""Explanations a process makes at a time; the others wait, and hold nothing."""
STEPS_DEFAULT: Final = 50

_FROM: Final = "_from"
_TO: Final = "_to"
_ALIASES: Final[Mapping[str, tuple[str, str]]] = {
    "sku": ("product_id", SKU),
    "location": ("location_id", LOCATION),
}
"""By which names a part of a key may be given instead of its id."""

_BEFORE = Parameter("before", "integer", "Continue with older steps: next_before", minimum=1)
_STEPS = Parameter("limit", "integer", "Steps per page", STEPS_DEFAULT, 1, explaining.STEPS_MAX)
_STEPS_BETWEEN = Parameter(
    "steps", "integer", "Events between to show", STEPS_DEFAULT, 1, explaining.STEPS_MAX
)
_AT = "instant_or_position"
_START = Parameter("from", _AT, "What was recorded by this time or position", required=True)
_END = Parameter("to", _AT, "What was recorded by this time or position; now if not given")


def _key_parameters() -> tuple[Parameter, ...]:
    """Return a parameter for each column of any table's key, and the ends of spans of days."""
    columns = dict.fromkeys(
        name
        for table, projection in figures.tables().items()
        for name in projection.tables[table]
        if name != "tenant_id"
    )
    parameters = [Parameter(name, "string", f"The key's {name}", maximum=200) for name in columns]
    parameters += [
        Parameter("sku", "string", "The product's SKU, in place of product_id", maximum=100),
        Parameter("location", "string", "The location's code, for location_id", maximum=50),
    ]
    for name in ("day", "starts_on"):
        parameters += [
            Parameter(f"{name}{_FROM}", "date", f"With {name} on this day or later"),
            Parameter(f"{name}{_TO}", "date", f"With {name} on this day or before"),
        ]
    return tuple(parameters)


_KEYS = _key_parameters()
_EXPLAIN = (*_KEYS, AS_OF, KNOWN_AT, _BEFORE, _STEPS)
_DIFF = (*_KEYS, _START, _END, AS_OF, _BEFORE, _STEPS_BETWEEN, PAGE, LIMIT)

_at_once = asyncio.Semaphore(AT_ONCE_MAX)


@routes.add(
    "GET",
    "/api/ledger/read-models",
    "List the read models",
    replies={200: ReadModelsReply},
)
async def list_read_models(call: Call) -> Reply:
    """Every table of every read model, with its key and columns: what can be explained."""
    refuse_unknown(call.scope["query_string"], ())
    async with reading(call) as read:
        models = await figures.read_models(read.connection, figures.names())
    shown = [_shown(models[name]) for name in figures.names() if name in models]
    return answer(ReadModelsReply(read_models=shown, total=len(shown)), read.position)


def _shown(model: ReadModel) -> ReadModelShown:
    projection = model.projection
    description = model.remark or " ".join((inspect.getdoc(type(projection)) or "").split())
    return ReadModelShown(
        table=model.table,
        projection=projection.name,
        follows=projection in FOLLOWING,
        description=description,
        key=list(model.key),
        summed=model.summed,
        columns=[
            ReadModelColumn(name=name, type=kind, description=model.remarks.get(name))
            for name, kind in model.columns.items()
        ],
    )


@routes.add(
    "GET",
    "/api/ledger/explain/{table}",
    "Explain a figure of a read model",
    parameters=_EXPLAIN,
    replies={200: ExplanationReply},
    table=Table(page_rows=1_000, follow=("before", "next_before")),
    problems=("not_found", "product_not_found", "location_not_found", "too_many_events"),
)
async def explain(call: Call) -> Reply:
    """The events that made a row, newest first, each with what it changed and the row after it.
    The query names the row by its key (GET /api/ledger/read-models lists keys); ``sku`` and
    ``location`` stand for ``product_id`` and ``location_id``. With a part of the key, and with
    ``day_from`` and ``day_to``, it is the sum of the rows. A page may have fewer steps than
    ``limit``, even none: go on with ``before=next_before`` until that is null."""
    values = query(call, _EXPLAIN)
    refuse_unknown(call.scope["query_string"], _EXPLAIN)
    async with _at_once, reading(call) as read:
        figure = await _figure(call, read, values)
        moment = await moment_of(read, values) or Moment(read.position)
        try:
            made = await explaining.explain(
                read.connection,
                read.tenant_id,
                figure,
                moment,
                before=values["before"],
                limit=values["limit"],
            )
        except TooManyEvents as error:
            raise _too_many(error) from error
    reply = ExplanationReply(
        table=figure.model.table,
        key=_key_shown(figure),
        as_of=moment.as_of,
        known_position=moment.position,
        figure=_row(made.figure),
        brought_forward=_row(made.brought_forward),
        steps=_steps(made),
        next_before=made.before,
    )
    return answer(reply, read.position, moment_headers(moment))


@routes.add(
    "GET",
    "/api/ledger/diff/{table}",
    "Compare a read model at two moments",
    parameters=_DIFF,
    replies={200: DifferenceReply},
    table=Table(rows="rows"),
    problems=("not_found", "product_not_found", "location_not_found", "too_many_events"),
)
async def diff(call: Call) -> Reply:
    """What was known at ``from`` against what was known at ``to``, both of what had happened by
    ``as_of``: the row or the sums at both, the rows that differ, and the events between that made
    the difference. The query names a row by its key, rows by a part of it, or neither, for the
    whole table; then no events are told, but each row's own difference tells its."""
    values = query(call, _DIFF)
    refuse_unknown(call.scope["query_string"], _DIFF)
    async with _at_once, reading(call) as read:
        figure = await _figure(call, read, values)
        start = await _position(read, "from", values["from"])
        end = await _position(read, "to", values["to"])
        if start > end:
            raise Problem("invalid_parameter", "from: must not be later than to.", field="from")
        moment = Moment(end, values["as_of"])
        try:
            made = await explaining.diff(
                read.connection,
                read.tenant_id,
                figure,
                start,
                moment,
                before=values["before"],
                limit=values["steps"],
                page=values["page"],
                rows=values["limit"],
            )
        except TooManyEvents as error:
            raise _too_many(error) from error
    changes = made.changes
    reply = DifferenceReply(
        table=figure.model.table,
        key=_key_shown(figure),
        as_of=moment.as_of,
        from_position=start,
        to_position=end,
        before=_row(made.before),
        after=_row(made.after),
        changes=_changes(made.before, made.after),
        added=changes.added,
        removed=changes.removed,
        changed=changes.changed,
        rows=[
            RowDifference(
                key=_row(change.key) or {},
                before=_row(change.before),
                after=_row(change.after),
                changes=_changes(change.before, change.after),
            )
            for change in changes.rows
        ],
        page=values["page"],
        limit=values["limit"],
        total=changes.total,
        steps=_steps(made.between),
        next_before=made.between.before,
    )
    return answer(reply, read.position, moment_headers(moment))


def _too_many(error: TooManyEvents) -> Problem:
    return Problem("too_many_events", f"{str(error)[:1].upper()}{str(error)[1:]}.")


async def _position(read: Reading, name: str, value: Any) -> int:
    """Return the position that ``from`` or ``to`` stands for; raise Problem (400), naming it."""
    if value is None:
        return read.position
    if isinstance(value, int):
        if value > read.position:
            raise Problem(
                "invalid_parameter",
                f"{name}: position {value} is not there yet: this read sees up to {read.position}.",
                field=name,
                position=read.position,
            )
        return value
    try:
        return await position_at(read, value)
    except Problem as problem:
        detail = problem.detail.replace("known_at: ", f"{name}: ", 1)
        raise Problem(
            problem.code, detail, field=name, position=problem.members.get("position")
        ) from None


# --- what is asked for --------------------------------------------------------------------


async def _figure(call: Call, read: Reading, values: Mapping[str, Any]) -> Figure:
    """Return the figure that a path and a query name; raise Problem (404 or 400) for none."""
    table = call.path_params["table"]
    if table not in figures.names():
        known = ", ".join(figures.names())
        raise Problem("not_found", f"There is no read model {table[:60]!r}; there are {known}.")
    model = (await figures.read_models(read.connection, [table]))[table]
    given = {
        parameter.name: values[parameter.name]
        for parameter in _KEYS
        if values[parameter.name] is not None
    }
    given = await _resolved(read, model, given)
    return Figure(model, wanted_of(model, given))


async def _resolved(read: Reading, model: ReadModel, given: dict[str, Any]) -> dict[str, Any]:
    """Return what was given with names in place of ids looked up; raise Problem (404)."""
    aliases = {
        name: (kind, fold(given[name]))
        for name, (column, kind) in _ALIASES.items()
        if name in given and column in model.key
    }
    found = await find_aliases(read.connection, read.tenant_id, list(aliases.values()))
    resolved = {name: value for name, value in given.items() if name not in aliases}
    for name, alias in aliases.items():
        if alias not in found:
            thing = "product" if name == "sku" else "location"
            said = "sku" if name == "sku" else "code"
            raise Problem(
                f"{thing}_not_found",
                f"There is no {thing} with {said} {given[name]!r}.",
                headers=(),
                **{name: given[name]},
            )
        resolved[_ALIASES[name][0]] = found[alias]
    return resolved


def wanted_of(model: ReadModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part of a table's key, parsed; raise Problem (400) for what is none of it."""
    wanted: dict[str, Any] = {}
    for name, value in given.items():
        column, end = name, ""
        for suffix in (_FROM, _TO):
            if name.endswith(suffix) and name.removesuffix(suffix) in model.key:
                column, end = name.removesuffix(suffix), suffix
        if column not in model.key:
            key = ", ".join(model.key) or "nothing but the tenant"
            raise _wrong(name, f"is no part of the key of {model.table}, which is {key}")
        kind = model.columns[column]
        if end and kind != "date":
            raise _wrong(name, f"{column} is not a date")
        parsed = _parsed(name, kind, value)
        if not end:
            wanted[column] = parsed
            continue
        span = wanted.get(column, Span(None, None))
        if not isinstance(span, Span):
            raise _wrong(name, f"give either {column} or its span")
        wanted[column] = span._replace(first=parsed) if end == _FROM else span._replace(last=parsed)
    for name in model.needed:
        if name not in wanted:
            raise _wrong(name, f"is needed to explain {model.table}")
    return wanted


class _Bound(NamedTuple):
    most: int
    words: str


_INTEGERS: Final[Mapping[str, _Bound]] = {
    "smallint": _Bound(2**15 - 1, "a whole number up to 32767"),
    "integer": _Bound(2**31 - 1, "a whole number up to 2147483647"),
    "bigint": _Bound(ID_MAX, "a whole number up to 2^53 - 1"),
}


def _parsed(name: str, kind: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if kind in _INTEGERS:
        number = parse_integer(value)
        if number is None or number > _INTEGERS[kind].most:
            raise _wrong(name, f"must be {_INTEGERS[kind].words}")
        return number
    try:
        if kind == "date":
            return msgspec.convert(value, date)
        if kind.startswith("numeric"):
            return _decimal(value)
    except (ValueError, ArithmeticError):
        what = "a date such as 2026-05-06" if kind == "date" else "a plain decimal"
        raise _wrong(name, f"must be {what}") from None
    return value


def _decimal(text: str) -> Decimal:
    plain = text.removeprefix("-")
    digits = plain.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise ValueError("not a plain decimal")
    return Decimal(text)


def _wrong(name: str, fault: str) -> Problem:
    return Problem("invalid_parameter", f"{name}: {fault}.", field=name)


# --- what is shown ------------------------------------------------------------------------


def _key_shown(figure: Figure) -> dict[str, Any]:
    return {
        name: {"from": value.first, "to": value.last} if isinstance(value, Span) else value
        for name, value in figure.wanted.items()
    }


def _plain(value: Any) -> Any:
    return trimmed(value) if isinstance(value, Decimal) else value


def _row(row: Row | None) -> dict[str, Any] | None:
    return None if row is None else {name: _plain(value) for name, value in row.items()}


def changed_columns(before: Row | None, after: Row | None) -> list[str]:
    """Return the columns that are not the same, those of both in order."""
    names = list(after or before or {})
    return [name for name in names if (before or {}).get(name) != (after or {}).get(name)]


def _changes(before: Row | None, after: Row | None) -> list[FigureChange]:
    return [
        FigureChange(
            column=name,
            before=_plain((before or {}).get(name)),
            after=_plain((after or {}).get(name)),
        )
        for name in changed_columns(before, after)
    ]


_object = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def _steps(made: Explanation) -> list[ExplanationStep]:
    return [_step(step) for step in made.steps]


def _step(step: Step) -> ExplanationStep:
    event = step.event
    meta = _object.decode(event.meta)
    return ExplanationStep(
        position=event.position,
        stream=event.stream,
        version=event.version,
        type=event.type,
        effective_at=event.effective_at,
        recorded_at=event.recorded_at,
        actor=meta.get("actor"),
        actor_name=meta.get("actor_name"),
        source=meta.get("source"),
        data=_object.decode(event.data),
        changes=_changes(step.before, step.after),
        after=_row(step.after),
    )
