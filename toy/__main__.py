"""python -m toy [FOLDER]: train, check the law, print the table, write FOLDER (results/toy)."""

import sys
from pathlib import Path

from toy.command import command
from toy.run import run

EQUATIONS = {
    "E1": "step on a hidden state",
    "E2": "step on a weight",
    "E3": "first step of a LoRA",
    "E4": "first step of Adam",
    "E5": "weight decay; momentum",
    "E6": "step on the tied ReLU model",
    "E7": "any network, first order",
    "E8": "spectral step (exact Muon)",
}

WAYS = {"own": "by its alignment", "no axis": "no preferred axis"}


def main(argv: list[str]) -> int:
    """The exit status."""
    return command(argv, "toy", "results/toy", show)


def show(out: Path) -> None:
    """Runs, and prints what was found."""
    summary = run(out)
    print(table(summary), f"\n\nwrote {out}/summary.json and five figures in {summary['seconds']} s")
    print(f"play: open {out}/explore.html")


def table(summary: dict) -> str:
    """The summary for a terminal."""
    lines = ["", "Superposition: more features than dimensions, each with an even share"]
    for name in ("pentagon", "crowd"):
        found = summary["superposition"][name]
        n, d = (summary["settings"][name][key] for key in ("n_features", "d_hidden"))
        D, even, instances = found["dimensionality"], found["even_instances"], found["instances"]
        lines += [
            f"  {n:3} features in {d:2} dimensions: {d / n:.3f} each; dimensionality "
            f"{D['mean']:.3f} ({D['low']:.3f} to {D['high']:.3f}), even in {even} of {instances} instances"
        ]
    lines += [f"  {'':19}{'published':>10}{'angles off by':>16}   dimensionality of each feature, trained"]
    for name, found in summary["superposition"]["polytopes"].items():
        D = " ".join(f"{value:.3f}" for value in found["D"])
        lines += [f"  {name:19}{found['published']:>10.3f}{found['off_by']:>12.1f} deg   {D}"]
    shared = summary["superposition"]["sharing"]
    half = [one["feature_probability"] for one in shared if abs(one["D_star"] - 0.5) < 0.03]
    phases = summary["superposition"]["phases"]
    cells = [a == b for rows in zip(*phases.values(), strict=True) for a, b in zip(*rows, strict=True)]
    n, d = (summary["settings"]["sharing"][key] for key in ("n_features", "d_hidden"))
    lines += [
        f"  {n} equal features in {d} dimensions: D* is 1/2 within 0.03 at {len(half)} of {len(shared)} probabilities, "
        f"{min(half, default=0):.2f} to {max(half, default=0):.2f}",
        f"  2 features in 1: the phase of least expected loss in {sum(cells)} of {len(cells)} cells",
    ]
    lines += ["", "The law: closed form against measurement (largest relative error, float64)"]
    lines += [f"  {'':32}{'autograd':>10}{'real step':>12}"]
    for name, error in summary["law"].items():
        autograd = f"{error['autograd']:.1e}" if "autograd" in error else "-"
        slope = f"   error ~ step^{error['slope']:.3f}" if "slope" in error else ""
        worst = max(error["step"], error.get("momentum", 0))
        lines += [f"  {name}  {EQUATIONS[name]:28}{autograd:>10}{worst:>12.1e}{slope}"]
    pairs = summary["optimisers"]["sgd"]["pairs"]
    lines += ["", f"Is leakage the cosine? {pairs} pairs of features (slope and r2 are 1 if it is)"]
    lines += [
        f"  {'':18}{'target alone':>16}{'others kept right':>22}",
        f"  {'':18}{'slope':>8}{'r2':>8}{'slope':>14}{'r2':>8}",
    ]
    for name, fit in summary["optimisers"].items():
        other = fit["together"]
        lines += [f"  {name:18}{fit['slope']:>8.3f}{fit['r2']:>8.3f}{other['slope']:>14.3f}{other['r2']:>8.3f}"]
    lines += rescaling_lines(summary["rescaling"]) + equal_loss_lines(summary["equal_loss"])
    lines += ["", f"Emergent misalignment in miniature, {summary['settings']['worlds']} worlds: 95 % intervals"]
    return "\n".join(lines + misalignment_lines(summary["misalignment"]))


