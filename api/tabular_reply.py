"""Answers that are tables: every page of a list, read on one snapshot, as a CSV or an XLSX file.

A table is made of what the route itself answers, page after page, so it has the same rows, the same
filters and the same rights as the JSON: there is no second query. All pages are read in one
transaction. What is made goes to a file without bounds on the client's time, and the transaction
ends when the last page is read, however slowly the client takes the file.
"""

import asyncio
import re
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar, cast
from urllib.parse import parse_qsl, urlencode

from api.context import Call
from api.problems import Problem
from api.query import Parameter, parse_query
from api.reads import Pin
from api.reply import Reply, disconnected
from api.tabular import (
    FIGURES,
    FORMAT,
    PAST_PAGE_ROWS,
    CellKind,
    Row,
    Shape,
    Sheet,
    Table,
    child_rows,
    decoded,
    figure_rows,
    listed,
    with_children,
)
from api.tabular_files import XLSX_NAME, XlsxFile, csv_lines

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

Handler = Callable[[Call], Awaitable[Reply]]
Refused = Callable[[Exception], Reply]
Format = Literal["csv", "xlsx"]
Result = TypeVar("Result")

CSV_TYPE: Final = "text/csv; charset=utf-8"
XLSX_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
TABLES_AT_ONCE_MAX: Final = 4
"""Tables that one process makes at the same time."""
TABLE_SECONDS_MAX: Final = 600.0
"""How long the pages of one table may take to read."""
AHEAD_BYTES_MAX: Final = 256 * 1024 * 1024
"""How much of a CSV file may wait on the disk for a client that reads slowly."""
_PIECE_BYTES: Final = 128 * 1024
_ROWS: Final = "rows"
# Who gives one of these asks for that page.
_PAGE_PARAMETERS: Final = frozenset({"page", "limit", "cursor"})
_TYPES: Final[Mapping[Format, str]] = {"csv": CSV_TYPE, "xlsx": XLSX_TYPE}
_OF_TYPE: Final[Mapping[str, Literal["json", "csv", "xlsx"]]] = {
    "text/csv": "csv",
    XLSX_TYPE: "xlsx",
    "application/json": "json",
    "application/*": "json",
    "*/*": "json",
}

# A header is text throughout.
_TEXTS: Final[tuple[CellKind]] = ("text",)

_making = asyncio.Semaphore(TABLES_AT_ONCE_MAX)


class Tabulated(NamedTuple):
    """A route whose replies can be had as tables: its path, its tables, and its parameters."""

    path: str
    table: Table
    shape: Shape
    parameters: tuple[Parameter, ...]

    @property
    def own(self) -> tuple[Parameter, Parameter]:
        """The parameters that say how it is had, besides the route's."""
        names = self.shape.names()
        rows = Parameter(
            _ROWS,
            "string",
            f"Of a CSV: which table it is, {names[0]} unless said. An XLSX has all of them",
            values=tuple(names),
        )
        return FORMAT, rows


def asks_for_table(call: Call) -> bool:
    """Tell whether a request may want a table: a look that costs next to nothing."""
    raw = call.scope["query_string"]
    if raw and (b"format=" in raw or b"rows=" in raw):
        return True
    accept = call.headers.get(b"accept")
    return accept is not None and (b"text/csv" in accept or b"spreadsheetml" in accept)


async def answer_table(call: Call, route: Tabulated, handler: Handler, refused: Refused) -> Reply:
    """Answer a request that may want a table; raise Problem (400) for a wrong format or table.

    ``refused`` makes the reply to what goes wrong while the table is made.
    """
    raw: bytes = call.scope["query_string"]
    values = parse_query(raw, route.own)
    wanted = values["format"] or _accepted(call.headers.get(b"accept", b""))
    if values[_ROWS] is not None and wanted != "csv":
        raise Problem("invalid_parameter", "rows: is for format=csv; leave it out.", field=_ROWS)
    given = parse_qsl(raw.decode("ascii"), keep_blank_values=True)
    rest = [(name, value) for name, value in given if name not in (FORMAT.name, _ROWS)]
    plain = urlencode(rest).encode()
    if wanted == "json":
        return await handler(PageCall(call, plain, None))
    if _making.locked():
        raise Problem(
            "too_many_tables",
            f"{TABLES_AT_ONCE_MAX} tables are being made already; try again shortly.",
            headers=[(b"retry-after", b"5")],
        )
    one_page = any(name in _PAGE_PARAMETERS for name, value in rest if value)
    making = _Making(call, route, handler, plain, one_page)
    return TableReply(making, wanted, values[_ROWS], refused)


def _accepted(accept: bytes) -> Literal["json", "csv", "xlsx"]:
    """Return the format that an Accept header likes best; the first of those it likes alike."""
    best: Literal["json", "csv", "xlsx"] = "json"
    liking = 0.0
    for part in accept.decode("latin-1").split(","):
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if re.fullmatch(r"q=[01](\.[0-9]{0,3})?", parameter):
                quality = float(parameter[2:])
        kind = _OF_TYPE.get(name)
        if kind is not None and quality > liking:
            best, liking = kind, quality
    return best


