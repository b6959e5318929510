"""The figure of when features share dimensions. Colours and look are those of `shared.style`."""

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shared.style import BLUE, GREY, SKY, VERMILLION, look
from toy.superposition import IMPORTANCES, PHASES, PROBABILITIES


@look()
def superposition_figure(polytopes: dict, sharing: list[dict], phases: dict) -> Figure:
    """Three panels, of what `polytopes`, `sharing` and `phases` of superposition.py return."""
    figure = Figure(figsize=(14, 5.2), layout="constrained")
    title = "Features share dimensions in the fractions that geometry allows, more of them the sparser they are"
    figure.suptitle(title, fontsize=15)
    a, b, c = figure.subplots(1, 3)
    for place, one in enumerate(polytopes.values()):
        D = torch.tensor(one["D"])
        at = place + torch.linspace(-0.25, 0.25, len(D))
        a.hlines(one["published"], place - 0.4, place + 0.4, color=GREY, lw=1)
        a.scatter(at, D, color=BLUE, s=22, zorder=3)
    a.set_xticks(range(len(polytopes)), [f"{name}\n{_fraction(one)}" for name, one in polytopes.items()])
    a.tick_params(axis="x", rotation=50, labelsize=9)
    a.set(ylabel="dimensionality of each feature (dimensions)", ylim=(0, 1.05))
    a.set_title("A few features, on with probability p, form polytopes\n(dots: trained; lines: published)")
    _draw_sharing(b, sharing)
    _draw_phases(c, phases)
    return figure


def _fraction(one: dict) -> str:
    return f"{one['n_features']} in {one['d_hidden']}, p {one['feature_probability']:g}"


def _draw_sharing(ax: Axes, sharing: list[dict]) -> None:
    density = [1 / one["feature_probability"] for one in sharing]
    for at, one in zip(density, sharing, strict=True):
        ax.scatter([at] * len(one["D"]), one["D"], color=SKY, s=9, alpha=0.5, lw=0)
    ax.scatter([], [], color=SKY, s=9, label="each represented feature's dimensionality")
    ax.plot(density, [one["D_star"] for one in sharing], color=BLUE, marker="o", label="$D^*=m/|W|_F^2$")
    ax.axhline(0.5, color=GREY, lw=0.8, ls="--")
    ax.set(xscale="log", ylim=(0, 1.05), xlabel="sparsity: 1 / (probability that a feature is on)")
    ax.set(ylabel="dimensions per feature")
    ax.set_title("Many equal features: as they grow sparse they\npair up (1/2 each), then crowd closer")
    ax.legend(loc="upper right", fontsize=9)


def _draw_phases(ax: Axes, phases: dict) -> None:
    trained, predicted = torch.tensor(phases["trained"]), torch.tensor(phases["predicted"])
    x = torch.tensor(IMPORTANCES).expand_as(trained)
    y = 1 / torch.tensor(PROBABILITIES)[:, None].expand_as(trained)
    for phase, (name, colour, marker) in enumerate(zip(PHASES, ("0.7", SKY, BLUE, "black"), "xso+", strict=True)):
        here = trained == phase
        if not here.any():
            continue
        ax.scatter(x[here], y[here], c=colour, marker=marker, s=60, lw=1.5, label=name)
    missed = trained != predicted
    ring = {"facecolor": "none", "edgecolor": VERMILLION, "s": 190, "lw": 1.2}
    ax.scatter(x[missed], y[missed], label="not the phase of least expected loss", **ring)
    ax.set(xscale="log", yscale="log", ylabel="sparsity: 1 / (probability that a feature is on)")
    ax.set(xlabel="importance of the second feature (first: 1)")
    ax.set_title("Two features, one dimension:\nwhat becomes of the second")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=9)