def misalignment_lines(found: dict) -> list[str]:
    """Dose and response; the gap as it is measured and as it is; its nulls; filters."""
    lines = []
    for dose, at in found["alignment"].items():
        lines += [f"  alignment {dose:5} toxic features rise by {_interval(at['effect'])}"]
    lines += ["  gap of the features that are selected; true gap; share of the selected that are inducing"]
    for dose, at in found["alignment"].items():
        right = at["precision"]["inducing"]["value"]
        lines += [f"  alignment {dose:5} {_interval(at['gap'])}; {_interval(found['true_gap'][dose])}; {right:.2f}"]
    lines += ["  share of worlds whose gap is beyond the null of flipped labels (p < 0.05); of matched features"]
    for dose, at in found["nulls"].items():
        lines += [
            f"  alignment {dose:5} {_interval(at['flips'])}; {_interval(at['matched'])}; {at['flips']['n']} worlds"
        ]
    for name, one in found["filters"].items():
        lines += [
            f"  {name:10} removes half: effect {_interval(one['effect']['0.5'])} (0: as control), "
            f"AUROC {_interval(one['auroc'])}"
        ]
    return lines


def rescaling_lines(found: dict) -> list[str]:
    """Sign and spectral steps: the closed forms beside what was measured."""
    lines = ["", "What a sign step costs (E4)      r2     slope    energy   scatter at right angles"]
    for name, label in (("trained", "trained, 40 in 10"), ("random", "random, 400 in 64")):
        for way, cost in found["sign"][name].items():
            row = f"  {label:19}" if way == "measured" else f"    {WAYS[way]:17}"
            lines += [row + "".join(f"{cost[key]:>10.3f}" for key in ("r2", "slope", "energy", "scatter"))]
    shared = found["shared"]
    counts = "".join(f"{k:>8}" for k in next(iter(shared["measured"].values())))
    lines += [
        "",
        f"Rise of what k features share (cosine {shared['alpha']}), relative to theirs",
        f"  k{'':19}{counts}",
    ]
    for name, at in shared["predicted"].items():
        lines += [f"  formula, {name:11}" + "".join(f"{value:>8.3f}" for value in at.values())]
    for name, at in shared["measured"].items():
        lines += [f"  {name:20}" + "".join(f"{e['value']:>8.3f}" for e in at.values())]
    lines += ["", "Is leakage the root of the gradient's? (0: exactly, as E8 says)"]
    return lines + [f"  {name:34}{e['value']:>8.1e}" for name, e in found["root"].items()]


def equal_loss_lines(found: dict) -> list[str]:
    """Emergent misalignment by each rule, where half of the loss is left."""
    half = found["shares"].index(0.5)
    lines = ["", "Rise of toxic readouts at half of the loss, and relative to SGD"]
    for rule, rates in found["rules"].items():
        for rate, one in rates.items():
            lines += [f"  {rule:10} rate {rate:6} {_interval(one['effect'][half])}  x {_interval(one['times_sgd'])}"]
    lines += [
        "  spectral relative to SGD by k inducing features: measured; predicted by formula, directions, first step"
    ]
    for k, kinds in found["ratios"].items():
        for kind, one in kinds.items():
            ways = "".join(f"{one[way]:>8.3f}" for way in ("formula", "directions", "first step"))
            lines += [f"  {k:>4} {kind:8}{_interval(one['measured']['spectral'])}{ways}"]
    return lines


def _interval(e: dict) -> str:
    """Bounds of one seed are None."""
    low, high = ("?" if e[end] is None else f"{e[end]:+.3f}" for end in ("low", "high"))
    return f"{e['value']:+.3f} [{low}, {high}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