class PageCall(Call):
    """A request for one page of a table, in the name of the request for all of it."""

    __slots__ = ("paging", "pin")

    def __init__(self, call: Call, query_string: bytes, pin: Pin | None) -> None:
        scope = cast("Scope", {**call.scope, "query_string": query_string})
        # What the handler would itself take for another format.
        headers = {name: value for name, value in call.headers.items() if name != b"accept"}
        super().__init__(call.house, scope, call.receive, headers, call.request_id)
        self.principal = call.principal
        self.route = call.route
        self.family = call.family
        self.path_params = call.path_params
        self.paging = {}
        self.pin = pin


class _Making:
    """A table in the making: asks the route for page after page."""

    def __init__(
        self, call: Call, route: Tabulated, handler: Handler, query: bytes, one_page: bool
    ) -> None:
        self.call = call
        self.route = route
        self.headers: list[tuple[bytes, bytes]] = []
        self._handler = handler
        self._query = query
        self._one_page = one_page

    async def pages(self) -> AsyncGenerator[dict[str, Any]]:
        """Yield the replies whose rows make the table, all from one snapshot."""
        names = {parameter.name for parameter in self.route.parameters}
        table, main = self.route.table, self.route.shape.main
        deadline = time.monotonic() + TABLE_SECONDS_MAX
        async with _making, AsyncExitStack() as stack:
            pin = Pin(self.call, stack)
            page = PageCall(self.call, self._query, pin)
            paging: dict[str, Any] = {}
            page.paging = paging
            if not self._one_page and "limit" in names:
                past = b"as_of=" in self._query or b"known_at=" in self._query
                paging["limit"] = PAST_PAGE_ROWS if past else table.page_rows
            count, number, position = 0, 1, None
            while True:
                reply = await self._handler(page)
                document = decoded(reply.body)
                pin.hold()
                if position is None:
                    kept = [pair for pair in reply.headers if pair[0].startswith(b"ledger-")]
                    self.headers += kept
                    position = int(dict(kept).get(b"ledger-position", b"0"))
                rows: Sequence[Row] = () if main is None else listed(document, main.path)
                count += len(rows)
                went_on = False
                if table.until is not None and main is not None:
                    # The log has grown meanwhile; the table is of the position that it began at.
                    while rows and rows[-1][table.until] > position:
                        rows = rows[:-1]
                        went_on = True
                    document[main.path[0]] = rows
                yield document
                if self._one_page or main is None or went_on:
                    return
                number += 1
                if not self._turn(paging, names, document, rows, count, number):
                    return
                if time.monotonic() > deadline:
                    raise Problem(
                        "unavailable", "The table takes too long to read; ask for less of it."
                    )

    def _turn(
        self,
        paging: dict[str, Any],
        names: set[str],
        document: Row,
        rows: Sequence[Row],
        count: int,
        number: int,
    ) -> bool:
        """Turn to the next page; tell whether there is one."""
        follow = self.route.table.follow
        if follow is None and "cursor" in names and "next_cursor" in document:
            follow = ("cursor", "next_cursor")
        if follow is not None:
            paging[follow[0]] = document.get(follow[1])
            return document.get(follow[1]) is not None
        paging["page"] = number
        return "page" in names and bool(rows) and count < document.get("total", 0)

    async def csv(self, chosen: str | None) -> AsyncGenerator[bytes]:
        """Yield the pieces of a CSV file: the header with the first page, then a page each."""
        shape = self.route.shape
        name = chosen or shape.names()[0]
        if name == FIGURES:
            async with aclosing(self.pages()) as pages:
                async for document in pages:
                    yield _csv_figures(shape, document)
                    return
        sheet = next(each for each in shape.sheets() if each.name == name)
        is_beside = any(sheet in with_children(each) for each in shape.beside)
        kinds = sheet.kinds(lines=True)
        head = csv_lines([sheet.header(lines=True)], _TEXTS * len(kinds))
        is_first = True
        async with aclosing(self.pages()) as pages:
            async for document in pages:
                found = _rows(shape, document, lines=True, first=is_first)
                rows = [cells for its, cells in found if its is sheet]
                yield head + await _in_thread(csv_lines, rows, kinds)
                if is_beside:
                    return
                head, is_first = b"", False

    async def xlsx(self, folder: Path) -> int:
        """Make the workbook in a folder; return its size in bytes."""
        shape = self.route.shape
        book = XlsxFile(folder)
        try:
            headers = {sheet.name: sheet.header(lines=False) for sheet in shape.sheets()}
            headers[FIGURES] = ["figure", "value"]
            for name in shape.names():
                book.add_sheet(name, headers[name])
            is_first = True
            async with aclosing(self.pages()) as pages:
                async for document in pages:
                    await _in_thread(_add, book, shape, document, is_first)
                    is_first = False
            return await _in_thread(book.close)
        finally:
            book.let_go()


