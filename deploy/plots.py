"""Draws a chart: in the terminal, and as SVG or PNG.

A chart's figures are exact decimals; they become floats here and nowhere before, as places on
paper. Colours are Okabe and Ito's, which people who see colours differently tell apart; each
series has a line style of its own as well.
"""

import math
import textwrap
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

FORMATS: Final = (".svg", ".png")
WIDTH_MIN: Final = 40
_ROWS: Final = 20
_SCALE_STEPS: Final = 4
_SYMBOLS_APART: Final = 12
_INCHES: Final = (10.0, 5.6)
_DOTS_PER_INCH: Final = 120
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_TOTAL: Final = "#000000"
_STYLES: Final = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
_SYMBOLS: Final = ("●", "▲", "■", "◆", "+", "x", "o")
_INK: Final = "#333333"
_FAINT: Final = "#666666"
_CAPTION_CHARACTERS: Final = 150
# So few figures are shown as points on their line too.
_FEW: Final = 60
_LEGEND_COLUMNS: Final = 3
_NAME_CHARACTERS: Final = 40
_DAYS: Final = {"day": 1, "week": 7, "month": 28}


class Series(NamedTuple):
    """One line, or one row of bars: a figure for each of the chart's days."""

    name: str
    values: Sequence[Decimal]


class Chart(NamedTuple):
    """What is drawn: ``days`` are the places on the time axis, ``by`` how far apart they are.

    ``unit`` is what is counted, for the other axis, and ``decimals`` how many its figures have at
    least. A chart may have no series, or one day.
    """

    title: str
    unit: str
    kind: Literal["line", "bars"]
    by: Literal["day", "week", "month"]
    days: Sequence[date]
    series: Sequence[Series]
    caption: str
    decimals: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(value for series in self.series for value in series.values)


def shown(value: Decimal, decimals: int = 0) -> str:
    """Return a figure as it is written: thousands apart, and at least so many decimals."""
    whole, _, behind = f"{value:,f}".partition(".")
    behind = behind.rstrip("0").ljust(decimals, "0")
    return f"{whole}.{behind}" if behind else whole


# --- terminal ---------------------------------------------------------------------------


def drawn(chart: Chart, width: int, *, colour: bool) -> str:
    """Return a chart as text of at most ``width`` columns, with the last figures exactly."""
    lines = [chart.title, ""]
    if chart.is_empty:
        lines += ["Nothing in this range.", ""]
    else:
        lines += [_terminal_plot(chart, max(width, WIDTH_MIN), colour), *_last_figures(chart), ""]
    return "\n".join([*lines, *textwrap.wrap(chart.caption, max(width, WIDTH_MIN))])


def _last_figures(chart: Chart) -> list[str]:
    """Return each series' last figure: a plot only shows about how much it is."""
    last = chart.days[-1]
    when = {"day": f"{last}", "week": f"week of {last}", "month": f"{last:%B %Y}"}[chart.by]
    width = max(len(series.name) for series in chart.series)
    return [
        f"{_symbol(chart, number)} {series.name:{width}}  "
        f"{shown(series.values[-1], chart.decimals)} {chart.unit}, {when}"
        for number, series in enumerate(chart.series)
    ]


def _symbol(chart: Chart, number: int) -> str:
    """Return the symbol that a series is drawn with where there are several."""
    if _is_fine(chart):
        return "▇" if chart.kind == "bars" else "▚"
    return _SYMBOLS[number % len(_SYMBOLS)]


def _is_fine(chart: Chart) -> bool:
    """Whether there is one line, of so many points that it is drawn in the finest way there is."""
    return len(chart.series) == 1 and (chart.kind == "bars" or len(chart.days) > _SYMBOLS_APART)


def _terminal_plot(chart: Chart, width: int, colour: bool) -> str:
    # It takes a while to load, and few commands draw.
    import plotext

    library: Any = plotext
    plot = library.figure
    plot.clear()
    plot.theme("simple")
    plot.plot_size(width, _ROWS)
    places = list(range(len(chart.days)))
    low, high = 0.0, 0.0
    for number, series in enumerate(chart.series):
        values = [float(value) for value in series.values]
        low, high = min(low, *values), max(high, *values)
        symbol = "hd" if _is_fine(chart) else _symbol(chart, number)
        red, green, blue = bytes.fromhex(_COLOURS[number % len(_COLOURS)][1:])
        marker = library.marker(symbol, library.pixel((red, green, blue)))
        if chart.kind == "bars":
            plot.draw(plot.bar(places, values, marker=marker))
        else:
            plot.draw(plot.signal(places, values, marker=marker).lines(len(places) > 1))
    ticks = _tick_places(len(places), width // 14)
    plot.ruler("x").ticks(ticks, [_tick(chart, place) for place in ticks])
    scale = _scale(low, high)
    plot.ruler("y").lim(scale[0], scale[-1])
    plot.ruler("y").ticks(scale, [_label(value) for value in scale])
    text: str = plot.build().string()
    text = text if colour else library.uncolorize(text)
    return "\n".join([f"{chart.unit}", *(line.rstrip() for line in text.rstrip().splitlines())])


def _scale(low: float, high: float) -> Sequence[float]:
    """Return round numbers, evenly apart, from at or below ``low`` to at or above ``high``."""
    step = 10.0 ** math.floor(math.log10(high - low))
    while (high - low) / step < _SCALE_STEPS:
        step /= 2
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 9) for number in range(first, last + 1)]


