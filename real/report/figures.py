"""The report's figures: plain rows in, a Figure out. The only file of `real` that imports matplotlib.

A title is what was found, so the caller, who has the verdicts, words it. An Estimate without bounds is drawn
hollow and without a bar; without a value it leaves its place empty.
"""

import io
import textwrap

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE = {  # what is drawn -> colour and marker; Okabe and Ito's colours, told apart by the colour-blind
    "inducing": ("#D55E00", "o"),
    "control": ("#0072B2", "s"),
    "toxic": ("#000000", "X"),
    "rest": ("#B07C00", "v"),
    "mixed": ("#000000", "D"),
    "geometry": ("#009E73", "^"),
    "projection": ("#3D9BD9", "p"),
    "gradient": ("#B07C00", "v"),
    "judge": ("#5D3A9B", "h"),
    "random": ("#6F6F6F", "X"),
    "oracle": ("#9C4F7F", "P"),
}
OTHER = ("#6F6F6F", "o")
GREY = "#C8C8C8"  # what chance gives
LOOK = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}
SCATTER = {**LOOK, "axes.grid": False, "axes.spines.top": True, "axes.spines.right": True}  # as the toy's
WIDTH = 9.6  # inches


def png(fig: Figure) -> bytes:
    """The same bytes for the same figure: no date, no version."""
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return file.getvalue()


@matplotlib.rc_context(LOOK)
def gap(layers: dict[str, dict[str, dict[str, dict]]], main: str, title: str) -> Figure:
    """`layers`: panel -> domain -> k -> fields of a Gap and its `shown`. The main k is drawn large."""
    domains = next(iter(layers.values()))
    ks = list(next(iter(domains.values())))
    offsets = dict(zip(ks, np.linspace(-0.25, 0.25, len(ks)) if len(ks) > 1 else [0.0], strict=True))
    markers = dict(zip(ks, "^osDvP", strict=False))
    fig, panels = _figure(title, 1.9 + 0.62 * len(domains), 1, len(layers), sharex=True, sharey=True)
    for panel, (name, rows) in zip(panels[0], layers.items(), strict=True):
        for y, by_k in enumerate(rows.values()):
            for k, row in by_k.items():
                at, null = y + offsets[k], [_nan(row["null_low"]), _nan(row["null_high"])]
                panel.plot(null, [at, at], color=GREY, lw=5, solid_capstyle="butt")
                face, size = STYLE["inducing"][0] if row["shown"] else "white", 8 if k == main else 5
                panel.plot(_nan(row["gap"]), at, markers[k], ms=size, mfc=face, mec=STYLE["inducing"][0])
        panel.axvline(0, color="black", lw=0.8)
        panel.locator_params(axis="x", nbins=4)
        panel.set(title=name, xlabel="gap: difference of cosines")
    panels[0, 0].set(yticks=range(len(domains)), yticklabels=domains, ylim=(len(domains) - 0.5, -0.5))
    marks = [_mark(panels[0, 0], markers[k], "white", f"k = {k}") for k in ks]
    marks.append(_mark(panels[0, 0], "o", STYLE["inducing"][0], "filled: beyond both nulls, corrected"))
    marks.append(panels[0, 0].plot([], [], color=GREY, lw=5, label="95 % of random sets")[0])
    fig.legend(handles=marks, loc="outside lower center", ncols=len(marks), columnspacing=1.4)
    return fig


@matplotlib.rc_context(LOOK)
def effect(effects: dict[str, dict[str, dict]], kinds: dict[str, str], title: str) -> Figure:
    """`effects`: arm -> domain -> Estimate; `kinds`: arm -> its name in STYLE. A panel per domain, one scale."""
    arms, domains = list(effects), list(next(iter(effects.values())))
    fig, panels = _figure(title, 1.4 + 0.32 * len(arms), 1, len(domains), sharex=True, sharey=True)
    for panel, domain in zip(panels[0], domains, strict=True):
        for y, arm in enumerate(arms):
            _bar(panel, y, effects[arm][domain], kinds[arm])
        panel.axvline(0, color="black", lw=0.8)
        panel.locator_params(axis="x", nbins=3)
        panel.set(title=f"{textwrap.fill(domain.replace('_', ' '), 14)}\nn = {effects[arms[0]][domain]['n']}")
    panels[0, 0].set(yticks=range(len(arms)), yticklabels=arms, ylim=(len(arms) - 0.4, -0.6))
    fig.supxlabel("effect: margin above the control arm's, nats per answer token, 95 % interval", fontsize=10)
    return fig


