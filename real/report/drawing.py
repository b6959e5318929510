"""What the report's figures are drawn with: rows of estimates, lines of them, ranges of chance.

An Estimate without bounds is drawn hollow and without a bar; without a value it leaves its place empty.
"""

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from shared.style import STYLE

MARKS = STYLE | {"toxic part": STYLE["toxic"], "rest": STYLE["gradient"], "base": ("#6F6F6F", "o")}
BAND = "#C8C8C8"  # what chance gives
LOOK = {"axes.titlesize": 10, "axes.titlelocation": "left", "xtick.major.size": 0, "ytick.major.size": 0}
LOOK |= {"axes.grid": True, "axes.axisbelow": True, "grid.color": "0.9", "lines.solid_capstyle": "butt"}


def draw_bars(title: str, panels: dict[str, dict], label: str, one_scale: bool = True) -> Figure:
    """`panels`: title -> row -> mark, Estimate or None, range of chance or None. Those of one form share a scale."""
    fig, axes = new_figure(title, 1.5 + 0.36 * max(map(len, panels.values())), 1, len(panels))
    first: dict[tuple, Axes] = {}
    for panel, (name, rows) in zip(axes[0], panels.items(), strict=True):
        alike = first.setdefault(tuple(rows), panel)
        if one_scale and alike is not panel:
            panel.sharex(alike)
        draw_rows(panel, rows, nbins=12 // len(panels))
        panel.set_title(name)
        if alike is not panel:
            panel.set_yticklabels([])
    if len(panels) == 1:
        panel.set_xlabel(label)
    else:
        fig.supxlabel(label, fontsize=10)
    return fig


def draw_rows(panel: Axes, rows: dict[str, tuple], nbins: int = 6) -> None:
    for y, (mark, e, by_chance) in enumerate(rows.values()):
        if by_chance:
            draw_band(panel, float(y), by_chance, lw=11)
        if e:
            draw_bar(panel, y, e, mark)
    panel.locator_params(axis="x", nbins=nbins)
    panel.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.4, -0.6))


def new_figure(title: str, height: float, *shape: int, zero: str = "v", **layout):
    """`zero`: whether 0 is marked by a (v)ertical line, a (h)orizontal one, or both."""
    title = textwrap.fill(title, 104)
    fig = Figure(figsize=(9.6, height + 0.2 * title.count("\n")), layout="constrained")
    fig.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    panels = fig.subplots(*shape, squeeze=False, **layout)
    for panel in panels.flat:
        for way in zero:
            getattr(panel, f"ax{way}line")(0, color="0.4", lw=0.8, zorder=1)
    return fig, panels


def explained(fig: Figure, panel: Axes, ncols: int) -> Figure:
    """With a legend of what this panel shows."""
    fig.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=ncols, columnspacing=1.2)
    return fig


def numbers(*values: float | None) -> np.ndarray:
    """None becomes NaN, which matplotlib leaves out."""
    return np.array(values, dtype=float)


def draw_band(panel: Axes, y: float, null: dict, lw: int, colour: str = BAND) -> None:
    panel.plot(numbers(null["low"], null["high"]), [y, y], color=colour, lw=lw, zorder=0.5)


def draw_bar(panel: Axes, y: int, e: dict, mark: tuple[str, str]) -> None:
    colour, marker = mark
    face, edge = (colour, "white") if None not in (e["low"], e["high"]) else ("white", colour)
    panel.plot(numbers(e["low"], e["high"]), [y, y], color=colour, lw=2.2)
    panel.plot(numbers(e["value"]), y, marker, mfc=face, mec=edge, ms=8, mew=0.8)


def draw_line(panel: Axes, x: list, found: list[dict], kind: str) -> None:
    colour, marker = MARKS[kind]
    values, low, high = (numbers(*(e[end] for e in found)) for end in ("value", "low", "high"))
    panel.vlines(x, low, high, color=colour, lw=1.4)
    panel.plot(x, values, color=colour, marker=marker, ms=6, lw=1.4, mec="white", mew=0.6, label=kind)


def percent_axis(panel: Axes, axis: str) -> None:
    """A ratio's interval may be endless; what lies beyond -100 % and 200 % is cut off."""
    low, high = getattr(panel, f"get_{axis}lim")()
    getattr(panel, f"set_{axis}lim")(max(low, -1), min(high, 2))
    getattr(panel, f"{axis}axis").set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
