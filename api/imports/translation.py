"""What every translator of a file shares: its columns, and what it makes of one line."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from api.imports.cells import Unusable
from api.imports.tables import Cell, Line, Table, UnreadableFile
from schemas.common import Command
from schemas.import_batch import ImportKind


class Fault(NamedTuple):
    """Why a line is not taken in: a code to count by and a sentence for a person."""

    code: str
    detail: str


class Translated(NamedTuple):
    """What one line asks of the ledger; exactly one of ``own`` and ``fault`` is there.

    ``before`` are commands that the line relies on (its product, its opening stock); they may
    be refused without harm, say because the product is in the catalogue already. ``own`` is
    the line's own command: the line is accepted when it is. ``after`` follows where it was,
    and must not be refused.
    """

    line: Line
    own: Command | None = None
    fault: Fault | None = None
    before: Sequence[Command] = ()
    after: Sequence[Command] = ()


class Translator(Protocol):
    """Turns a table into commands. The same table and options give the same, each time."""

    @property
    def kind(self) -> ImportKind: ...

    @property
    def options(self) -> Mapping[str, str]:
        """All that changes what the lines come to, as text: part of the batch's identity."""
        ...

    def survey(self) -> Iterator[int]:
        """Read the table once beforehand, yielding the count of lines so far, now and then."""
        ...

    @property
    def lines_total(self) -> int:
        """How many lines there are; known after ``survey``."""
        ...

    def opening(self) -> Sequence[Command]:
        """Commands that go before all lines; a refusal of one does no harm."""
        ...

    def translate(self) -> Iterator[Translated]:
        """Yield every line's translation, in the order of the file."""
        ...


class Columns:
    """Where in a table's lines the fields of a translator stand."""

    def __init__(self, table: Table, mapping: Mapping[str, str]) -> None:
        """Find each field's column by its heading, whatever its case.

        Raises UnreadableFile when a heading is missing, or there twice.
        """
        headings = [heading.casefold() for heading in table.columns]
        self._places: dict[str, int] = {}
        for field, heading in mapping.items():
            count = headings.count(heading.casefold())
            if count != 1:
                problem = "no column" if count == 0 else f"{count} columns"
                raise UnreadableFile(f"{table.path} has {problem} {heading!r} (for {field})")
            self._places[field] = headings.index(heading.casefold())

    def cell(self, line: Line, field: str) -> Cell:
        """Return a field's cell; None when the line is short or the file lacks the column."""
        place = self._places.get(field)
        if place is None or place >= len(line.cells):
            return None
        return line.cells[place]


def choose_columns(
    table: Table,
    known: Mapping[str, Sequence[str]],
    required: Sequence[str],
    text: str | None = None,
) -> dict[str, str]:
    """Return the heading of each field's column.

    ``text`` is what the user says, ``field=Heading,field=Heading``; ``field=`` leaves one
    out. For the rest, the first of the ``known`` headings that the file has is taken. Raises
    ValueError for a field there is not, and for a required one without a column.
    """
    present = {heading.casefold(): heading for heading in table.columns if heading}
    found = ", ".join(present.values())
    chosen: dict[str, str] = {}
    said: dict[str, str] = {}
    for pair in (text or "").split(","):
        field, equals, heading = (part.strip() for part in pair.partition("="))
        if not pair.strip():
            continue
        if not equals or field not in known:
            raise ValueError(f"{pair.strip()!r}: write field=Heading; fields: {', '.join(known)}")
        if heading and heading.casefold() not in present:
            raise ValueError(f"{table.path} has no column {heading!r}; it has {found}")
        said[field] = heading
    for field, headings in known.items():
        names = [said[field]] if field in said else headings
        heading = next((present[n.casefold()] for n in names if n.casefold() in present), None)
        if heading is not None:
            chosen[field] = heading
        elif field in required:
            raise ValueError(
                f"{table.path} has no column for {field}, such as {headings[0]!r}; it has"
                f" {found}. Say which it is: --map {field}=HEADING"
            )
    return chosen


def build(command_type: type[Command], fields: Mapping[str, object]) -> Command:
    """Make a command, checked as strictly as one from HTTP; raise Unusable naming the field."""
    try:
        return msgspec.convert(fields, command_type)
    except msgspec.ValidationError as error:
        text = str(error)
        detail, _, path = text.partition(" - at `$.")
        field = path.rstrip("`").partition(".")[0] or detail.partition(" ")[0]
        code = f"bad_{field}" if field in fields else "bad_line"
        raise Unusable(code, detail if not path else f"{field}: {detail}") from error
