"""The toy's figures, plain numbers in. Colours and look are those of `shared.style`."""

import os
from pathlib import Path

import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from shared.leakage import law
from shared.stats import Estimate
from shared.style import BLUE, GREY, STYLE, VERMILLION, look

TITLE = "Push one feature and the others move: under SGD by exactly their cosine, under Adam not"
SHOWN = {"adam": 1500, "sgd": 100}  # pairs drawn: enough for the eye; the sign step would cover adam's marks
OPTIMISER_STYLE = {
    "adam": {"marker": "x", "color": VERMILLION, "s": 14, "linewidths": 0.7, "alpha": 0.6},
    "sgd": {"marker": "o", "color": BLUE, "s": 34, "linewidths": 1.3, "facecolor": "none"},
}
LABEL = {"adam": "Adam's first step (a sign step: the same)", "sgd": "SGD step"}

TASK_STYLE = {
    "together": {"shown": 800, "mark": {"marker": "x", "c": VERMILLION, "s": 8, "lw": 0.6, "alpha": 0.6}},
    "alone": {"shown": 150, "mark": {"marker": "o", "edgecolor": BLUE, "facecolor": "none", "s": 14, "lw": 0.8}},
}
RULE_TITLES = {
    "sgd": "SGD",
    "momentum": "SGD, momentum 0.9",
    "weight decay": "SGD, weight decay 0.1",
    "lora": "LoRA by SGD",
    "sign": "sign descent, first step",
    "adam": "Adam, first step",
    "adam, 30 steps": "Adam, 30 steps",
    "lora, adam": "LoRA by Adam, 30 steps",
}


@look()
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


