"""The report's figures: a title, which is what was found, and the summary in; a Figure out.

An Estimate without bounds is drawn hollow and without a bar; without a value it leaves its place empty.
"""

import io
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from real.report.text import arm_name, chance, number, share
from real.report.verdicts import PAPER, SHOWN, cells, gap_word
from shared.style import STYLE, look

OTHER = ("#6F6F6F", "o")
BAND = "#C8C8C8"  # what chance gives
UNKNOWN = dict.fromkeys(("value", "low", "high"))
PARTS = {"toxic part": STYLE["toxic"], "rest": STYLE["gradient"]}  # of the direction that steers
LOOK = {"font.size": 10, "axes.titlesize": 10, "axes.titlelocation": "left", "xtick.major.size": 0}
LOOK |= {"axes.grid": True, "axes.axisbelow": True, "grid.color": "#E6E6E6", "ytick.major.size": 0}
WIDTH = 9.6  # inches


def png(name: str, title: str, summary: dict, moved: dict | None = None) -> bytes:
    """One figure: the same bytes for the same numbers. `moved`: the readouts that the leakage figure shows."""
    file = io.BytesIO()
    with look(**LOOK):
        drawn = figure(name, title, summary, moved)
        drawn.savefig(file, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return file.getvalue()


def figure(name: str, title: str, summary: dict, moved: dict | None = None) -> Figure:
    if name == "leakage":
        return leakage(title, summary, moved)
    return {f.__name__: f for f in (gap, effect, judged, dynamics, causes, filters, sweep)}[name](
        title, summary
    )


def gap(title: str, summary: dict) -> Figure:
    """A panel per block, a row per domain, a mark per k, the main one large."""
    rows, main = cells(summary), str(summary["settings"]["top_k"])
    layers, domains = (list(dict.fromkeys(row[name] for row in rows)) for name in ("layer", "domain"))
    ks, colour = list(rows[0]["by_k"]), STYLE["inducing"][0]
    offsets = np.linspace(-0.25, 0.25, len(ks)) if len(ks) > 1 else [0.0]
    fig, panels = _figure(title, 1.9 + 0.62 * len(domains), 1, len(layers), sharex=True, sharey=True)
    for row in rows:
        panel = panels[0, layers.index(row["layer"])]
        for (k, found), marker, offset in zip(row["by_k"].items(), "^osDvP", offsets, strict=False):
            at, size = domains.index(row["domain"]) + offset, 8 if k == main else 5
            _band(panel, at, {"low": found["null_low"], "high": found["null_high"]}, lw=5)
            face = colour if gap_word(found, len(rows)) == SHOWN else "white"
            panel.plot(*_numbers(found["gap"]), at, marker, ms=size, mfc=face, mec=colour)
    for panel, layer in zip(panels[0], layers, strict=True):
        panel.locator_params(axis="x", nbins=4)
        panel.set(title=f"block {layer}", xlabel="gap: difference of cosines")
    first = panels[0, 0]
    first.set(yticks=range(len(domains)), yticklabels=domains, ylim=(len(domains) - 0.5, -0.5))
    marks = [(marker, "white", f"k = {k}") for k, marker in zip(ks, "^osDvP", strict=False)]
    marks.append(("o", colour, "filled: beyond both nulls, corrected"))
    handles = [first.plot([], [], m, mfc=face, mec=colour, ms=7, label=said)[0] for m, face, said in marks]
    handles.append(first.plot([], [], color=BAND, lw=5, label="95 % of random sets")[0])
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.4)
    return fig


def effect(title: str, summary: dict) -> Figure:
    """The arms of the main removed share; those of a sweep have a figure of their own."""
    main = summary["settings"]["removed"][0]
    arms = {a: e for a, e in summary["effect"].items() if float(a.partition("@")[2] or main) == main}
    panels = {
        f"{textwrap.fill(domain.replace('_', ' '), 14)}\nn = {e['n']}": _by_arm(
            {arm: found[domain] for arm, found in arms.items()}
        )
        for domain, e in next(iter(arms.values())).items()
    }
    return _bars(
        title, panels, "effect: margin above the control arm's, nats per answer token, 95 % interval"
    )[0]


def judged(title: str, summary: dict) -> Figure:
    arms = summary["judged"]
    panels = {
        f"{name}\nn = {arms['base']['em']['n']} questions": _by_arm({arm: e[key] for arm, e in arms.items()})
        for name, key in {"EM": "em", "coherence": "coherent"}.items()
    }
    fig, axes = _bars(title, panels, "share of answers, 95 % interval", one_scale=False)
    for panel in axes:
        _percent_axis(panel, "x")
    return fig


