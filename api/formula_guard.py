"""Text in CSV files that no spreadsheet runs as a formula, and that comes back as it was.

What would be a formula gets an apostrophe before it (OWASP, "CSV injection"). Text that has such
an apostrophe already gets another, so that taking one away is always right; any other text stays
as it is.
"""

import re
from typing import Final

_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")


def guard(text: str) -> str:
    """Return text for a CSV cell."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguard(text: str) -> str:
    """Return the text that `guard` made a cell of; what it never made stays as it is."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
