"""The report's figures: plain rows in, a Figure out. The only file of `real` that imports matplotlib.

A title is what was found, so the caller, who has the verdicts, words it.
"""

import io
import textwrap

import matplotlib
import numpy as np
from matplotlib.figure import Figure

STYLE = {  # what is drawn -> colour and marker; Okabe and Ito's colours, told apart by the colour-blind
    "inducing": ("#D55E00", "o"),
    "control": ("#0072B2", "s"),
    "mixed": ("#5A5A5A", "D"),
    "mixed-geometry": ("#009E73", "^"),
    "mixed-random": ("#B07C00", "v"),
    "mixed-oracle": ("#9C4F7F", "P"),
    "toxic": ("#000000", "x"),
}
OTHER = ("#5A5A5A", "o")
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
WIDTH = 9.6  # inches


def png(fig: Figure) -> bytes:
    """The same bytes for the same figure: no date, no version."""
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return file.getvalue()


@matplotlib.rc_context(LOOK)
def gap(rows: list[dict], title: str) -> Figure:
    """Rows: `label` and the fields of `geometry.Gap`. Left the two sets, right their gap against the null."""
    fig, (sets, gaps) = _figure(title, 1.7 + 0.42 * len(rows), 1, 2, sharey=True)
    ys = range(len(rows))
    sets.hlines(ys, [r["control"] for r in rows], [r["inducing"] for r in rows], color="#8A8A8A")
    for name in ("inducing", "control"):
        colour, marker = STYLE[name]
        sets.plot([row[name] for row in rows], ys, marker, color=colour, ms=8, label=name)
    sets.set(yticks=ys, yticklabels=[row["label"] for row in rows], ylim=(len(rows) - 0.4, -0.6))
    sets.set(xlabel="mean cosine to the toxic features")
    sets.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    for y, row in zip(ys, rows, strict=True):
        gaps.plot([row["null_low"], row["null_high"]], [y, y], color="#C8C8C8", lw=9, solid_capstyle="butt")
        gaps.plot(row["gap"], y, "o", color="black", ms=7)
        note = f"p {row['p']:.2g}\nnull {row['p_null']:.2g}"
        gaps.text(1.02, y, note, transform=gaps.get_yaxis_transform(), va="center", fontsize=8.5)
    gaps.axvline(0, color="black", lw=0.8)
    gaps.set(xlabel="gap: inducing − control (grey: 95 % of random sets)")
    for panel in (sets, gaps):
        panel.locator_params(axis="x", nbins=5)
    return fig


@matplotlib.rc_context(LOOK)
def effect(effects: dict[str, dict[str, dict]], title: str) -> Figure:
    """`effects`: arm -> domain -> Estimate. One panel per domain, one line per arm, all on one scale."""
    arms, domains = list(effects), list(next(iter(effects.values())))
    height = 1.4 + 0.34 * len(arms)
    fig, panels = _figure(title, height, 1, len(domains), sharex=True, sharey=True, squeeze=False)
    for panel, domain in zip(panels[0], domains, strict=True):
        for y, arm in enumerate(arms):
            e, (colour, marker) = effects[arm][domain], STYLE.get(arm, OTHER)
            panel.plot([e["low"], e["high"]], [y, y], color=colour, lw=2.2, solid_capstyle="butt")
            panel.plot(e["value"], y, marker, color=colour, ms=8, mec="white", mew=0.8)
        panel.axvline(0, color="black", lw=0.8)
        panel.locator_params(axis="x", nbins=3)
        panel.set(title=f"{textwrap.fill(domain, 18)}\nn = {effects[arms[0]][domain]['n']}")
    panels[0, 0].set(yticks=range(len(arms)), yticklabels=arms, ylim=(len(arms) - 0.4, -0.6))
    fig.supxlabel("effect: margin above the control arm's, nats per answer token, 95 % interval", fontsize=10)
    return fig


@matplotlib.rc_context(LOOK)
def leakage(arms: dict[str, dict], title: str) -> Figure:
    """`arms`: arm -> `predicted`, `measured`, `is_toxic` (one per live feature) and `law`."""
    fig, panels = _figure(title, 4.4, 1, len(arms), sharex=True, sharey=True, squeeze=False)
    for panel, (arm, row) in zip(panels[0], arms.items(), strict=True):
        x, y, is_toxic = (np.array(row[name]) for name in ("predicted", "measured", "is_toxic"))
        law, ends = row["law"], np.array([min(x.min(), 0), max(x.max(), 0)])
        panel.plot(x, y, ".", color=STYLE[arm][0], ms=4, alpha=0.3, mew=0)
        panel.plot(x[is_toxic], y[is_toxic], "x", color="black", ms=5, label="toxic feature")
        panel.plot(ends, law["slope"] * ends, color="black", lw=1.4, label="fit through the origin")
        found = f"R² {law['r2']:.2f}, r {law['pearson']:.2f}, p against random targets {law['p_target']:.2g}"
        panel.set(title=f"{arm} arm\n{found.replace('-', '−')}")
        panel.set(xlabel="predicted: cosine to the mean inducing direction")
    panels[0, 0].set(ylabel="measured: change of readout\n(activation units)")
    fig.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def _figure(title: str, height: float, *shape: int, **layout):
    title = textwrap.fill(title, 100)
    height += 0.2 * title.count("\n")
    fig = Figure(figsize=(WIDTH, height), layout="constrained")
    fig.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return fig, fig.subplots(*shape, **layout)
