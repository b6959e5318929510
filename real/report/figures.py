"""The report's figures: a title, which is what was found, and the summary in; a Figure out.

An Estimate without bounds is drawn hollow and without a bar; without a value it leaves its place empty.
"""

import io
import textwrap
from collections import defaultdict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from real.effects.leakage import Leaked
from real.report.rules import SHOWN, gap_word
from real.report.text import arm_name, chance, number, share
from real.report.verdicts import PAPER, cells, tests
from shared.style import STYLE, look

MARKS = defaultdict(lambda: ("#3B3B3B", "*"), STYLE)  # a star for a filter that shared/style.py does not know
MARKS |= {"toxic part": STYLE["toxic"], "rest": STYLE["gradient"], "base": ("#6F6F6F", "o")}
BAND = "#C8C8C8"  # what chance gives
LOOK = {"axes.titlesize": 10, "axes.titlelocation": "left", "xtick.major.size": 0, "ytick.major.size": 0}
LOOK |= {"text.parse_math": False}  # a name may hold two dollar signs
LOOK |= {"axes.grid": True, "axes.axisbelow": True, "grid.color": "0.9", "lines.solid_capstyle": "butt"}


def png(name: str, title: str, summary: dict, moved: Leaked | None = None) -> bytes:
    """One figure: the same bytes for the same numbers. `moved`: the readouts that the leakage figure shows."""
    paint = {of.__name__: of for of in (gap, effect, judged, dynamics, causes, filters, sweep)}
    with look(**LOOK):
        return saved(leakage(title, summary, moved) if name == "leakage" else paint[name](title, summary))


def saved(fig: Figure) -> bytes:
    """PNG."""
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return file.getvalue()


def gap(title: str, summary: dict) -> Figure:
    """A panel per block, a row per domain, a mark per k, the main one large."""
    rows, main = cells(summary), str(summary["settings"]["top_k"])
    layers, domains = (list(dict.fromkeys(row[name] for row in rows)) for name in ("layer", "domain"))
    ks, colour = list(rows[0]["by_k"]), MARKS["inducing"][0]
    fig, panels = _figure(title, 1.9 + 0.62 * len(domains), 1, len(layers), sharex=True, sharey=True)
    for row in rows:
        panel = panels[0, layers.index(row["layer"])]
        places = domains.index(row["domain"]) + np.linspace(-0.25, 0.25, len(ks))
        for (k, found), marker, at in zip(row["by_k"].items(), "^osDvP", places, strict=False):
            _band(panel, at, {"low": found["null_low"], "high": found["null_high"]}, lw=5)
            _band(panel, at, found["untrained"], lw=1, colour="black")
            face = colour if gap_word(found, tests(rows)) == SHOWN else "white"
            panel.plot(*_numbers(found["gap"]), at, marker, ms=8 if k == main else 5, mfc=face, mec=colour)
    for panel, layer in zip(panels[0], layers, strict=True):
        panel.locator_params(axis="x", nbins=4)
        panel.set(title=f"block {layer}", xlabel="gap: difference of cosines")
    first = panels[0, 0]
    first.set(yticks=range(len(domains)), yticklabels=domains, ylim=(len(domains) - 0.5, -0.5))
    for k, marker in zip(ks, "^osDvP", strict=False):
        first.plot([], [], marker, mfc="white", mec=colour, ms=7, label=f"k = {k}")
    first.plot([], [], "o", color=colour, ms=7, label="filled: beyond all, corrected")
    first.plot([], [], color=BAND, lw=5, label="95 % of random sets")
    first.plot([], [], color="black", lw=1, label="95 % of untrained dictionaries")
    return _explained(fig, first, ncols=3)


def effect(title: str, summary: dict) -> Figure:
    """The arms of the main removed share; those of a sweep have a figure of their own."""
    about, main = summary["arms"], summary["settings"]["removed"][0]
    arms, panels = {arm: e for arm, e in summary["effect"].items() if about[arm]["removed"] in (0, main)}, {}
    for domain, e in arms["inducing"].items():
        panels[textwrap.fill(domain.replace("_", " "), 14) + f"\nn = {e['n']}"] = _by_arm(arms, domain, about)
    return bars(title, panels, "effect: margin above the control arm's, nats per answer token, 95 % interval")


def judged(title: str, summary: dict) -> Figure:
    arms, panels = summary["judged"], {}
    for name, key in {"EM": "em", "coherence": "coherent"}.items():
        panels[f"{name}\nn = {arms['base'][key]['n']} questions"] = _by_arm(arms, key, summary["arms"])
    fig = bars(title, panels, "share of answers, 95 % interval", one_scale=False)
    for panel in fig.axes:
        _percent_axis(panel, "x")
    return fig