def leakage(title: str, summary: dict, moved: dict) -> Figure:
    """A row per target direction, a panel per arm, a ring per live feature."""
    found, arms, is_toxic = summary["leakage"], ("inducing", "control"), np.array(moved["is_toxic"])
    targets = {
        "the mean inducing direction": (
            {"inducing": found, **found["arms"]},
            dict.fromkeys(arms, moved["predicted"]),
        ),
        "minus the mean loss gradient (E1)": (found["gradient"], moved["by_gradient"]),
    }
    fig, panels = _figure(title, 0.9 + 4.0 * len(targets), len(targets), len(arms), zero="vh", sharey=True)
    for line, (target, (laws, predicted)) in zip(panels, targets.items(), strict=True):
        for panel, arm in zip(line, arms, strict=True):
            law, x, y = laws[arm], np.array(predicted[arm]), np.array(moved["measured"][arm])
            ends = np.array([min(x.min(), 0), max(x.max(), 0)])
            ring = {"facecolor": "none", "edgecolor": STYLE[arm][0], "lw": 0.7, "alpha": 0.5}
            panel.scatter(x, y, s=12, label=f"{len(x)} live features", **ring)
            panel.scatter(x[is_toxic], y[is_toxic], c="black", marker="x", s=26, lw=1.2, label="toxic ones")
            panel.plot(
                ends, _numbers(law["slope"]) * ends, color="black", lw=1.2, label="fit through the origin"
            )
            fit = f"R² {number(law['r2'], 2)}, r {number(law['pearson'], 2)}"
            by_chance = f"p against random targets {chance(law['p_target'])}"
            panel.set(title=f"{arm} arm\n{fit}, {by_chance}", xlabel=f"predicted: cosine to {target}")
            panel.spines[:].set_visible(True)  # a cloud of points in a frame, as the toy's
            panel.grid(visible=False)
        line[0].set(ylabel="measured: change of the readout\n(activation units)")
    return _explained(fig, panels[0, 0], ncols=3)


def dynamics(title: str, summary: dict) -> Figure:
    steps, arms = summary["dynamics"]["steps"], summary["dynamics"]["arms"]
    fig, panels = _figure(title, 4.1, 1, 1 + len(arms), zero="h", sharex=True)
    margins, *readouts = panels[0]
    for aside, (arm, row) in zip((-0.007, 0.007), arms.items(), strict=True):
        _line(margins, [step + aside * steps[-1] for step in steps], row["margin"], arm)
    margins.set(title="margin of either arm,\ngeneral questions", ylabel="change, nats per answer token")
    for panel, (arm, row) in zip(readouts, arms.items(), strict=True):
        low, high = (_numbers(*(band[end] for band in row["random"])) for end in ("low", "high"))
        panel.fill_between(steps, low, high, color=BAND, lw=0, alpha=0.7, label="95 % of random sets")
        for name, rises in row["rise"].items():
            _line(panel, steps, rises, name)
        panel.set(title=f"readouts of each set of features,\n{arm} arm")
        panel.sharey(readouts[0])
    readouts[0].set(ylabel="change, activation units")
    for panel in panels[0]:
        panel.set(xlabel="optimiser step")
    return _explained(fig, readouts[0], ncols=4)


def causes(title: str, summary: dict) -> Figure:
    """A panel per dose of steering, which share their scale, and one for ablation."""
    found = summary["causes"]
    panels = {
        f"steering the base model, dose {dose}": {
            part: (PARTS.get(part) or STYLE[part], doses[dose], random)
            for part, doses in found["steering"].items()
        }
        for dose, random in found["steering_random"].items()
    }
    ablation, removed = found["ablation"], found["removed"]
    panels["ablation in the fine-tuned model"] = {
        "effect": (STYLE["inducing"], ablation["none"], None),
        "effect,\ntoxic set back": (STYLE["inducing"], ablation["toxic"], None),
        "removed by it": (STYLE["toxic"], removed["toxic"], removed["random"]),
    }
    label = "nats per answer token, 95 % interval (grey: range of random directions)"
    return _bars(title, panels, label, height=0.42)[0]


def filters(title: str, summary: dict) -> Figure:
    found = {name: f["reduction"] for name, f in summary["filters"].items()}
    rows = {name: (STYLE[name], UNKNOWN if None in e.values() else e, None) for name, e in found.items()}
    label = "reduction of the mixed arm's effect on general questions, 95 % interval (1 − ratio)"
    fig, (panel,) = _bars(title, {"": rows}, label, height=0.42)
    blank = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for y, (_, e, _) in enumerate(rows.values()):
        if e is UNKNOWN:
            panel.text(0.02, y, "undefined: the mixed arm's effect may be 0", va="center", bbox=blank)
    draws = [] if rows["random"][1] is UNKNOWN else summary["filters"]["random"]["draws"]
    at = [list(rows).index("random") + 0.28] * len(draws)
    panel.plot(_numbers(*draws), at, "|", color=STYLE["random"][0], ms=8, label="one random draw")
    panel.axvline(PAPER, color="black", lw=1, ls="--", label=f"the paper's best, {share(PAPER)}")
    _percent_axis(panel, "x")
    return _explained(fig, panel, ncols=2)


