"""Pictures and terminal plots: what is in them, that they are well formed, and every odd case."""

import re
import struct
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from deploy.commands.report import command
from deploy.plots import Chart, Series, drawn, shown, write_picture

SVG = "{http://www.w3.org/2000/svg}"
VALUES = [Decimal(n * n % 37) + Decimal("0.25") for n in range(30)]


def chart(
    values: Sequence[Sequence[Decimal]] = (VALUES,), kind: str = "line", by: str = "week"
) -> Chart:
    days = [date(2026, 1, 5) + timedelta(7 * n) for n in range(len(values[0]) if values else 0)]
    series = [Series(f"<Place & {number}>", column) for number, column in enumerate(values)]
    return Chart("Stock, <all> & more", "each", kind, by, days, series, "Acme, position 7")  # type: ignore[arg-type]


def _heights(line: str) -> list[float]:
    """Return where an SVG path's points are, from the top."""
    return [float(y) for _, _, y in re.findall(r"([ML]) (\S+) (\S+)", line)]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_an_svg_has_each_series_with_every_figure_in_proportion(tmp_path: Path, count: int) -> None:
    """Well-formed, text as text, and the lines go through the figures."""
    columns = [[value * (number + 1) for value in VALUES] for number in range(count)]
    write_picture(chart(columns), tmp_path / "x.svg")
    root = ElementTree.parse(tmp_path / "x.svg").getroot()
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"Stock, <all> & more", "each", "Acme, position 7"} <= set(texts)
    groups = {group.get("id"): group for group in root.iter(f"{SVG}g")}
    scales: list[float] = []
    for number, column in enumerate(columns):
        (path, *_) = groups[f"series-{number + 1}"].iter(f"{SVG}path")
        heights = _heights(path.get("d") or "")
        assert len(heights) == len(column)
        scale = (heights[1] - heights[0]) / float(column[1] - column[0])
        zero = heights[0] - scale * float(column[0])
        for height, value in zip(heights, column, strict=True):
            assert abs(zero + scale * float(value) - height) < 0.01
        scales.append(scale)
        assert (f"<Place & {number}>" in texts) == (count > 1)
    assert max(scales) - min(scales) < 0.001 < -max(scales), "one axis, upwards"


def test_the_same_chart_is_the_same_svg(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        write_picture(chart(), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_bars_are_as_high_as_their_figures(tmp_path: Path) -> None:
    write_picture(chart(kind="bars"), tmp_path / "x.svg")
    root = ElementTree.parse(tmp_path / "x.svg").getroot()
    bars = [group for group in root.iter(f"{SVG}g") if group.get("id") == "series-1"]
    tall: list[float] = []
    for bar in bars:
        (path,) = bar.iter(f"{SVG}path")
        heights = _heights(path.get("d") or "")
        tall.append(max(heights) - min(heights))
    assert len(tall) == len(VALUES)
    unit = tall[1] / float(VALUES[1])
    for height, value in zip(tall, VALUES, strict=True):
        assert abs(height - unit * float(value)) < 0.01


def test_a_png_is_one_of_its_size(tmp_path: Path) -> None:
    write_picture(chart(), tmp_path / "x.PNG")
    data = (tmp_path / "x.PNG").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (1200, 672)


ODD = [
    chart([]),
    chart([[Decimal(0)] * 5]),
    chart([[Decimal(4)]]),
    chart([[Decimal(4)]], kind="bars"),
    chart([[Decimal(-4), Decimal(2)]]),
    chart([[Decimal(-4), Decimal(-2)]], kind="bars"),
    chart([[Decimal("123456789012345678.123456")] * 3]),
    chart([[Decimal("0.000001"), Decimal("0.000003")]]),
    chart([[Decimal(n % 11) for n in range(1_100)]], by="day"),
    chart([VALUES] * 8, by="month"),
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_odd_charts_are_drawn_too(tmp_path: Path, odd: Chart) -> None:
    """Nothing, all zero, one point, below zero, huge, tiny, three years of days, many series."""
    for name in ("x.svg", "x.png"):
        write_picture(odd, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1_000
    text = drawn(odd, 80, colour=False)
    assert text.startswith("Stock, <all> & more\n")
    assert text.endswith("Acme, position 7")
    assert all(len(line) <= 80 or "<Place" in line for line in text.splitlines())
    for series in () if odd.is_empty else odd.series:
        assert f"{shown(series.values[-1])} each" in text
    assert odd.is_empty == ("Nothing in this range" in text)


@pytest.mark.parametrize("width", [20, 60, 80])
def test_a_plot_in_the_terminal_has_title_scale_days_and_last_figures(width: int) -> None:
    """Without colours it is plain text; with them the same text in colours."""
    plain = drawn(chart([VALUES, VALUES[::-1]]), width, colour=False)
    assert "\x1b" not in plain
    for said in ("Stock, <all> & more", "each", "2026-01-05", "Acme, position 7"):
        assert said in plain
    assert f"● <Place & 0>  {shown(VALUES[-1])} each, week of 2026-07-27" in plain
    assert f"▲ <Place & 1>  {shown(VALUES[0])} each, week of 2026-07-27" in plain
    coloured = drawn(chart([VALUES, VALUES[::-1]]), width, colour=True)
    assert "\x1b[38;2;0;114;178m" in coloured
    uncoloured = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in uncoloured.splitlines()] == plain.splitlines()


def test_a_picture_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.svg or \.png"):
        write_picture(chart(), tmp_path / "x.pdf")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stock", "--out", "x.pdf"], ".svg nor .png"),
        (["profit"], "'stock'"),
        (["stock", "--from", "1.5.2026"], "%Y-%m-%d"),
        (["stock", "--by", "year"], "'month'"),
    ],
)
def test_the_command_says_what_it_takes(arguments: list[str], said: str) -> None:
    """Before anything is read."""
    result = CliRunner().invoke(command, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert said in result.output


def test_figures_are_written_with_thousands_apart_and_at_least_their_decimals() -> None:
    assert shown(Decimal("1234567.500000")) == "1,234,567.5"
    assert shown(Decimal("1234567.500000"), 2) == "1,234,567.50"
    assert shown(Decimal(40), 2) == "40.00"
    assert shown(Decimal("40.000")) == "40"
    assert shown(Decimal("-0.123")) == "-0.123"