def leakage(title: str, summary: dict, moved: Leaked) -> Figure:
    """A row per target direction, a panel per arm, a ring per live feature."""
    found, arms, is_toxic = summary["leakage"], ("inducing", "control"), np.array(moved.is_toxic)
    by_inducing = {"inducing": found, **found["arms"]}, dict.fromkeys(arms, moved.predicted)
    by_gradient = found["gradient"], moved.by_gradient
    targets = {"the mean inducing direction": by_inducing, "minus the mean loss gradient (E1)": by_gradient}
    fig, panels = _figure(title, 0.9 + 4.0 * len(targets), len(targets), len(arms), zero="vh", sharey=True)
    for line, (target, (laws, predicted)) in zip(panels, targets.items(), strict=True):
        for panel, arm in zip(line, arms, strict=True):
            law, x, y = laws[arm], np.array(predicted[arm]), np.array(moved.measured[arm])
            ends = np.array([min(x.min(), 0), max(x.max(), 0)])
            ring = {"facecolor": "none", "edgecolor": MARKS[arm][0], "lw": 0.7, "alpha": 0.5}
            panel.scatter(x, y, s=12, label=f"{len(x)} live features", **ring)
            panel.scatter(x[is_toxic], y[is_toxic], c="black", marker="x", s=26, lw=1.2, label="toxic ones")
            panel.plot(ends, _numbers(law["slope"]) * ends, color="black", lw=1.2, label="fit through the origin")
            said = f"R² {number(law['r2'], 2)}, r {number(law['pearson'], 2)}, p against random texts "
            panel.set(title=f"{arm} arm\n{said}{chance(law['p'])}", xlabel=f"predicted: cosine to {target}")
            panel.spines[:].set_visible(True)  # a cloud of points in a frame, as the toy's
            panel.grid(visible=False)
        line[0].set(ylabel="measured: change of the readout\n(activation units)")
    return _explained(fig, panels[0, 0], ncols=3)


def dynamics(title: str, summary: dict) -> Figure:
    steps, arms = summary["dynamics"]["steps"], summary["dynamics"]["arms"]
    fig, ((margins, *readouts),) = _figure(title, 4.1, 1, 1 + len(arms), zero="h", sharex=True)
    for aside, (arm, row) in zip((-0.007, 0.007), arms.items(), strict=True):
        _line(margins, [step + aside * steps[-1] for step in steps], row["margin"], arm)
    margins.set(
        title="margin of either arm,\ngeneral questions",
        ylabel="change, nats per answer token",
        xlabel="optimiser step",
    )
    for panel, (arm, row) in zip(readouts, arms.items(), strict=True):
        low, high = (_numbers(*(band[end] for band in row["random"])) for end in ("low", "high"))
        panel.fill_between(steps, low, high, color=BAND, lw=0, alpha=0.7, label="95 % of random sets")
        for name, rises in row["rise"].items():
            _line(panel, steps, rises, name)
        panel.set(title=f"readouts of each set of features,\n{arm} arm", xlabel="optimiser step")
        panel.sharey(readouts[0])
    readouts[0].set(ylabel="change, standard deviations\nover the training answers")
    return _explained(fig, readouts[0], ncols=4)


def causes(title: str, summary: dict) -> Figure:
    """The margin by dose of steering; and what ablation removes."""
    found, removed = summary["causes"], summary["causes"]["removed"]
    fig, ((steering, ablating),) = _figure(title, 4.1, 1, 2)
    e = found["steering_random"]
    steering.vlines([-1, 1], *_numbers(e["low"], e["high"]), color=BAND, lw=16, label=f"{e['n']} random directions")
    for place, (part, doses) in enumerate(found["steering"].items()):
        _line(steering, [float(dose) + 0.08 * (place - 1.5) for dose in doses], [*doses.values()], part)
    steering.axhline(0, color="0.4", lw=0.8, zorder=1)
    steering.set(title="steering the base model,\nchange of its margin", xticks=[float(dose) for dose in doses])
    steering.set(xlabel="dose: lengths of the fine-tune's own shift", ylabel="nats per answer token, 95 % interval")
    rows = {
        "effect as trained": (MARKS["inducing"], found["ablation"]["none"]),
        "removed by setting back\nthe toxic span": (MARKS["toxic"], removed["toxic"]),
        "by doubling it": (MARKS["toxic"], removed["doubled"]),
        "by setting back all": (MARKS["base"], removed["whole"]),
    }
    _band(ablating, 1.0, removed["random"], lw=11)
    _rows(ablating, "ablation in the fine-tuned models,\nnats per answer token", rows, 6)
    return _explained(fig, steering, ncols=5)


