"""Reads one worksheet in a process of its own, with limits, and writes its rows to stdout.

A workbook is an archive that somebody else made: a few kilobytes may unpack to gigabytes, and
one cell far to the right may ask for a table of billions. So it is measured before it is
parsed, in a process that the kernel stops when it takes too much memory or time. Run as a
script by ``api.imports.tables``; it imports nothing of ours.

Frames on stdout: four bytes of length, big-endian, then MessagePack: lists of rows, the first
being row 1 whether empty or not, and ``{"rows": n}`` at the end, or ``{"fault": text}``. A
cell is text, a number, a boolean or, for a date, a list of one ISO 8601 text without a zone.
"""

import datetime
import re
import sys
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import msgspec
import python_calamine

ROWS_MAX: Final = 1_048_576  # Excel's own limit
UNZIPPED_BYTES_MAX: Final = 1 << 30
MEMORY_BYTES_MAX: Final = 2 << 30
CPU_SECONDS_MAX: Final = 300
COLUMNS_MAX: Final = 256
ROWS_PER_FRAME: Final = 1_000

_ROW = re.compile(rb'<(?:\w+:)?row\b[^>]*?\br="(\d{1,12})"')
# Only columns from IA (235) on, so that nearly no cell of a usual sheet matches.
_FAR_COLUMN = re.compile(rb' r="((?:[A-Z]{3,8}|[I-Z][A-Z]))\d')
_PIECE_BYTES: Final = 1 << 20
_TAG_BYTES_MAX: Final = 512


class Fault(Exception):
    """The workbook cannot be read; the text says why and what to do."""


def limit_process() -> None:
    """Bound this process's memory and processor time, where the system can."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS_MAX, CPU_SECONDS_MAX))
    except (ImportError, OSError, ValueError):
        return  # macOS knows no RLIMIT_AS; the checks of sizes below hold everywhere


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def check_size(path: str) -> None:
    """Unpack the workbook piece by piece, keeping nothing, and raise Fault when it is too big.

    The sizes in an archive's directory are claims, so what counts is what comes out of it.
    """
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                is_sheet = member.filename.startswith("xl/worksheets/")
                with archive.open(member) as stream:
                    row_max = column_max = 0
                    tail = b""
                    while piece := stream.read(_PIECE_BYTES):
                        total += len(piece)
                        if total > UNZIPPED_BYTES_MAX:
                            raise Fault(
                                f"unpacks to more than {UNZIPPED_BYTES_MAX >> 20} MiB;"
                                " split it or save it as CSV"
                            )
                        if not is_sheet:
                            continue
                        window = tail + piece
                        for found in _ROW.finditer(window):
                            row_max = max(row_max, int(found[1]))
                        far = set(_FAR_COLUMN.findall(window))
                        column_max = max([column_max, *map(_column_number, far)])
                        tail = window[-_TAG_BYTES_MAX:]
                        if row_max > ROWS_MAX:
                            raise Fault(f"has rows beyond {ROWS_MAX:,}; split it")
                        if column_max > COLUMNS_MAX:
                            raise Fault(
                                f"has cells beyond column {COLUMNS_MAX}; remove what the import"
                                " does not need"
                            )
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise Fault(f"is no readable XLSX workbook ({error})") from error


def _plain(value: Any) -> Any:
    match value:
        case bool() | str() | int() | float():
            return value
        case datetime.datetime() | datetime.date():
            return [value.isoformat()]
        case _:
            return str(value)


def frames(path: str, sheet: str | None) -> Iterator[Any]:
    """Yield the frames of one worksheet, the first unless ``sheet`` names another."""
    check_size(path)
    try:
        workbook: Any = python_calamine.load_workbook(path)  # pyright: ignore[reportUnknownMemberType]
        names = workbook.sheet_names
        if not names:
            raise Fault("has no worksheet")
        if sheet is not None and sheet not in names:
            raise Fault(f"has no sheet {sheet!r}; it has {', '.join(map(repr, names))}")
        table = workbook.get_sheet_by_name(sheet or names[0])
    except python_calamine.CalamineError as error:
        raise Fault(f"is no readable XLSX workbook ({error})") from error
    rows: list[list[Any]] = []
    count = 0
    for row in table.iter_rows():
        rows.append([_plain(value) for value in row])
        count += 1
        if len(rows) == ROWS_PER_FRAME:
            yield rows
            rows = []
    if rows:
        yield rows
    yield {"rows": count}


def _write(out: BinaryIO, encoder: msgspec.msgpack.Encoder, frame: Any) -> None:
    data = encoder.encode(frame)
    out.write(len(data).to_bytes(4, "big"))
    out.write(data)


def main(path: str, sheet: str | None) -> int:
    """Write the sheet's frames, or one that says what is wrong. Returns the exit status."""
    limit_process()
    encoder = msgspec.msgpack.Encoder()
    out = sys.stdout.buffer
    try:
        for frame in frames(path, sheet):
            _write(out, encoder, frame)
    except Fault as fault:
        _write(out, encoder, {"fault": str(fault)})
    except MemoryError:
        _write(out, encoder, {"fault": "needs more memory than allowed; save it as CSV"})
    except BrokenPipeError:
        return 1  # the reader has seen enough
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