def _tick_places(count: int, wanted: int) -> list[int]:
    """Return at most ``wanted`` places, evenly apart, the first and the last among them."""
    wanted = max(2, min(count, wanted))
    return sorted({round(number * (count - 1) / (wanted - 1)) for number in range(wanted)})


def _tick(chart: Chart, place: int) -> str:
    day = chart.days[place]
    return f"{day:%b %Y}" if chart.by == "month" else day.isoformat()


# --- files ------------------------------------------------------------------------------


def write_picture(chart: Chart, path: Path) -> None:
    """Write a chart as SVG or PNG, as the file's name ends; raise ValueError for another end.

    Needs no display. The same chart gives the same SVG. In an SVG, text is text, and each series
    is a group whose id is ``series-1``, ``series-2`` and so on.
    """
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path.name}: a picture's name ends in {' or '.join(FORMATS)}")
    import matplotlib
    from matplotlib.figure import Figure

    library: Any = matplotlib
    # "none" leaves text as text, and the salt names the parts alike each time.
    with library.rc_context({"svg.fonttype": "none", "svg.hashsalt": "stockledger"}):
        figure: Any = Figure(figsize=_INCHES, layout="constrained")
        _draw(chart, figure.add_subplot())
        figure.suptitle(chart.title, x=0.01, ha="left", fontsize=14, color=_INK)
        caption = "\n".join(textwrap.wrap(chart.caption, _CAPTION_CHARACTERS))
        figure.supxlabel(caption, x=0.01, ha="left", fontsize=8, color=_FAINT)
        kind = path.suffix.lower().removeprefix(".")
        metadata = {"Title": chart.title} | ({"Date": None} if kind == "svg" else {})
        figure.savefig(path, format=kind, dpi=_DOTS_PER_INCH, metadata=metadata)


def _draw(chart: Chart, axes: Any) -> None:
    axes.set_ylabel(chart.unit, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    if chart.is_empty:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(
            0.5, 0.5, "Nothing in this range", transform=axes.transAxes, ha="center", color=_FAINT
        )
        return
    for number, series in enumerate(chart.series):
        _draw_series(chart, axes, number, series)
    _time_axis(chart, axes)
    low, high = axes.get_ylim()
    below_zero = any(value < 0 for series in chart.series for value in series.values)
    axes.set_ylim(low if below_zero else 0, max(high, 0))
    if below_zero:
        axes.axhline(0, color=_INK, linewidth=0.8)
    axes.yaxis.set_major_formatter(_label)
    if len(chart.series) > 1:
        axes.legend(
            frameon=False,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=_LEGEND_COLUMNS,
            fontsize=9,
        )


def _label(value: float, _place: int = 0) -> str:
    return f"{value:,.10g}"


def _draw_series(chart: Chart, axes: Any, number: int, series: Series) -> None:
    values = [float(value) for value in series.values]
    colour = _COLOURS[number % len(_COLOURS)]
    name = f"series-{number + 1}"
    if chart.kind == "bars":
        bars = axes.bar(
            chart.days, values, width=0.85 * _DAYS[chart.by], color=colour, label=series.name
        )
        for bar in bars:
            bar.set_gid(name)
        return
    is_few = len(values) <= _FEW
    (line,) = axes.plot(
        chart.days,
        values,
        color=colour,
        linestyle=_STYLES[number % len(_STYLES)],
        linewidth=1.8,
        marker="o" if is_few else None,
        markersize=4,
        label=_short(series.name),
    )
    # A line that is simplified would not go through each of its figures.
    line.get_path().should_simplify = False
    line.set_gid(name)


def _short(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 1]}…"


def _time_axis(chart: Chart, axes: Any) -> None:
    from matplotlib import dates

    # One day alone would have no length to be drawn on.
    step = timedelta(days=_DAYS[chart.by])
    axes.set_xlim(chart.days[0] - step, chart.days[-1] + step)
    locator = dates.AutoDateLocator(minticks=2, maxticks=9)
    if len(chart.days) == 1:
        axes.set_xticks([chart.days[0]], [_tick(chart, 0)])
        return
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