def _csv_figures(shape: Shape, document: Row) -> bytes:
    lines = [csv_lines([["figure", "value"]], ["text", "text"])]
    for name, kind, value in figure_rows(shape, document):
        lines.append(csv_lines([[name, value]], ["text", kind]))
    return b"".join(lines)


def _rows(
    shape: Shape, document: Row, *, lines: bool, first: bool
) -> Iterator[tuple[Sheet, list[Any]]]:
    """Yield the rows of a reply; what stands beside the pages is taken from the first."""
    main = () if shape.main is None else (shape.main,)
    for sheet in (*main, *(shape.beside if first else ())):
        for cells in sheet.rows(document, lines=lines):
            yield sheet, cells
        yield from child_rows(sheet, listed(document, sheet.path), lines=lines)


def _add(book: XlsxFile, shape: Shape, document: Row, first: bool) -> None:
    if first:
        for name, kind, value in figure_rows(shape, document):
            book.add(FIGURES, [name, value], ["text", kind])
    kinds = {sheet.name: sheet.kinds(lines=False) for sheet in shape.sheets()}
    for sheet, cells in _rows(shape, document, lines=False, first=first):
        book.add(sheet.name, cells, kinds[sheet.name])


async def _in_thread(work: Callable[..., Result], *arguments: Any) -> Result:
    """Do work in a thread; when that is cancelled, wait for it, as its files will be removed."""
    doing = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait({doing})
        raise


class _Spool:
    """What has been made of a file and not been sent yet, on the disk."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - see close
        self._made = 0
        self._sent = 0
        self._ended = False
        self._changed = asyncio.Event()

    async def fill(self, pieces: AsyncGenerator[bytes]) -> None:
        """Write what is made, waiting where the reader is too far behind."""
        try:
            async for piece in pieces:
                while self._made - self._sent > AHEAD_BYTES_MAX:
                    await self._change()
                self._file.seek(self._made)
                self._file.write(piece)
                self._made += len(piece)
                self._changed.set()
        finally:
            self._ended = True
            self._changed.set()
            await pieces.aclose()

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield what is written, as it comes, to its end."""
        while self._sent < self._made or not self._ended:
            if self._sent == self._made:
                await self._change()
                continue
            self._file.seek(self._sent)
            piece = self._file.read(min(_PIECE_BYTES, self._made - self._sent))
            self._sent += len(piece)
            self._changed.set()
            yield piece

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def close(self) -> None:
        """Give the file up."""
        self._file.close()


class TableReply(Reply):
    """A table on its way. What goes wrong before its first byte is sent gets a status."""

    __slots__ = ("_chosen", "_making", "_refused", "_wanted")

    def __init__(
        self, making: _Making, wanted: Format, chosen: str | None, refused: Refused
    ) -> None:
        name = file_name(making.route.path)
        super().__init__(
            200,
            b"",
            [(b"content-disposition", f'attachment; filename="{name}.{wanted}"'.encode())],
            _TYPES[wanted].encode(),
        )
        self._making = making
        self._wanted: Format = wanted
        self._chosen = chosen
        self._refused = refused

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Make it and send it, until its end or until the client has gone away."""
        gone = asyncio.ensure_future(disconnected(receive))
        folder = self._making.call.house.settings.data_dir / "tables"
        folder.mkdir(parents=True, exist_ok=True)
        chunks = self._csv(folder) if self._wanted == "csv" else self._xlsx(folder)
        is_begun = False
        try:
            while True:
                chunk = asyncio.ensure_future(anext(chunks, None))
                await asyncio.wait({chunk, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not chunk.done():
                    chunk.cancel()
                    await asyncio.wait({chunk})
                    return
                if not is_begun and isinstance(fault := chunk.exception(), Exception):
                    await self._refused(fault)(scope, receive, send)
                    return
                body = chunk.result()
                if not is_begun:
                    self.headers = [*self.headers, *self._making.headers]
                    await send(self.opening())
                    is_begun = True
                await send(
                    {
                        "type": "http.response.body",
                        "body": body or b"",
                        "more_body": body is not None,
                    }
                )
                if body is None:
                    return
        finally:
            gone.cancel()
            await chunks.aclose()

    async def _csv(self, folder: Path) -> AsyncGenerator[bytes]:
        spool = _Spool(folder)
        filling = asyncio.create_task(spool.fill(self._making.csv(self._chosen)))
        try:
            async for piece in spool.pieces():
                yield piece
            await filling
        finally:
            filling.cancel()
            await asyncio.wait({filling})
            if not filling.cancelled():
                filling.exception()
            spool.close()

    async def _xlsx(self, folder: Path) -> AsyncGenerator[bytes]:
        with tempfile.TemporaryDirectory(dir=folder, prefix="xlsx-") as name:
            size = await self._making.xlsx(Path(name))
            self.headers = [*self.headers, (b"content-length", b"%d" % size)]
            with (Path(name) / XLSX_NAME).open("rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    yield piece


def file_name(path: str) -> str:
    """Return the name of a route's file: its path's own words, joined by hyphens."""
    words = [word for word in path.strip("/").split("/") if word != "api" and "{" not in word]
    return "-".join(words)
