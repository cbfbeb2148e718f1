"""Each invariant has its tests, by name, in ``docs/reference/invariants.md``."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/invariants.md").read_text()


def test_every_invariant_names_tests_that_there_are() -> None:
    """All ten, and no test that was renamed or removed."""
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    assert [section.split()[0] for section in sections] == [f"I{n}" for n in range(1, 11)]
    for section in sections:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", section)
        assert named, section.partition("\n")[0]
        for path, function in named:
            text = (ROOT / "tests" / path).read_text()
            assert f"def {function}(" in text, f"{path} has no {function}"
