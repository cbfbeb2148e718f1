"""Files for analysts over HTTP: the log, and the tables of the schema ``analysis``, as Parquet.

A file is written while it is sent, so nothing is kept and little is held in memory. Reading and
writing it is done aside, by connections and threads that yield to those of commands and reads.
"""

import asyncio
import io
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import msgspec

from api.context import Call
from api.endpoint import Media, Routes, query
from api.house import EXPORTS_MAX
from api.problems import Problem
from api.query import Parameter, refuse_unknown
from api.reads import answer
from api.reply import Reply, StreamReply
from ledger.store import tenant_transaction
from schemas.http_exports import ExportTable, ExportTablesReply

if TYPE_CHECKING:
    from api.exports.copying import CopyWriter

routes = Routes("Ledger")

PARQUET: Final = "application/vnd.apache.parquet"
EXPORT_EVENTS_MAX: Final = 1_000_000
"""Events in one file of the log; ask for the next ones with ``after``."""
EXPORT_SECONDS_MAX: Final = 600.0
"""How long the rows of one file may take to read and to send."""

_FILE: Final = Media(PARQUET, {"type": "string", "format": "binary"})
_exporting = asyncio.Semaphore(EXPORTS_MAX)


async def _load(name: str) -> Any:
    """Return a module of ours that needs Arrow, which takes a moment to load, and memory."""
    return await asyncio.to_thread(import_module, f"api.exports.{name}")


_LOG = (
    Parameter("after", "integer", "Only positions after this one", 0),
    Parameter("limit", "integer", "Events at most", EXPORT_EVENTS_MAX, 1, EXPORT_EVENTS_MAX),
)


@routes.add(
    "GET",
    "/api/ledger/export/log",
    "Download the log as Parquet",
    parameters=_LOG,
    replies={200: _FILE},
    problems=("not_found", "too_many_tables"),
)
async def export_log(call: Call) -> Reply:
    """Events in the order of the log as one Parquet file, an event a row: data and meta are the
    exact text that was hashed, beside each event's leaf hash. The file's metadata says whose log it
    is, its ``first_position`` and ``last_position``, and the newest checkpoint; the header
    Ledger-Position is the log's head. At most two files are made at a time, each within 600 seconds
    and with 1,000,000 events at most: go on with ``after=last_position``."""
    values = query(call, _LOG)
    refuse_unknown(call.scope["query_string"], _LOG)
    module = await _load("log")
    async with AsyncExitStack() as opening:
        await opening.enter_async_context(_turn())
        caller = call.caller
        connection = await opening.enter_async_context(
            tenant_transaction(call.house.exports, caller.tenant_id, credential=caller.credential)
        )
        try:
            log = await module.look_at(connection, caller.tenant_id)
        except LookupError:
            raise Problem(
                "not_found", "Nothing of this log has been signed yet; try again in a second."
            ) from None
        first = min(values["after"], log.head) + 1
        last = min(first + values["limit"] - 1, log.head)
        sink = _Parts()
        writer = module.writer(sink, module.file_schema(log, first, last))
        blocks = module.event_blocks(
            connection, caller.tenant_id, first, last, timeout_s=EXPORT_SECONDS_MAX
        )
        chunks = await _begun(opening, blocks, writer, sink)
    return _file(chunks, log.head, f"log-{first:012d}.parquet")


@routes.add(
    "GET",
    "/api/ledger/export/tables",
    "List the tables for analysts",
    replies={200: ExportTablesReply},
    problems=("too_many_tables", "unavailable"),
)
async def list_tables(call: Call) -> Reply:
    """The tables that can be downloaded, with what each column means: the views of the database's
    schema ``analysis``."""
    refuse_unknown(call.scope["query_string"], ())
    module = await _load("tables")
    async with _turn(), _snapshot(module, call) as shown:
        tables = await module.tables_of(shown.connection)
    listed = [
        ExportTable(
            name=table.name,
            description=table.about,
            grows=table.grows,
            columns=msgspec.convert(module.columns_told(table), list[Any]),
        )
        for table in tables.values()
    ]
    return answer(ExportTablesReply(tables=listed, position=shown.position), shown.position)


_TABLE = (
    Parameter(
        "after", "integer", "Of event and movement: only what was recorded after this position", 0
    ),
)