@matplotlib.rc_context(LOOK)
def judged(shares: dict[str, dict[str, dict]], kinds: dict[str, str], title: str) -> Figure:
    """`shares`: panel -> arm -> Estimate of a share; `kinds`: arm -> its name in STYLE."""
    arms = list(next(iter(shares.values())))
    fig, panels = _figure(title, 1.4 + 0.32 * len(arms), 1, len(shares), sharey=True)
    for panel, (name, found) in zip(panels[0], shares.items(), strict=True):
        for y, arm in enumerate(arms):
            _bar(panel, y, found[arm], kinds[arm])
        panel.axvline(0, color="black", lw=0.8)
        _percent_axis(panel, "x")
        panel.set(title=f"{name}\nn = {found[arms[0]]['n']} questions")
    panels[0, 0].set(yticks=range(len(arms)), yticklabels=arms, ylim=(len(arms) - 0.4, -0.6))
    fig.supxlabel("share of answers, 95 % interval", fontsize=10)
    return fig


@matplotlib.rc_context(SCATTER)
def leakage(targets: dict[str, dict[str, dict]], title: str) -> Figure:
    """`targets`: direction -> arm -> `predicted`, `measured`, `is_toxic` (one per live feature), `slope`, `found`."""
    arms = list(next(iter(targets.values())))
    fig, panels = _figure(title, 0.9 + 4.0 * len(targets), len(targets), len(arms), sharey=True)
    for (target, rows), line in zip(targets.items(), panels, strict=True):
        for (arm, row), panel in zip(rows.items(), line, strict=True):
            x, y, is_toxic = (np.array(row[name]) for name in ("predicted", "measured", "is_toxic"))
            ends = np.array([min(x.min(), 0), max(x.max(), 0)])
            ring = {"facecolor": "none", "edgecolor": STYLE[arm][0], "lw": 0.7, "alpha": 0.5}
            panel.axhline(0, color="0.45", lw=0.5, zorder=0)
            panel.axvline(0, color="0.45", lw=0.5, zorder=0)
            panel.scatter(x, y, s=12, label=f"{len(x)} live features", **ring)
            panel.scatter(x[is_toxic], y[is_toxic], c="black", marker="x", s=26, lw=1.2, label="toxic ones")
            panel.plot(ends, _nan(row["slope"]) * ends, color="black", lw=1.2, label="fit through the origin")
            panel.set(title=f"{arm} arm\n{row['found']}", xlabel=f"predicted: cosine to {target}")
        line[0].set(ylabel="measured: change of the readout\n(activation units)")
    fig.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


@matplotlib.rc_context(LOOK)
def dynamics(steps: list[int], arms: dict[str, dict], title: str) -> Figure:
    """`arms`: arm -> `margin`, `rise` (set -> Estimates) and `random` (bands), each with one row per step."""
    fig, panels = _figure(title, 4.1, 1, 1 + len(arms), sharex=True)
    margins, *readouts = panels[0]
    for aside, (arm, row) in zip((-0.007, 0.007), arms.items(), strict=True):
        _line(margins, [step + aside * steps[-1] for step in steps], row["margin"], arm)
    margins.set(title="margin of either arm,\ngeneral questions", ylabel="change, nats per answer token")
    for panel, (arm, row) in zip(readouts, arms.items(), strict=True):
        low, high = ([_nan(band[end]) for band in row["random"]] for end in ("low", "high"))
        panel.fill_between(steps, low, high, color=GREY, lw=0, alpha=0.7, label="95 % of random sets")
        for name, rises in row["rise"].items():
            _line(panel, steps, rises, name)
        panel.set(title=f"readouts of each set of features,\n{arm} arm")
        panel.sharey(readouts[0])
    readouts[0].set(ylabel="change, activation units")
    for panel in panels[0]:
        panel.axhline(0, color="black", lw=0.8)
        panel.set(xlabel="optimiser step")
    fig.legend(*readouts[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


@matplotlib.rc_context(LOOK)
def causes(rows: dict[str, dict[str, tuple]], title: str) -> Figure:
    """`rows`: panel -> what was done -> its name in STYLE, Estimate, and the range of random ones or None."""
    fig, panels = _figure(title, 1.7 + 0.42 * max(map(len, rows.values())), 1, len(rows))
    first: dict = {}  # rows -> the first panel that has them; the others share its scale
    for panel, (name, found) in zip(panels[0], rows.items(), strict=True):
        same = first.setdefault(tuple(found), panel)
        if same is not panel:
            panel.sharex(same)
        for y, (kind, e, random) in enumerate(found.values()):
            if random:
                ends = [_nan(random["low"]), _nan(random["high"])]
                panel.plot(ends, [y, y], color=GREY, lw=11, solid_capstyle="butt")
            _bar(panel, y, e, kind)
        panel.axvline(0, color="black", lw=0.8)
        panel.locator_params(axis="x", nbins=4)
        panel.set(yticks=range(len(found)), ylim=(len(found) - 0.4, -0.6), title=name)
        panel.set(yticklabels=list(found) if same is panel else [])
    fig.supxlabel("nats per answer token, 95 % interval (grey: range of random directions)", fontsize=10)
    return fig


@matplotlib.rc_context(LOOK)
def filters(found: dict[str, dict], draws: list[float | None], paper: float, title: str) -> Figure:
    """`found`: filter -> Estimate of its reduction, a share; `draws`: that of every random draw."""
    fig, panels = _figure(title, 1.6 + 0.42 * len(found), 1, 1)
    panel, names = panels[0, 0], list(found)
    blank = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for y, (name, e) in enumerate(found.items()):
        if None in e.values():
            panel.text(0.02, y, "undefined: the mixed arm's effect may be 0", va="center", bbox=blank)
        else:
            _bar(panel, y, e, name)
    draws = [] if None in found["random"].values() else draws
    at = [names.index("random") + 0.28] * len(draws)
    panel.plot(
        [_nan(draw) for draw in draws], at, "|", color=STYLE["random"][0], ms=8, label="one random draw"
    )
    panel.axvline(0, color="black", lw=0.8)
    panel.axvline(paper, color="black", lw=1, ls="--", label=f"the paper's best, {100 * paper:g} %")
    panel.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6))
    _percent_axis(panel, "x")
    panel.set(xlabel="reduction of the mixed arm's effect on general questions, 95 % interval (1 − ratio)")
    fig.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


