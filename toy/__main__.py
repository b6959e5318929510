"""python -m toy [FOLDER]: train, check the law, print the table, write FOLDER (results/toy)."""

import sys
from pathlib import Path

from shared.errors import InputError
from toy.run import run

EQUATIONS = {
    "E1": "step on a hidden state, SGD",
    "E2": "step on a weight, SGD",
    "E4": "step on a hidden state, Adam",
}


def main(argv: list[str]) -> int:
    """The exit status: 2, after one line, for what the user can mend."""
    try:
        if len(argv) > 1 or any(arg.startswith("-") for arg in argv):
            raise InputError("usage: python -m toy [FOLDER]")
        out = Path(argv[0] if argv else "results/toy")
        summary = run(out)
        print(table(summary), f"\n\nwrote {out}/summary.json and {out}/law.png in {summary['seconds']} s")
    except InputError as error:
        print(f"toy: {error}", file=sys.stderr)
        return 2
    return 0


def table(summary: dict) -> str:
    """The summary for a terminal."""
    lines = ["", "Superposition: more features than dimensions, each with an even share"]
    for name, found in summary["superposition"].items():
        n, d = (summary["settings"][name][key] for key in ("n_features", "d_hidden"))
        D, even, instances = found["dimensionality"], found["even_instances"], found["instances"]
        lines += [
            f"  {n:3} features in {d:2} dimensions: {d / n:.3f} each; dimensionality "
            f"{D['mean']:.3f} ({D['low']:.3f} to {D['high']:.3f}), even in {even} of {instances} instances"
        ]
    lines += ["", "The law: closed form against measurement (largest relative error, float64)"]
    lines += [f"  {'':32}{'autograd':>10}{'real step':>12}"]
    for name, error in summary["law"].items():
        autograd = f"{error['autograd']:.1e}" if "autograd" in error else "-"
        lines += [f"  {name}  {EQUATIONS[name]:28}{autograd:>10}{error['step']:>12.1e}"]
    pairs = summary["optimisers"]["sgd"]["pairs"]
    lines += ["", f"Is leakage the cosine? One real step, {pairs} pairs of features (if it is, all are 1)"]
    lines += [f"  {'':8}{'slope':>8}{'r2':>8}{'spearman':>10}"]
    for name, fit in summary["optimisers"].items():
        lines += [f"  {name:8}{fit['slope']:>8.3f}{fit['r2']:>8.3f}{fit['spearman']:>10.3f}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
