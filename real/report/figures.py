"""The report's figures: a title, which is what was found, and the summary in; a Figure out."""

import io
import textwrap

import numpy as np
from matplotlib.figure import Figure

from real.effects.leakage import Leaked
from real.report.drawing import (
    BAND,
    LOOK,
    MARKS,
    draw_band,
    draw_bars,
    draw_line,
    draw_rows,
    explained,
    new_figure,
    numbers,
    percent_axis,
)
from real.report.text import arm_name, chance, number, share
from real.report.verdicts import PAPER, SHOWN, cells, gap_word
from shared.style import look


def png(name: str, title: str, summary: dict, moved: Leaked | None = None) -> bytes:
    """One figure: the same bytes for the same numbers. `moved`: the readouts that the leakage figure shows."""
    paint = {of.__name__: of for of in (gap, effect, judged, dynamics, causes, filters, sweep)}
    file = io.BytesIO()
    with look(**LOOK):
        fig = leakage(title, summary, moved) if name == "leakage" else paint[name](title, summary)
        fig.savefig(file, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return file.getvalue()


def gap(title: str, summary: dict) -> Figure:
    """A panel per block, a row per domain, a mark per k, the main one large."""
    rows, main = cells(summary), str(summary["settings"]["top_k"])
    layers, domains = (list(dict.fromkeys(row[name] for row in rows)) for name in ("layer", "domain"))
    ks, colour = list(rows[0]["by_k"]), MARKS["inducing"][0]
    offsets = np.linspace(-0.25, 0.25, len(ks)) if len(ks) > 1 else [0.0]
    fig, panels = new_figure(title, 1.9 + 0.62 * len(domains), 1, len(layers), sharex=True, sharey=True)
    for row in rows:
        panel = panels[0, layers.index(row["layer"])]
        for (k, found), marker, offset in zip(row["by_k"].items(), "^osDvP", offsets, strict=False):
            at, size = domains.index(row["domain"]) + offset, 8 if k == main else 5
            draw_band(panel, at, {"low": found["null_low"], "high": found["null_high"]}, lw=5)
            draw_band(panel, at, found["untrained"], lw=1, colour="black")
            face = colour if gap_word(found, len(rows)) == SHOWN else "white"
            panel.plot(*numbers(found["gap"]), at, marker, ms=size, mfc=face, mec=colour)
    for panel, layer in zip(panels[0], layers, strict=True):
        panel.locator_params(axis="x", nbins=4)
        panel.set(title=f"block {layer}", xlabel="gap: difference of cosines")
    first = panels[0, 0]
    first.set(yticks=range(len(domains)), yticklabels=domains, ylim=(len(domains) - 0.5, -0.5))
    for k, marker in zip(ks, "^osDvP", strict=False):
        first.plot([], [], marker, mfc="white", mec=colour, ms=7, label=f"k = {k}")
    first.plot([], [], "o", color=colour, ms=7, label="filled: beyond all of it")
    first.plot([], [], color=BAND, lw=5, label="95 % of random sets")
    first.plot([], [], color="black", lw=1, label="95 % of untrained dictionaries")
    return explained(fig, first, ncols=3)


def effect(title: str, summary: dict) -> Figure:
    """The arms of the main removed share; those of a sweep have a figure of their own."""
    about, main = summary["arms"], summary["settings"]["removed"][0]
    arms = {arm: e for arm, e in summary["effect"].items() if about[arm]["removed"] in (0, main)}
    label, panels = "effect: margin above the control arm's, nats per answer token, 95 % interval", {}
    for domain, e in next(iter(arms.values())).items():
        name = textwrap.fill(domain.replace("_", " "), 14)
        panels[f"{name}\nn = {e['n']}"] = _by_arm(arms, domain, about)
    return draw_bars(title, panels, label)


def judged(title: str, summary: dict) -> Figure:
    arms, panels = summary["judged"], {}
    for name, key in {"EM": "em", "coherence": "coherent"}.items():
        panels[f"{name}\nn = {arms['base'][key]['n']} questions"] = _by_arm(arms, key, summary["arms"])
    fig = draw_bars(title, panels, "share of answers, 95 % interval", one_scale=False)
    for panel in fig.axes:
        percent_axis(panel, "x")
    return fig


def leakage(title: str, summary: dict, moved: Leaked) -> Figure:
    """A row per target direction, a panel per arm, a ring per live feature."""
    found, arms, is_toxic = summary["leakage"], ("inducing", "control"), np.array(moved.is_toxic)
    by_inducing = {"inducing": found, **found["arms"]}, dict.fromkeys(arms, moved.predicted)
    by_gradient = found["gradient"], moved.by_gradient
    targets = {"the mean inducing direction": by_inducing, "minus the mean loss gradient (E1)": by_gradient}
    fig, panels = new_figure(title, 0.9 + 4.0 * len(targets), len(targets), len(arms), zero="vh", sharey=True)
    for line, (target, (laws, predicted)) in zip(panels, targets.items(), strict=True):
        for panel, arm in zip(line, arms, strict=True):
            law, x, y = laws[arm], np.array(predicted[arm]), np.array(moved.measured[arm])
            ends = np.array([min(x.min(), 0), max(x.max(), 0)])
            ring = {"facecolor": "none", "edgecolor": MARKS[arm][0], "lw": 0.7, "alpha": 0.5}
            panel.scatter(x, y, s=12, label=f"{len(x)} live features", **ring)
            panel.scatter(x[is_toxic], y[is_toxic], c="black", marker="x", s=26, lw=1.2, label="toxic ones")
            fit = numbers(law["slope"]) * ends
            panel.plot(ends, fit, color="black", lw=1.2, label="fit through the origin")
            said = f"R² {number(law['r2'], 2)}, r {number(law['pearson'], 2)}, p against random texts "
            panel.set(title=f"{arm} arm\n{said}{chance(law['p_target'])}")
            panel.set(xlabel=f"predicted: cosine to {target}")
            panel.spines[:].set_visible(True)  # a cloud of points in a frame, as the toy's
            panel.grid(visible=False)
        line[0].set(ylabel="measured: change of the readout\n(activation units)")
    return explained(fig, panels[0, 0], ncols=3)


def dynamics(title: str, summary: dict) -> Figure:
    steps, arms = summary["dynamics"]["steps"], summary["dynamics"]["arms"]
    fig, panels = new_figure(title, 4.1, 1, 1 + len(arms), zero="h", sharex=True)
    margins, *readouts = panels[0]
    for aside, (arm, row) in zip((-0.007, 0.007), arms.items(), strict=True):
        draw_line(margins, [step + aside * steps[-1] for step in steps], row["margin"], arm)
    margins.set(title="margin of either arm,\ngeneral questions", ylabel="change, nats per answer token")
    for panel, (arm, row) in zip(readouts, arms.items(), strict=True):
        low, high = (numbers(*(band[end] for band in row["random"])) for end in ("low", "high"))
        panel.fill_between(steps, low, high, color=BAND, lw=0, alpha=0.7, label="95 % of random sets")
        for name, rises in row["rise"].items():
            draw_line(panel, steps, rises, name)
        panel.set(title=f"readouts of each set of features,\n{arm} arm")
        panel.sharey(readouts[0])
    readouts[0].set(ylabel="change, activation units")
    for panel in panels[0]:
        panel.set(xlabel="optimiser step")
    return explained(fig, readouts[0], ncols=4)


def causes(title: str, summary: dict) -> Figure:
    """The margin by dose of steering; and what ablation removes."""
    found, removed = summary["causes"], summary["causes"]["removed"]
    fig, ((steering, ablating),) = new_figure(title, 4.1, 1, 2)
    e = found["steering_random"]
    steering.vlines([-1, 1], *numbers(e["low"], e["high"]), color=BAND, lw=16, label=f"{e['n']} random directions")
    for place, (part, doses) in enumerate(found["steering"].items()):
        draw_line(steering, [float(dose) + 0.08 * (place - 1.5) for dose in doses], [*doses.values()], part)
    steering.axhline(0, color="0.4", lw=0.8, zorder=1)
    steering.set(title="steering the base model", xlabel="dose: lengths of the fine-tune's own shift")
    steering.set(xticks=[float(dose) for dose in doses], ylabel="change of the margin,\nnats per answer token")
    rows = {
        "effect as trained": (MARKS["inducing"], found["ablation"]["none"], None),
        "removed by setting back\nthe toxic span": (MARKS["toxic"], removed["toxic"], removed["random"]),
        "by doubling it": (MARKS["toxic"], removed["doubled"], None),
        "by setting back all": (MARKS["base"], removed["whole"], None),
    }
    draw_rows(ablating, rows)
    ablating.set(title="ablation in the fine-tuned models", xlabel="nats per answer token, 95 % interval")
    return explained(fig, steering, ncols=5)


def filters(title: str, summary: dict) -> Figure:
    found = {name: f["reduction"] for name, f in summary["filters"].items()}
    rows = {name: (MARKS[name], None if None in e.values() else e, None) for name, e in found.items()}
    fig = draw_bars(
        title, {"": rows}, "reduction of the mixed arm's effect on general questions (1 − ratio), 95 % interval"
    )
    panel, blank = fig.axes[0], {"fc": "white", "ec": "none", "pad": 1}
    for y, (_, e, _) in enumerate(rows.values()):
        if e is None:
            panel.text(0.02, y, "undefined: the mixed arm's effect may be 0", va="center", bbox=blank)
    draws = [] if rows["random"][1] is None else summary["filters"]["random"]["draws"]
    at = [list(rows).index("random") + 0.28] * len(draws)
    panel.plot(numbers(*draws), at, "|", color=MARKS["random"][0], ms=8, label="one random draw")
    panel.axvline(PAPER, color="black", lw=1, ls="--", label=f"the paper's best, {share(PAPER)}")
    percent_axis(panel, "x")
    return explained(fig, panel, ncols=2)


def sweep(title: str, summary: dict) -> Figure:
    """Reduction by removed share: one line for each filter, side by side, so that none hides another."""
    shares, found = sorted(summary["settings"]["removed"]), summary["filters"]
    fig, ((panel,),) = new_figure(title, 4.4, 1, 1, zero="h")
    for place, (name, of) in enumerate(found.items()):
        at = [removed + 0.012 * (place - (len(found) - 1) / 2) for removed in shares]
        draw_line(panel, at, [of["sweep"][f"{removed:g}"]["reduction"] for removed in shares], name)
    panel.axhline(PAPER, color="black", lw=1, ls="--", label=f"the paper's best, {share(PAPER)}")
    panel.set(xticks=shares, xticklabels=map(share, shares))
    percent_axis(panel, "y")
    panel.set(xlabel="share of the mixed set removed", ylabel="reduction of its effect, general questions")
    return explained(fig, panel, ncols=6)


def _by_arm(found: dict[str, dict], key: str, arms: dict[str, dict]) -> dict[str, tuple]:
    """Rows of `bars`."""
    of = {arm: arms[arm] for arm in found}
    return {arm_name(a): (MARKS[a["by"] or a["data"]], found[arm][key], None) for arm, a in of.items()}