@matplotlib.rc_context(LOOK)
def sweep(found: dict[str, dict[float, dict]], paper: float, title: str) -> Figure:
    """`found`: filter -> removed share -> Estimate of the reduction, a share. One line for each filter."""
    fig, panels = _figure(title, 4.4, 1, 1)
    panel, width = panels[0, 0], 0.012
    for place, (name, shares) in enumerate(found.items()):
        at = [share + width * (place - (len(found) - 1) / 2) for share in shares]  # side by side, not hidden
        _line(panel, at, list(shares.values()), name)
    panel.axhline(0, color="black", lw=0.8)
    panel.axhline(paper, color="black", lw=1, ls="--", label=f"the paper's best, {100 * paper:g} %")
    shares = list(next(iter(found.values())))
    panel.set(xticks=shares, xticklabels=[f"{100 * share:g} %" for share in shares])
    _percent_axis(panel, "y")
    panel.set(xlabel="share of the mixed set removed", ylabel="reduction of its effect, general questions")
    fig.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=6, columnspacing=1.2)
    return fig


def _figure(title: str, height: float, *shape: int, **layout):
    title = textwrap.fill(title, 104)
    height += 0.2 * title.count("\n")
    fig = Figure(figsize=(WIDTH, height), layout="constrained")
    fig.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return fig, fig.subplots(*shape, squeeze=False, **layout)


def _nan(value: float | None) -> float:
    """matplotlib leaves out what is NaN."""
    return np.nan if value is None else value


def _bar(panel: Axes, y: int, e: dict, kind: str) -> None:
    colour, marker = STYLE.get(kind, OTHER)
    face = "white" if None in (e["low"], e["high"]) else colour
    panel.plot([_nan(e["low"]), _nan(e["high"])], [y, y], color=colour, lw=2.2, solid_capstyle="butt")
    edge = colour if face == "white" else "white"
    panel.plot(_nan(e["value"]), y, marker, mfc=face, mec=edge, ms=8, mew=0.8)


def _line(panel: Axes, x: list, found: list[dict], kind: str) -> None:
    colour, marker = STYLE.get(kind, OTHER)
    values, low, high = (np.array([_nan(e[end]) for e in found]) for end in ("value", "low", "high"))
    panel.vlines(x, low, high, color=colour, lw=1.4)
    panel.plot(x, values, color=colour, marker=marker, ms=6, lw=1.4, mec="white", mew=0.6, label=kind)


def _mark(panel: Axes, marker: str, face: str, label: str):
    return panel.plot([], [], marker, mfc=face, mec=STYLE["inducing"][0], ms=7, label=label)[0]


def _percent_axis(panel: Axes, axis: str) -> None:
    """A ratio's interval may be endless; what lies beyond -100 % and 200 % is cut off."""
    low, high = getattr(panel, f"get_{axis}lim")()
    getattr(panel, f"set_{axis}lim")(max(low, -1), min(high, 2))
    getattr(panel, f"{axis}axis").set_major_formatter(
        lambda value, _: f"{100 * value:.0f} %".replace("-", "−")
    )
