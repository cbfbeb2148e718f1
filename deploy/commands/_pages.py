"""What the reference pages have in common."""

import re
from collections.abc import Iterable
from typing import Final

MADE: Final = "Made by `stockledger reference --write docs/reference` from the code.\n"


def plain(text: str) -> str:
    """Return a docstring's text as Markdown in one line."""
    return " ".join(re.sub(r"``(.+?)``", r"`\1`", text).split())


def page(lines: Iterable[str]) -> str:
    """Return lines as a page, with no more than one empty line between any two."""
    text = "\n".join(lines)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