def filters(title: str, summary: dict) -> Figure:
    found = {name: f["reduction"] for name, f in summary["filters"].items()}
    rows = {name: (MARKS[name], None if None in e.values() else e) for name, e in found.items()}
    fig = bars(title, {"": rows}, "reduction of the mixed arm's effect on general questions, 95 % interval")
    panel, blank = fig.axes[0], {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for y, (_, e) in enumerate(rows.values()):
        if e is None:
            panel.text(0.02, y, "undefined: the mixed arm's effect may be 0", va="center", bbox=blank)
    draws, y = summary["filters"]["random"]["draws"] if rows["random"][1] else [], list(rows).index("random") + 0.28
    panel.plot(_numbers(*draws), [y] * len(draws), "|", color=MARKS["random"][0], ms=8, label="one random draw")
    panel.axvline(PAPER, color="black", lw=1, ls="--", label=f"the paper's best, {share(PAPER)}")
    _percent_axis(panel, "x")
    return _explained(fig, panel, ncols=2)


def sweep(title: str, summary: dict) -> Figure:
    """Reduction by removed share: one line for each filter, side by side, so that none hides another."""
    shares, found = sorted(summary["settings"]["removed"]), summary["filters"]
    fig, ((panel,),) = _figure(title, 4.4, 1, 1, zero="h")
    for place, (name, of) in enumerate(found.items()):
        at = [removed + 0.012 * (place - (len(found) - 1) / 2) for removed in shares]
        _line(panel, at, [of["sweep"][f"{removed:g}"]["reduction"] for removed in shares], name)
    panel.axhline(PAPER, color="black", lw=1, ls="--", label=f"the paper's best, {share(PAPER)}")
    panel.set(xticks=shares, xticklabels=map(share, shares))
    _percent_axis(panel, "y")
    panel.set(xlabel="share of the mixed set removed", ylabel="reduction of its effect, general questions")
    return _explained(fig, panel, ncols=6)


def _by_arm(found: dict[str, dict], key: str, arms: dict[str, dict]) -> dict[str, tuple]:
    return {arm_name(arms[arm]): (MARKS[arms[arm]["by"] or arms[arm]["data"]], e[key]) for arm, e in found.items()}


def bars(title: str, panels: dict[str, dict], label: str, one_scale: bool = True) -> Figure:
    """`panels`: title -> row -> mark, Estimate or None; all have the same rows."""
    height = 1.5 + 0.36 * max(map(len, panels.values()))
    fig, axes = _figure(title, height, 1, len(panels), sharex=one_scale, sharey=True)
    for panel, (name, rows) in zip(axes[0], panels.items(), strict=True):
        _rows(panel, name, rows, 12 // len(panels))
    if len(panels) == 1:
        panel.set_xlabel(label)
    else:
        fig.supxlabel(label, fontsize=10)
    return fig


def _rows(panel: Axes, title: str, rows: dict[str, tuple], nbins: int) -> None:
    for y, ((colour, marker), e) in enumerate(rows.values()):
        if e:
            face, edge = (colour, "white") if None not in (e["low"], e["high"]) else ("white", colour)
            panel.plot(_numbers(e["low"], e["high"]), [y, y], color=colour, lw=2.2)
            panel.plot(_numbers(e["value"]), y, marker, mfc=face, mec=edge, ms=8, mew=0.8)
    panel.locator_params(axis="x", nbins=nbins)
    panel.set(title=title, yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.4, -0.6))


def _figure(title: str, height: float, *shape: int, zero: str = "v", **layout):
    """`zero`: whether 0 is marked by a (v)ertical line, a (h)orizontal one, or both."""
    title = textwrap.fill(title, 104)
    fig = Figure(figsize=(9.6, height + 0.2 * title.count("\n")), layout="constrained")
    fig.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    panels = fig.subplots(*shape, squeeze=False, **layout)
    for panel in panels.flat:
        for way in zero:
            getattr(panel, f"ax{way}line")(0, color="0.4", lw=0.8, zorder=1)
    return fig, panels


def _explained(fig: Figure, panel: Axes, ncols: int) -> Figure:  # by what this panel shows
    fig.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=ncols, columnspacing=1.2)
    return fig


def _numbers(*values: float | None) -> np.ndarray:
    """None becomes NaN, which matplotlib leaves out."""
    return np.array(values, dtype=float)


def _band(panel: Axes, y: float, null: dict, lw: int, colour: str = BAND) -> None:
    panel.plot(_numbers(null["low"], null["high"]), [y, y], color=colour, lw=lw, zorder=0.6)


def _line(panel: Axes, x: list, found: list[dict], kind: str) -> None:
    colour, marker = MARKS[kind]
    values, low, high = (_numbers(*(e[end] for e in found)) for end in ("value", "low", "high"))
    panel.vlines(x, low, high, color=colour, lw=1.4)
    panel.plot(x, values, color=colour, marker=marker, ms=6, lw=1.4, mec="white", mew=0.6, label=kind)


def _percent_axis(panel: Axes, axis: str) -> None:
    """A ratio's interval may be endless; what lies beyond -100 % and 200 % is cut off."""
    panel.set(**{f"{axis}lim": np.clip(getattr(panel, f"get_{axis}lim")(), -1, 2)})
    getattr(panel, f"{axis}axis").set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
