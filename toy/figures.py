"""The toy's figures: the only file here that knows matplotlib."""

import os
from pathlib import Path

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from shared.leakage import law

# Okabe-Ito: told apart by the colour-blind; the markers tell them apart in grey.
BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "0.45"
TITLE = "Push one feature and the others move: under SGD by exactly their cosine, under Adam not"
SHOWN = {"adam": 1500, "sgd": 100}  # pairs drawn: enough for the eye; the sign step would cover adam's marks
STYLE = {
    "adam": {"marker": "x", "color": VERMILLION, "s": 14, "linewidths": 0.7, "alpha": 0.6},
    "sgd": {"marker": "o", "color": BLUE, "s": 34, "linewidths": 1.3, "facecolor": "none"},
}
LABEL = {"adam": "Adam's first step (a sign step: the same)", "sgd": "SGD step"}


def law_figure(
    W: Float[Tensor, "feature 2"],
    ratios: Float[Tensor, "target feature"],
    predicted: Float[Tensor, " pair"],
    measured: dict[str, Float[Tensor, " pair"]],
) -> Figure:
    """Left: a trained instance W and its measured ratios. Right: every pair, predicted against measured."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    figure.suptitle(TITLE, fontsize=15)
    left, right = figure.subplots(1, 2)
    _draw_directions(left, W, ratios[0])
    _draw_law(right, predicted, measured)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Whole or not at all, as in `shared.records`."""
    partial = path.with_name(f".{path.name}.tmp")
    try:
        figure.savefig(partial, dpi=160, format="png")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _draw_directions(ax: Axes, W: Tensor, ratio: Tensor) -> None:
    limit = 1.75 * W.norm(dim=-1).max().item()
    for feature, (row, leak) in enumerate(zip(W.tolist(), ratio.tolist(), strict=True)):
        pushed = feature == 0
        colour = VERMILLION if pushed else BLUE
        arrow = {
            "arrowstyle": "-|>",
            "color": colour,
            "lw": 3.5 if pushed else 1.8,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        ax.annotate("", xy=row, xytext=(0, 0), arrowprops=arrow)
        text = f"{'pushed' if pushed else f'feature {feature + 1}'}\n{leak:+.2f}".replace("-", "−")
        x, y = (1.36 * value for value in row)
        ax.text(x, y, text, color=colour, ha="center", va="center", fontsize=12)
    ring = W[torch.atan2(W[:, 1], W[:, 0]).argsort()]
    ax.fill(ring[:, 0].numpy(), ring[:, 1].numpy(), fill=False, edgecolor=GREY, linestyle=":", lw=1.2)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    ax.set(xlabel="hidden unit 1 (activation)", ylabel="hidden unit 2 (activation)")
    ax.set_title(f"{len(W)} features learned to share 2 dimensions\n(numbers: measured change per unit push)")


def _draw_law(ax: Axes, predicted: Tensor, measured: dict[str, Tensor]) -> None:
    order = predicted.argsort()
    for name, style in STYLE.items():
        shown = order[:: max(1, len(order) // SHOWN[name])]
        r2 = law(predicted, measured[name], draws=1).r2
        ax.scatter(predicted[shown], measured[name][shown], label=f"{LABEL[name]}, $R^2$ = {r2:.2f}", **style)
    ax.axline((0, 0), slope=1, color="black", lw=1, zorder=0, label="measured = predicted")
    ax.axhline(0, color=GREY, lw=0.5, zorder=0)
    ax.axvline(0, color=GREY, lw=0.5, zorder=0)
    ax.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
    ax.set_xlabel("predicted: cosine of the directions of features j and t")
    ax.set_ylabel("measured: change of j per unit change of the pushed t")
    ax.set_title(
        f"{len(predicted)} pairs of features in larger trained models,\none real optimiser step each"
    )
    ax.legend(loc="upper left", frameon=False)