@routes.add(
    "GET",
    "/api/ledger/export/tables/{table}",
    "Download a table for analysts as Parquet",
    parameters=_TABLE,
    replies={200: _FILE},
    problems=("not_found", "too_many_tables", "unavailable"),
)
async def export_table(call: Call) -> Reply:
    """One of the tables as one Parquet file, all of it as of one position, which is in the header
    Ledger-Position and in the file's metadata. At most two files are made at a time, each within
    600 seconds. For all tables at one position: ``stockledger export tables``."""
    values = query(call, _TABLE)
    refuse_unknown(call.scope["query_string"], _TABLE)
    name = call.path_params["table"]
    module = await _load("tables")
    copying = await _load("copying")
    async with AsyncExitStack() as opening:
        await opening.enter_async_context(_turn())
        shown = await opening.enter_async_context(_snapshot(module, call))
        table = (await module.tables_of(shown.connection)).get(name)
        if table is None:
            raise Problem(
                "not_found",
                f"There is no table {name[:60]!r}; GET /api/ledger/export/tables lists them.",
            )
        if values["after"] and not table.grows:
            raise Problem(
                "invalid_parameter",
                f"after: {name} is not one that only grows; leave it out.",
                field="after",
            )
        sink = _Parts()
        schema = module.file_schema(table, shown)
        writer = copying.CopyWriter(
            copying.BlockReader(table.columns, schema), copying.ParquetWriter(sink, schema)
        )
        blocks = module.table_blocks(
            shown, table, timeout_s=EXPORT_SECONDS_MAX, after=values["after"]
        )
        chunks = await _begun(opening, blocks, writer, sink)
    return _file(chunks, shown.position, f"{name}.parquet")


@asynccontextmanager
async def _turn() -> AsyncGenerator[None]:
    """Be one of the exports that are made at a time; raise Problem (503) when those are made."""
    if _exporting.locked():
        raise Problem(
            "too_many_tables",
            f"{EXPORTS_MAX} files are being made already; try again later.",
            headers=[(b"retry-after", b"10")],
        )
    async with _exporting:
        yield


@asynccontextmanager
async def _snapshot(module: Any, call: Call) -> AsyncGenerator[Any]:
    """Open a snapshot of the caller's tables; raise Problem (503) where there is none now."""
    caller = call.caller
    try:
        async with module.snapshot(
            call.house.exports, caller.tenant_id, credential=caller.credential
        ) as shown:
            yield shown
    except asyncpg.ObjectNotInPrerequisiteStateError as error:
        raise Problem(
            "unavailable", f"{error}; try again shortly.", headers=[(b"retry-after", b"1")]
        ) from error
    except (asyncpg.InvalidSchemaNameError, asyncpg.UndefinedFunctionError):
        raise Problem(
            "unavailable",
            "This database has no schema for analysts; tell the operator of this service.",
            headers=[(b"retry-after", b"60")],
        ) from None


class _Parts(io.RawIOBase):
    """Takes what is written to a file, until that is sent."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        """Tell that it can be written to."""
        return True

    def write(self, part: Any) -> int:
        """Keep a part."""
        content = bytes(part)
        self._parts.append(content)
        return len(content)

    def taken(self) -> bytes:
        """Return what has been written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


async def _begun(
    opening: AsyncExitStack,
    blocks: AsyncGenerator[bytes, None],
    writer: "CopyWriter",
    sink: _Parts,
) -> AsyncGenerator[bytes, None]:
    """Return a file's bytes, begun: what goes wrong before the first rows is raised here.

    What has been opened is closed when they end.
    """
    chunks = _chunks(opening.pop_all(), blocks, writer, sink)
    await anext(chunks)
    return chunks


async def _chunks(
    opened: AsyncExitStack,
    blocks: AsyncGenerator[bytes, None],
    writer: "CopyWriter",
    sink: _Parts,
) -> AsyncGenerator[bytes, None]:
    """Yield nothing once there are rows, and then the bytes of a file, whenever there are some."""
    aside = (await _load("copying")).aside
    async with opened, aclosing(blocks):
        is_begun = False
        async for block in blocks:
            if not is_begun:
                is_begun = True
                yield b""
            await aside(writer.write, block)
            if part := sink.taken():
                yield part
        if not is_begun:
            yield b""
        await aside(writer.writer.close)
        yield sink.taken()


def _file(chunks: AsyncGenerator[bytes, None], position: int, name: str) -> StreamReply:
    return StreamReply(
        chunks,
        PARQUET.encode(),
        [
            (b"ledger-position", b"%d" % position),
            (b"content-disposition", f'attachment; filename="{name}"'.encode()),
        ],
    )
