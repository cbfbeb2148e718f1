"""The reference pages that are made from the code are what the code makes."""

from pathlib import Path

import pytest

from api.problems import all_refusals
from deploy.commands.reference import PAGES

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_page_is_what_the_code_makes(name: str) -> None:
    """`stockledger reference --write docs/reference` has been run since the last change."""
    committed = (FOLDER / name).read_text(encoding="utf-8")
    assert PAGES[name]() == committed, (
        f"docs/reference/{name} is not current: "
        "run .venv/bin/stockledger reference --write docs/reference"
    )


def test_every_refusal_has_an_example_in_words() -> None:
    """A refusal's text can be made from its fields, and ends as a sentence does."""
    page = PAGES["errors.md"]()
    for refusal in all_refusals():
        assert f"### {refusal.CODE}\n" in page
    examples = [line for line in page.splitlines() if line.startswith("> ")]
    assert len(examples) == len(all_refusals())
    assert all(example.endswith(".") for example in examples)
