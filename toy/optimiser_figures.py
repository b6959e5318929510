"""The figure of what rules that rescale do to many features. Colours and look are those of `shared.style`."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shared.stats import Estimate
from shared.style import BLUE, GREY, SKY, VERMILLION, look

TITLE = "A spectral step (Muon) suppresses what many features share; sign-like steps (Adam, Lion) do not"
STYLE = {  # colour, marker, name
    "sgd": ("black", "o", "SGD"),
    "momentum": (GREY, "d", "SGD, momentum"),
    "adam": (VERMILLION, "x", "Adam"),
    "lion": ("#CC79A7", "+", "Lion"),
    "muon": (SKY, "v", "Muon of torch"),
    "spectral": (BLUE, "s", "spectral step, exact"),
    "lora 4, sgd": ("#E69F00", "<", "LoRA of rank 4, SGD"),
    "lora 4, spectral": ("#009E73", ">", "LoRA of rank 4, spectral"),
}


@look()
def rescaling_figure(found: dict, equal: dict) -> Figure:
    """Four panels, of what `rescaling.summary` and `equal_loss.sweep` return."""
    figure = Figure(figsize=(12, 10), layout="constrained")
    figure.suptitle(TITLE, fontsize=15)
    (a, b), (c, d) = figure.subplots(2, 2)
    _draw_modes(a, found["modes"])
    _draw_shared(b, found["shared"])
    _draw_equal_loss(c, equal)
    _draw_ratios(d, equal["ratios"])
    return figure


def _draw_modes(ax: Axes, modes: dict[str, list[float]]) -> None:
    for rule in ("spectral", "muon"):
        _points(ax, modes["sgd"], modes[rule], rule)
    ax.set(xscale="log", yscale="log", xlabel="eigenvalue of the gradient's leakage, $CK$ (E2)")
    ax.axline((1, 1), (4, 2), color="black", lw=1, label="square root (E8)")
    ax.axline((1, 1), (4, 4), color=GREY, lw=1, ls="--", label="the gradient's own")
    ticks = [1, 2, 3, 4, 5, 6, 7]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set_yticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set(ylabel="eigenvalue of the rule's leakage", title="Every mode of leakage becomes its root: $L^2=CK$")
    ax.legend(frameon=False)


def _draw_shared(ax: Axes, shared: dict) -> None:
    for name, style, label in (("gradient", "--", "formula, gradient"), ("spectral", "-", "formula, spectral")):
        line = shared["predicted"][name]
        ax.plot(list(line), list(line.values()), color="black", ls=style, lw=1, label=label, zorder=0)
    for rule, at in shared["measured"].items():
        if rule in STYLE:
            _bars(ax, list(at), list(at.values()), rule)
    counts = list(shared["predicted"]["gradient"])
    ax.set(xscale="log", yscale="log", xlabel="features that share the direction $v$")
    ax.set_xticks(counts, [str(k) for k in counts])
    ax.set_yticks([0.1, 0.2, 0.4, 0.8, 1.6], ["0.1", "0.2", "0.4", "0.8", "1.6"])
    ax.minorticks_off()
    ax.set(ylabel="rise of $v$ per rise of the trained features")
    ax.set_title(
        f"A spectral step raises what features share (cosine {shared['alpha']}) less,\n"
        "the more of them share it; a LoRA of rank 4 more"
    )
    ax.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    ax.set_ylim(0.09, 4.5)


def _draw_equal_loss(ax: Axes, equal: dict) -> None:
    for rule, rates in equal["rules"].items():
        effect = next(iter(rates.values()))["effect"]
        colour, marker, label = STYLE[rule]
        ax.plot(equal["shares"], [e.value for e in effect], color=colour, marker=marker, label=label)
        ax.fill_between(
            equal["shares"], [e.low for e in effect], [e.high for e in effect], color=colour, alpha=0.2, lw=0
        )
    ax.invert_xaxis()
    ax.axhline(0, color=GREY, lw=0.5)
    ax.set(xlabel="share of the training loss that is left", ylabel="rise of toxic readouts above control's")
    ax.set_title("Misalignment in miniature at equal loss:\nleast by spectral steps, most by sign-like ones")
    ax.legend(frameon=False)


def _draw_ratios(ax: Axes, ratios: dict) -> None:
    shown = (
        ("bare", "directions", BLUE, "s", "no shared topics; predicted from directions alone"),
        ("topics", "directions", VERMILLION, "x", "shared topics; predicted from directions alone"),
        ("topics", "first step", "black", "o", "shared topics; predicted by the first step (E8, E2)"),
    )
    for kind, way, colour, marker, label in shown:
        at = [one[kind] for one in ratios.values()]
        measured = [one["measured"]["spectral"] for one in at]
        ax.errorbar(
            [one[way] for one in at],
            [e.value for e in measured],
            yerr=_reach(measured),
            **{"color": colour, "marker": marker, "ls": "", "mfc": "none", "label": label},
        )
    ax.axline((0, 0), slope=1, color="black", lw=1)
    ax.set(xlim=(0.25, 0.85), ylim=(0.25, 1.15), xlabel="predicted", ylabel="measured at half of the loss")
    counts = ", ".join(str(k) for k in ratios)
    ax.set_title(f"Toxic rise, spectral over SGD, of {counts} inducing\nfeatures: what inputs share counts too")
    ax.legend(frameon=False, loc="upper left")


def _points(ax: Axes, x: list[float], y: list[float], rule: str) -> None:
    colour, marker, label = STYLE[rule]
    ax.plot(x, y, color=colour, marker=marker, ls="", mfc="none", label=label)


def _bars(ax: Axes, x: list[int], y: list[Estimate], rule: str) -> None:
    colour, marker, label = STYLE[rule]
    ax.errorbar(
        x, [e.value for e in y], yerr=_reach(y), color=colour, marker=marker, ls=":", lw=0.8, mfc="none", label=label
    )


def _reach(estimates: list[Estimate]) -> list[list[float]]:
    return [[e.value - e.low for e in estimates], [e.high - e.value for e in estimates]]
