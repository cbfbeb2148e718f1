"""The table of figures: on the terminal, and in the documentation."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "performance.md"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table.

    ``better`` says which way ``ratio`` (ours over the baseline's) has to go: at least ``limit``
    or at most; without a limit it is shown for information.
    """

    name: str
    unit: str
    ours: float
    against: str
    baseline: float
    limit: float | None = None
    better: Literal["higher", "lower"] = "higher"
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.ours / self.baseline if self.baseline else 0.0

    @property
    def limit_text(self) -> str:
        if self.limit is None:
            return ""
        return f"{'≥' if self.better == 'higher' else '≤'} {self.limit:.2f}"

    @property
    def verdict(self) -> str:
        if self.limit is None:
            return "info"
        meets = self.ratio >= self.limit if self.better == "higher" else self.ratio <= self.limit
        return "ok" if meets else "SHORT"


def amount(value: float, unit: str) -> str:
    """Return a value with its unit, in as many digits as mean something."""
    if value >= 100:
        return f"{value:,.0f} {unit}"
    return f"{value:.3g} {unit}" if value < 10 else f"{value:.1f} {unit}"


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print the table."""
    table = Table(title="Figures: ratios of what was measured in this run, on this machine")
    table.add_column("figure")
    table.add_column("ours", justify="right")
    table.add_column("measured against")
    table.add_column("that", justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("")
    for figure in figures:
        colour = {"ok": "green", "SHORT": "bold red", "info": "dim"}[figure.verdict]
        table.add_row(
            figure.name,
            amount(figure.ours, figure.unit),
            figure.against,
            amount(figure.baseline, figure.unit),
            f"{figure.ratio:.2f}",
            figure.limit_text,
            f"[{colour}]{figure.verdict}[/]",
        )
    console.print(table)


def page(
    figures: Sequence[Figure], machine: Mapping[str, str], method: str, *, is_quick: bool
) -> str:
    """Return the documentation's page."""
    measured = f"{datetime.now(UTC):%Y-%m-%d}"
    lines = [
        "# Performance",
        "",
        f"Made by `make bench` on {measured}; run it on your own machine. Each line is a ratio of",
        "two things measured in turn in one run on one machine, all with durable commits (fsync",
        "on), authentication by API key, an Idempotency-Key on every request, balance checks and",
        "inline projections. Ratios carry over to other machines better than the absolute numbers.",
        "",
        "| figure | ours | measured against | that | ratio | limit | |",
        "|---|---:|---|---:|---:|---:|---|",
    ]
    if is_quick:
        lines[2] = "**A quick run: too short to be quoted.**\n\n" + lines[2]
    lines += [
        f"| {figure.name} | {amount(figure.ours, figure.unit)} | {figure.against} | "
        f"{amount(figure.baseline, figure.unit)} | {figure.ratio:.2f} | {figure.limit_text} | "
        f"{figure.verdict} |"
        for figure in figures
    ]
    notes = [f"- **{figure.name}**: {figure.note}" for figure in figures if figure.note]
    if notes:
        lines += ["", "## Notes", "", *notes]
    lines += ["", "## Method", "", method.strip(), "", "## The machine", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in machine.items()]
    return "\n".join(lines) + "\n"


def write(text: str) -> Path:
    """Put the page in the documentation and return its path."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    return PAGE