def sweep(title: str, summary: dict) -> Figure:
    """Reduction by removed share: one line for each filter, side by side, so that none hides another."""
    shares, found = sorted(summary["settings"]["removed"]), summary["filters"]
    fig, panels = _figure(title, 4.4, 1, 1, zero="h")
    panel = panels[0, 0]
    for place, (name, of) in enumerate(found.items()):
        at = [removed + 0.012 * (place - (len(found) - 1) / 2) for removed in shares]
        _line(panel, at, [of["sweep"][f"{removed:g}"]["reduction"] for removed in shares], name)
    panel.axhline(PAPER, color="black", lw=1, ls="--", label=f"the paper's best, {share(PAPER)}")
    panel.set(xticks=shares, xticklabels=map(share, shares))
    _percent_axis(panel, "y")
    panel.set(xlabel="share of the mixed set removed", ylabel="reduction of its effect, general questions")
    return _explained(fig, panel, ncols=6)


def _by_arm(found: dict[str, dict]) -> dict[str, tuple]:
    """A row of `_bars` for each arm."""
    kinds = {arm: arm.partition("@")[0].split("-")[:2][-1] for arm in found}
    return {arm_name(arm): (STYLE.get(kinds[arm], OTHER), e, None) for arm, e in found.items()}


def _bars(title: str, panels: dict[str, dict], label: str, height: float = 0.32, one_scale: bool = True):
    """`panels`: title -> row -> colour and marker, Estimate, and what chance gives or None. Panels of the same
    rows have one scale."""
    fig, axes = _figure(title, 1.5 + height * max(map(len, panels.values())), 1, len(panels))
    first: dict[tuple, Axes] = {}
    for panel, (name, rows) in zip(axes[0], panels.items(), strict=True):
        alike = first.setdefault(tuple(rows), panel)
        if one_scale and alike is not panel:
            panel.sharex(alike)
        for y, (style, e, by_chance) in enumerate(rows.values()):
            if by_chance:
                _band(panel, y, by_chance, lw=11)
            _bar(panel, y, e, style)
        panel.locator_params(axis="x", nbins=12 // len(panels))
        panel.set(title=name, yticks=range(len(rows)), ylim=(len(rows) - 0.4, -0.6))
        panel.set_yticklabels(rows if alike is panel else [])
    if len(panels) == 1:
        panel.set_xlabel(label)
    else:
        fig.supxlabel(label, fontsize=10)
    return fig, axes[0]


def _figure(title: str, height: float, *shape: int, zero: str = "v", **layout):
    """`zero`: whether 0 is marked by a (v)ertical line, a (h)orizontal one, or both."""
    title = textwrap.fill(title, 104)
    fig = Figure(figsize=(WIDTH, height + 0.2 * title.count("\n")), layout="constrained")
    fig.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    panels = fig.subplots(*shape, squeeze=False, **layout)
    for panel in panels.flat:
        for way in zero:
            getattr(panel, f"ax{way}line")(0, color="0.4", lw=0.8, zorder=1)
    return fig, panels


def _explained(fig: Figure, panel: Axes, ncols: int) -> Figure:
    """With a legend of what this panel shows."""
    fig.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=ncols, columnspacing=1.2)
    return fig


def _numbers(*values: float | None) -> np.ndarray:
    """None becomes NaN, which matplotlib leaves out."""
    return np.array(values, dtype=float)


def _band(panel: Axes, y: float, range_: dict, lw: float) -> None:
    panel.plot(_numbers(range_["low"], range_["high"]), [y, y], color=BAND, lw=lw, solid_capstyle="butt")


def _bar(panel: Axes, y: int, e: dict, style: tuple[str, str]) -> None:
    colour, marker = style
    face, edge = (colour, "white") if None not in (e["low"], e["high"]) else ("white", colour)
    panel.plot(_numbers(e["low"], e["high"]), [y, y], color=colour, lw=2.2, solid_capstyle="butt")
    panel.plot(_numbers(e["value"]), y, marker, mfc=face, mec=edge, ms=8, mew=0.8)


def _line(panel: Axes, x: list, found: list[dict], kind: str) -> None:
    colour, marker = STYLE[kind]
    values, low, high = (_numbers(*(e[end] for e in found)) for end in ("value", "low", "high"))
    panel.vlines(x, low, high, color=colour, lw=1.4)
    panel.plot(x, values, color=colour, marker=marker, ms=6, lw=1.4, mec="white", mew=0.6, label=kind)


def _percent_axis(panel: Axes, axis: str) -> None:
    """A ratio's interval may be endless; what lies beyond -100 % and 200 % is cut off."""
    low, high = getattr(panel, f"get_{axis}lim")()
    getattr(panel, f"set_{axis}lim")(max(low, -1), min(high, 2))
    getattr(panel, f"{axis}axis").set_major_formatter(
        lambda value, _: f"{100 * value:.0f} %".replace("-", "−")
    )
