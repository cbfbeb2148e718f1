"""The file of refused lines: each with its number, the reason, and its cells as they were."""

import csv
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from api.imports.cells import harmless, text_of
from api.imports.tables import Line

_LEADING: Final = ("line", "reason", "detail")


class RefusedFile:
    """Writes the file aside and puts it in place when it is complete.

    Its cells are safe to open in a spreadsheet: what would be a formula is quoted. Where
    nothing was refused, no file is left, and an older one of that name is removed.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.count = 0
        self._aside = path.with_name(f".{path.name}.part")
        self._columns = columns

    def __enter__(self) -> Self:
        self._stream = self._aside.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._stream)
        self._writer.writerow([*_LEADING, *map(harmless, self._columns)])
        return self

    def add(self, line: Line, reason: str, detail: str) -> None:
        """Write one refused line."""
        self.count += 1
        cells = (harmless(text_of(cell)) for cell in line.cells)
        self._writer.writerow([line.number, reason, harmless(detail), *cells])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        if kind is None and self.count:
            self._aside.replace(self.path)
            return
        self._aside.unlink(missing_ok=True)
        if kind is None:
            self.path.unlink(missing_ok=True)
