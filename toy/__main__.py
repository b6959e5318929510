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
}


def main(argv: list[str]) -> int:
    """The exit status."""
    return command(argv, "toy", "results/toy", show)


def show(out: Path) -> None:
    """Runs, and prints what was found."""
    summary = run(out)
    print(table(summary), f"\n\nwrote {out}/summary.json and four figures in {summary['seconds']} s")
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
    lines += [f"  {'':19}{'published':>10}   dimensionality of each feature, trained"]
    for name, found in summary["superposition"]["polytopes"].items():
        D = " ".join(f"{value:.3f}" for value in found["D"])
        lines += [f"  {name:19}{found['published']:>10.3f}   {D}"]
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
        lines += [
            f"  {name:18}{fit['slope']:>8.3f}{fit['r2']:>8.3f}{other['slope']:>14.3f}{other['r2']:>8.3f}"
        ]
    found = summary["misalignment"]
    lines += [
        "",
        f"Emergent misalignment in miniature, {summary['settings']['worlds']} worlds: 95 % intervals",
    ]
    for dose, at in found["alignment"].items():
        lines += [
            f"  alignment {dose:5} toxic features rise by {_interval(at['effect'])}, gap {_interval(at['gap'])}"
        ]
    for name, one in found["filters"].items():
        lines += [
            f"  {name:10} removes half: effect less by {_interval(one['reduction']['0.5'])}, "
            f"AUROC {_interval(one['auroc'])}"
        ]
    return "\n".join(lines)


def _interval(e: dict) -> str:
    return f"{e['value']:+.3f} [{e['low']:+.3f}, {e['high']:+.3f}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