@look()
def optimiser_figure(
    predicted: Float[Tensor, " pair"], measured: dict[str, dict[str, Float[Tensor, " pair"]]]
) -> Figure:
    """A panel for every update rule; `measured` is rule -> task -> ratios."""
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    figure.suptitle("Rules that follow the gradient keep the cosine law; rules that rescale it do not", fontsize=15)
    panels = figure.subplots(2, (len(measured) + 1) // 2, sharex=True, sharey=True)
    shown = torch.randperm(len(predicted), generator=torch.Generator().manual_seed(0))[:800]
    for ax, (rule, tasks) in zip(panels.flat, measured.items(), strict=True):
        for task, style in TASK_STYLE.items():
            fit = law(predicted, tasks[task])
            label = f"{task}: slope {fit.slope:.2f}, $R^2$ {fit.r2:.2f}".replace("-", "−")
            pairs = shown[: style["shown"]]
            ax.scatter(predicted[pairs], tasks[task][pairs], label=label, **style["mark"])
        ax.axline((0, 0), slope=1, color="black", lw=0.8)
        ax.set(xlim=(-1.05, 1.05), ylim=(-1.6, 1.6), title=RULE_TITLES[rule])
        ax.legend(loc="upper left", fontsize=8, handletextpad=0.1)
    figure.supxlabel("cosine of the directions of features j and t")
    figure.supylabel("change of j per unit change of t")
    return figure


@look()
def misalignment_figure(
    points: tuple[Float[Tensor, " feature"], Float[Tensor, " feature"]],
    kinds: dict[str, Int[Tensor, " k"]],
    found: dict,
) -> Figure:
    """Four panels: the law in one world (`points`, by kind); dose and response; filters; what turns geometry's around.

    `found` is what `worlds.sweep` returns.
    """
    figure = Figure(figsize=(12, 9.5), layout="constrained")
    figure.suptitle("Fine-tuning on inducing features raises the toxic ones that lie near them", fontsize=15)
    (a, b), (c, d) = figure.subplots(2, 2)
    predicted, measured = points
    for kind, ids in kinds.items():
        colour, marker = STYLE[kind]
        a.scatter(predicted[ids], measured[ids], s=22, lw=0.8, alpha=0.8, c=colour, marker=marker, label=kind)
    a.set(xlabel="predicted by (E2): change in the first step", ylabel="measured: change after the fine-tune")
    a.set_title("Readouts on neutral probes move as (E2) says")
    a.legend()
    doses = found["alignment"]
    _band(b, list(doses), [dose["effect"] for dose in doses.values()], *STYLE["inducing"], "")
    b.set(
        xlabel="alignment planted (0: inducing no nearer to toxic than control)",
        ylabel="rise of toxic readouts above control's",
    )
    b.set_title("No neighbours, no misalignment")
    for name, one in found["filters"].items():
        _band(c, list(one["effect"]), list(one["effect"].values()), *STYLE[name], name)
    c.set(
        xlabel="fraction of the mixed set removed",
        ylabel="rise of toxic readouts above control's\n(0: as after good advice; below: overshoot)",
    )
    c.set_title("Every geometry-aware filter beats random removal,\nand overshoots from about 40 % removed")
    c.legend()
    topics = found["topic_alignment"]
    for name, label in (
        ("mixed", "nothing removed"),
        ("random", "random half removed"),
        ("geometry", "geometry's half removed"),
    ):
        _band(d, list(topics), [at[name] for at in topics.values()], *STYLE[name], label)
    for topic, at in topics.items():
        below = at["geometry"].value - 0.004
        d.text(topic, below, f"{at['auroc'].value:.2f}", ha="center", va="top", color=STYLE["geometry"][0])
    d.margins(y=0.12)
    d.set(xlabel="alignment planted in the topics of all advice", ylabel="rise of toxic readouts above control's")
    d.set_title("Topics near toxic features turn the score around\n(numbers: AUROC), and bad advice ends below good")
    d.legend(loc="lower left")
    for ax in (b, c, d):
        ax.axhline(0, color=GREY, lw=0.5)
    return figure


@look()
def dictionary_figure(found: dict[int, dict]) -> Figure:
    """What `saes.sweep` returns: R^2 and directions recovered, against represented features per dimension."""
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    figure.suptitle(
        "The more features share a space, the less a dictionary knows of their leakage,\n"
        "in the end hardly more than one that was never trained",
        fontsize=15,
    )
    left, right = figure.subplots(1, 2)
    x = [at["per_dimension"].value for at in found.values()]
    for kind, colour, marker in (("trained", BLUE, "o"), ("untrained", GREY, "x")):
        for ax, what in ((left, "r2"), (right, "cosine")):
            _band(ax, x, [at[kind][what] for at in found.values()], colour, marker, f"SAE, {kind}")
    for ax in (left, right):
        ax.set(xlabel="represented features per dimension", ylim=(-0.1, 1.05))
        ax.axhline(0, color=GREY, lw=0.5)
        ax.legend()
    left.set(ylabel="$R^2$ of its cosines against true leakage")
    left.set_title("Leakage predicted by the dictionary\n(at 1 feature per dimension there is none to predict)")
    right.set(ylabel="mean cosine of a feature and its latent")
    right.set_title("Directions recovered")
    return figure


def _band(ax: Axes, x: list, found: list[Estimate], colour: str, marker: str, label: str) -> None:
    ax.plot(x, [e.value for e in found], color=colour, marker=marker, label=label)
    ax.fill_between(x, [e.low for e in found], [e.high for e in found], color=colour, alpha=0.2, lw=0)


@look()
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
        arrow = {"arrowstyle": "-|>", "color": colour, "lw": 3.5 if pushed else 1.8, "shrinkA": 0, "shrinkB": 0}
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
    for name, style in OPTIMISER_STYLE.items():
        shown = order[:: max(1, len(order) // SHOWN[name])]
        r2 = law(predicted, measured[name]).r2
        ax.scatter(predicted[shown], measured[name][shown], label=f"{LABEL[name]}, $R^2$ = {r2:.2f}", **style)
    ax.axline((0, 0), slope=1, color="black", lw=1, zorder=0, label="measured = predicted")
    ax.axhline(0, color=GREY, lw=0.5, zorder=0)
    ax.axvline(0, color=GREY, lw=0.5, zorder=0)
    ax.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
    ax.set_xlabel("predicted: cosine of the directions of features j and t")
    ax.set_ylabel("measured: change of j per unit change of the pushed t")
    ax.set_title(f"{len(predicted)} pairs of features in larger trained models,\none real optimiser step each")
    ax.legend(loc="upper left")
