"""Settings -> results/toy/summary.json and law.png: train, check the law, compare the optimisers, draw."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile

import torch
from jaxtyping import Float
from torch import Tensor

from shared import geometry, leakage, records
from shared.errors import InputError
from toy import law
from toy.figures import law_figure, save
from toy.measure import OPTIMISERS, autograd_change, relative_error, step_change
from toy.model import Toy, ToySettings, one_thread, train

PENTAGON = ToySettings()
CROWD = ToySettings(n_instances=4, n_features=40, d_hidden=10, seed=1)
ETA = 0.1  # step size; the laws hold at any
SAMPLES = 64  # for E2: training samples, and as many probes


@one_thread()
def run(out: Path, pentagon: ToySettings = PENTAGON, crowd: ToySettings = CROWD) -> dict:
    """Everything `python -m toy` does but print. InputError when `out` cannot be written."""
    started = time.perf_counter()
    with _writing(out):  # tried before the training, not only after it
        out.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=out).close()
    models = {"pentagon": train(pentagon), "crowd": train(crowd)}
    errors = law_errors(models["pentagon"], pentagon) + law_errors(models["crowd"], crowd)
    directions = models["crowd"].W.double()
    cosines = _pairs([geometry.cosine(W, W) for W in directions])
    measured = {name: _pairs([leakage_ratios(W, name) for W in directions]) for name in OPTIMISERS}
    summary = {
        "law": {name: _worst([e[name] for e in errors]) for name in errors[0]},
        "optimisers": {name: _fit(cosines, found) for name, found in measured.items()},
        "superposition": {name: superposition(toy) for name, toy in models.items()},
        "settings": {"pentagon": asdict(pentagon), "crowd": asdict(crowd), "eta": ETA, "samples": SAMPLES},
        "versions": records.versions(),
    }
    W = models["pentagon"].W[0].double()
    figure = law_figure(W, leakage_ratios(W, "sgd"), cosines, measured)
    with _writing(out):
        save(figure, out / "law.png")
        summary["seconds"] = round(time.perf_counter() - started, 1)
        records.write_json(out / "summary.json", summary)
    return summary


def law_errors(toy: Toy, settings: ToySettings) -> list[dict[str, dict[str, float]]]:
    """`instance_errors` of every instance, in float64 though trained in float32."""
    parameters = zip(toy.W.double(), toy.b_final.double(), settings.importances.double(), strict=True)
    return [instance_errors(*one, seed) for seed, one in enumerate(parameters)]


def instance_errors(
    W: Float[Tensor, "feature d_hidden"],
    b_final: Float[Tensor, " feature"],
    importance: Float[Tensor, " feature"],
    seed: int,
) -> dict[str, dict[str, float]]:
    """Largest relative error of each law on one trained instance, by equation and by way of measuring.

    E1, E4: one step of size ETA along L = -f_t on a drawn hidden state, each feature in turn the target t.
    E2: one step on A, which starts as the trained encoder (h = A x, A = W^T), down the toy's own loss through
    its frozen decoder. The samples and probes have every feature on: the model never trained on such, so the
    step is not tiny.
    """
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(W.shape, generator=generator, dtype=W.dtype)  # a hidden state for each target
    x, probe = torch.rand(2, SAMPLES, len(W), generator=generator, dtype=W.dtype)

    e1 = law.representation_step(W, -W, ETA)
    e2 = law.weight_step(W, law.hidden_gradient(W, b_final, importance, x, x @ W), x, probe, ETA)
    e4 = law.sign_step(W, -W, ETA, eps=1e-8)  # torch's Adam adds 1e-8

    def reconstruction(A: Tensor) -> Tensor:
        y = torch.relu(x @ A.mT @ W.mT + b_final)
        return (importance * (y - x).square()).mean()

    state = (lambda h: h @ W.mT, lambda h: -(h * W).sum(), h)
    weight = (lambda A: probe @ A.mT @ W.mT, reconstruction, W.mT)
    return {
        "E1": _errors(e1, autograd=autograd_change(*state, ETA), step=step_change(*state, "sgd", ETA)),
        "E2": _errors(e2, autograd=autograd_change(*weight, ETA), step=step_change(*weight, "sgd", ETA)),
        "E4": _errors(e4, step=step_change(*state, "adam", ETA)),
    }


def leakage_ratios(W: Float[Tensor, "feature d_hidden"], optimiser: str) -> Float[Tensor, "target feature"]:
    """Δf_j / Δf_t after one real step on a hidden state along L = -f_t, for every target t.

    Readouts are along unit directions, as in `shared.leakage`: under SGD the ratio should be cos(d_j, d_t).
    """
    delta = step_change(lambda h: h, lambda h: -(h * W).sum(), torch.zeros_like(W), optimiser, ETA)
    change = torch.stack([leakage.readout_change(W, row) for row in delta])
    return change / change.diagonal()[:, None]


def superposition(toy: Toy) -> dict:
    """How the features share the space: dimensionality is d_hidden/n_features when they share it evenly."""
    W = toy.W.double()
    D = geometry.dimensionality(W)
    even = W.shape[-1] / W.shape[-2]
    represented = W.norm(dim=-1) > 0.5
    return {
        "dimensionality": {"mean": _round(D.mean()), "low": _round(D.min()), "high": _round(D.max())},
        "interference": _round(geometry.interference(W).mean()),
        "represented": _round(represented.double().mean()),
        "even_instances": int((represented & ((D - even).abs() < 0.02)).all(-1).sum()),
        "instances": len(W),
    }


def _pairs(matrices: list[Float[Tensor, "target feature"]]) -> Float[Tensor, " pair"]:
    """The off-diagonal entries of all instances: a feature's effect on itself is no leakage."""
    return torch.cat([m[~torch.eye(len(m), dtype=torch.bool)] for m in matrices])


def _fit(predicted: Tensor, measured: Tensor) -> dict[str, float]:
    """Without law's p: its permutation is of features, and these are pairs of them."""
    fit = leakage.law(predicted, measured, draws=1)._asdict()
    return {name: _round(fit[name]) for name in ("slope", "r2", "pearson", "spearman")} | {"pairs": fit["n"]}


def _errors(predicted: Tensor, **measured: Tensor) -> dict[str, float]:
    return {way: relative_error(predicted, change) for way, change in measured.items()}


def _worst(errors: list[dict[str, float]]) -> dict[str, float]:
    worst = {way: _round(max(e[way] for e in errors)) for way in errors[0]}
    return {"max_relative_error": max(worst.values()), **worst}


def _round(value: float | Tensor) -> float:
    return float(f"{float(value):.6g}")


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}; try python -m toy FOLDER") from error
