"""Write the golden files that are missing: ``python -m tests.golden.make``.

It never changes a file that exists. One for an older version cannot be made any more: it has
to be taken from the release that stored it.
"""

import sys
from pathlib import Path

from ledger.mapper import encode_event
from tests.golden.examples import EXAMPLES, FOLDER, golden_path


def make(folder: Path = FOLDER) -> list[Path]:
    """Store each example whose type's present version has no file yet; return the new files."""
    made: list[Path] = []
    for event in EXAMPLES:
        path = golden_path(event.TYPE, event.SCHEMA_VERSION, folder)
        if not path.exists():
            path.write_bytes(encode_event(event) + b"\n")
            made.append(path)
    return made


if __name__ == "__main__":
    names = [path.name for path in make()]
    sys.stdout.write("".join(f"made {name}\n" for name in names))
