"""Tables of lines out of files: CSV and XLSX, streamed, bounded before anything is believed."""

import csv
import hashlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from api.imports import xlsx_worker

FILE_BYTES_MAX: Final = 512 << 20
CSV_ROWS_MAX: Final = 5_000_000
CELL_CHARACTERS_MAX: Final = 32_767  # as in a worksheet
COLUMNS_MAX: Final = xlsx_worker.COLUMNS_MAX
_FRAME_BYTES_MAX: Final = 256 << 20
_DIGEST_PIECE_BYTES: Final = 1 << 20

Cell = str | int | float | bool | datetime | None
"""What stands in a cell. Numbers that are not text come from worksheets only, which hold
binary numbers; a datetime never has a zone."""


class UnreadableFile(Exception):
    """The file cannot be taken in at all. The text names it and says what would help."""


class Line(NamedTuple):
    """One line that is not blank: its number in the file, counted from 1 as editors do."""

    number: int
    cells: Sequence[Cell]


class Table:
    """The lines of one file. ``lines`` may be called again and gives the same again.

    ``digest`` is the SHA-256 of the file's bytes, in hexadecimal. Raises UnreadableFile when
    the file is missing, of an unknown kind, or larger than FILE_BYTES_MAX.
    """

    def __init__(
        self,
        path: Path,
        *,
        sheet: str | None = None,
        delimiter: str = ",",
        encoding: str = "utf-8-sig",
    ) -> None:
        self.path = path
        self._sheet = sheet
        self._delimiter = delimiter
        self._encoding = encoding
        try:
            status = path.stat()
        except OSError as error:
            raise UnreadableFile(f"{path}: {error.strerror}") from error
        if not path.is_file():
            raise UnreadableFile(f"{path} is not a file")
        if path.suffix.lower() not in (".csv", ".xlsx"):
            raise UnreadableFile(f"{path}: only .csv and .xlsx files are understood")
        if status.st_size > FILE_BYTES_MAX:
            raise UnreadableFile(f"{path} is over {FILE_BYTES_MAX >> 20} MiB; split it")
        self._stamp = (status.st_size, status.st_mtime_ns)
        self.digest = _digest(path)
        self._begun: Iterator[Line] | None = self._all_lines()
        header = next(self._begun, None)
        if header is None:
            raise UnreadableFile(f"{path} is empty; its first line must name the columns")
        self.columns: tuple[str, ...] = tuple(
            "" if cell is None else str(cell).strip() for cell in header.cells
        )

    def lines(self) -> Iterator[Line]:
        """Yield every line after the header that has anything in it.

        Raises UnreadableFile when the file is damaged, has too many rows, or has changed
        since it was opened.
        """
        # The reading that found the header goes on; a later one begins anew.
        lines, self._begun = self._begun, None
        if lines is None:
            lines = self._all_lines()
            next(lines, None)
        yield from lines
        status = self.path.stat()
        if (status.st_size, status.st_mtime_ns) != self._stamp:
            raise UnreadableFile(f"{self.path} changed while it was read; start again")

    def _all_lines(self) -> Iterator[Line]:
        return self._csv_lines() if self.path.suffix.lower() == ".csv" else self._xlsx_lines()

    def _csv_lines(self) -> Iterator[Line]:
        csv.field_size_limit(CELL_CHARACTERS_MAX)
        try:
            with self.path.open(encoding=self._encoding, newline="") as stream:
                reader = csv.reader(stream, delimiter=self._delimiter, strict=True)
                number = 1
                for count, cells in enumerate(reader):
                    if count > CSV_ROWS_MAX:
                        raise UnreadableFile(
                            f"{self.path} has more than {CSV_ROWS_MAX:,} rows; split it"
                        )
                    if len(cells) > COLUMNS_MAX:
                        raise UnreadableFile(
                            f"{self.path}, line {number}: more than {COLUMNS_MAX} columns"
                        )
                    if any(cell.strip() for cell in cells):
                        yield Line(number, cells)
                    number = reader.line_num + 1
        except UnicodeDecodeError as error:
            raise UnreadableFile(
                f"{self.path} is not {self._encoding} ({error.reason} at byte"
                f" {error.start} of a block); say its encoding, for example --encoding cp1252"
            ) from error
        except (csv.Error, LookupError) as error:
            raise UnreadableFile(f"{self.path}: {error}") from error

    def _xlsx_lines(self) -> Iterator[Line]:
        command = [sys.executable, "-I", str(Path(xlsx_worker.__file__)), str(self.path)]
        if self._sheet is not None:
            command.append(self._sheet)
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            try:
                yield from self._framed_lines(process)
            finally:
                process.kill()

    def _framed_lines(self, process: "subprocess.Popen[bytes]") -> Iterator[Line]:
        number = 1
        while (frame := _read_frame(process)) is not None:
            match frame:
                case {"fault": fault}:
                    raise UnreadableFile(f"{self.path} {fault}")
                case {"rows": _}:
                    return
                case rows:
                    for row in rows:
                        if any(cell != "" for cell in row):
                            yield Line(number, [_from_frame(cell) for cell in row])
                        number += 1
        raise UnreadableFile(
            f"{self.path} could not be read within {xlsx_worker.MEMORY_BYTES_MAX >> 30} GiB"
            f" of memory and {xlsx_worker.CPU_SECONDS_MAX} s; save it as CSV"
        )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_DIGEST_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _read_frame(process: "subprocess.Popen[bytes]") -> Any:
    assert process.stdout is not None
    length = int.from_bytes(process.stdout.read(4), "big")
    if not 0 < length <= _FRAME_BYTES_MAX:
        return None
    data = process.stdout.read(length)
    return msgspec.msgpack.decode(data) if len(data) == length else None


def _from_frame(cell: Any) -> Cell:
    match cell:
        case [str() as moment]:
            return datetime.fromisoformat(moment)
        case "":
            return None
        case _:
            return cell
