"""What rules that rescale the gradient (sign, spectral) do to many features, measured beside consequences.py.

sign_costs       one real sign step: R^2, slope, energy and scatter of its leakage
shared_rises     k features share a direction v: how far v rises, relative to theirs, at half of the loss
root_errors      L^2 = C K where it is a theorem, and how far it fails where it is none
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from shared import geometry, leakage
from shared.cores import in_processes, one_thread
from shared.stats import Estimate, over_seeds
from toy import consequences
from toy.measure import change_at_loss, off_diagonal, state_leakage, step_change
from toy.model import ToySettings
from toy.optimisers import RANK, STEPS, samples

ALPHA = 0.4  # cosine of every feature to the direction that they share
COUNTS = (1, 4, 16, 64)  # features that share it
WIDTH = 80  # of their space and of their inputs'
SEEDS = 4  # random bases
HALF = (0.5,)  # share of the loss at which rules are compared
SMALL = 1e-6  # a step without a second order


class Way(NamedTuple):
    optimiser: str
    eta: float
    rank: int | None = None  # of a LoRA; None: the matrix itself


WAYS = {
    "sgd": Way("sgd", 0.03),
    "adam": Way("adam", 3e-4),
    "lion": Way("lion", 3e-4),
    "spectral": Way("spectral", 0.01),
    "muon": Way("muon", 0.01),
    **{
        f"lora {rank}, {name}": Way(name, eta, rank)
        for rank in (4, 16)
        for name, eta in (("sgd", 0.1), ("adam", 0.001), ("spectral", 0.01))
    },
}


def summary(W: Float[Tensor, "inst feature d"], settings: ToySettings) -> dict:
    """All of it: on a trained model's directions, on random ones, and on features that share one."""
    n, p = W.shape[1], settings.probabilities[0, 0].item()
    random = torch.randn(1, 400, 64, generator=torch.Generator().manual_seed(0), dtype=W.dtype)
    errors = [root_errors(one, crowded_inputs(n, p, seed)) for seed, one in enumerate(W)]
    return {
        "sign": {"trained": sign_costs(W, evenly=True), "random": sign_costs(random, evenly=False)},
        "shared": {"alpha": ALPHA, "predicted": predicted_rises(), "measured": shared_rises()},
        "modes": modes(W[0], crowded_inputs(n, p)),
        "root": {name: over_seeds([one[name] for one in errors]) for name in errors[0]},
    }


@one_thread()
def sign_costs(W: Float[Tensor, "inst feature d"], evenly: bool) -> dict[str, dict[str, float]]:
    """Measured by one real step on every target; predicted without a preferred axis, and by how near these lie to one.

    `evenly`: the features share their space out (a trained model's do), or each lies where it likes (random ones).
    """
    cosine = off_diagonal([geometry.cosine(one, one) for one in W])
    leaked = off_diagonal([state_leakage(one, "sign") for one in W])
    fit, (n, d) = leakage.law(cosine, leaked), W.shape[1:]
    measured = {
        "r2": fit.r2,
        "slope": fit.slope,
        "energy": (leaked.square().sum() / cosine.square().sum()).item(),
        "scatter": _rms((leaked - cosine) / (1 - cosine.square()).sqrt()),
    }

    def costs(alignment: float) -> dict[str, float]:
        energy = consequences.sign_energy(n, d, alignment) if evenly else 1 / alignment
        return {"r2": 1 / energy, "slope": 1.0, "energy": energy, "scatter": consequences.sign_scatter(d, alignment)}

    own = 1 / torch.stack([1 / consequences.sign_alignment(one) for one in W]).mean().item()  # the harmonic mean
    return {"measured": measured, "own": costs(own), "no axis": costs(consequences.usual_alignment(d))}


def _rms(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


def shared_rises() -> dict[str, dict[int, Estimate]]:
    """Rule -> k -> the rise of v at the trained inputs, relative to the features' own, over random bases.

    f_t is asked to rise by 1 at its own input x_t, for every t at once: L = sum_t (f_t(x_t) - 1)^2 / 2 from A = 0.
    """
    cells = [(name, k) for name in WAYS for k in COUNTS]
    found = in_processes(lambda name, k: over_seeds(_shared_rise(k, WAYS[name])), *zip(*cells, strict=True))
    rises = dict(zip(cells, found, strict=True))
    return {name: {k: rises[name, k] for k in COUNTS} for name in WAYS}


def predicted_rises() -> dict[str, dict[int, float]]:
    """The formula's: under the gradient, and under the spectral step."""
    return {
        name: {k: consequences.shared_rise(ALPHA, k, name == "spectral") for k in COUNTS}
        for name in ("gradient", "spectral")
    }


def sharing_features(
    alpha: float, k: int, generator: torch.Generator
) -> tuple[Float[Tensor, "readout d"], Float[Tensor, "feature d"]]:
    """(D, x): k unit rows alpha v + sqrt(1 - alpha^2) u_t and, last, v; k orthonormal inputs; random bases of both."""
    Q, x = (torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64))[0] for _ in range(2))
    return torch.cat([alpha * Q[:1] + math.sqrt(1 - alpha**2) * Q[1 : k + 1], Q[:1]]), x[:k]


def _shared_rise(k: int, way: Way, seeds: Sequence[int] = range(SEEDS)) -> list[float]:
    """One for each random basis."""
    rises = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        D, x = sharing_features(ALPHA, k, generator)
        start, matrix = adapted(torch.zeros(WIDTH, WIDTH, dtype=D.dtype), way.rank, generator)

        def said(*theta: Tensor, D=D, x=x, matrix=matrix) -> Float[Tensor, "input feature"]:
            return x @ matrix(*theta).mT @ D.mT

        def loss(*theta: Tensor, said=said) -> Tensor:
            return (said(*theta).diagonal() - 1).square().sum() / 2

        (change,) = change_at_loss(said, loss, start, way.optimiser, way.eta, HALF)
        rises.append((change[:, k].mean() / change.diagonal().mean()).item())
    return rises


def adapted(
    A: Float[Tensor, "d d_in"], rank: int | None, generator: torch.Generator
) -> tuple[Tensor | tuple[Tensor, Tensor], Callable[..., Tensor]]:
    """What is trained, and the matrix that it makes: A itself, or A + B C from B = 0 with a random C."""
    if rank is None:
        return A, lambda moved: moved
    C = torch.randn(rank, A.shape[1], generator=generator, dtype=A.dtype) / A.shape[1] ** 0.5
    return (A.new_zeros(len(A), rank), C), lambda B, C: A + B @ C


def crowded_inputs(n: int, p: float, seed: int = 0) -> Float[Tensor, "feature feature"]:
    """For every feature t an input on which it is on, and the others with probability p."""
    return samples(n, p, torch.Generator().manual_seed(seed))[:, 0].double()


@one_thread()
def modes(W: Float[Tensor, "feature d"], x: Float[Tensor, "feature feature"]) -> dict[str, list[float]]:
    """Eigenvalues of L, largest first, of one step of size 1 that raises every feature t of W from its input x_t.

    (E2, E8) and torch's Muon, which is not exact; as many as there are dimensions.
    """
    start = torch.zeros(W.shape[1], x.shape[1], dtype=W.dtype)
    found = {}
    for rule in ("sgd", "spectral", "muon"):
        L = step_change(lambda A: x @ A.mT @ W.mT, lambda A: -(x @ A.mT * W).sum(), start, rule, 1.0)
        values = torch.linalg.eigvals(L).real.sort(descending=True).values
        found[rule] = values[: W.shape[1]].tolist()
    return found


@one_thread()
def root_errors(W: Float[Tensor, "feature d"], x: Float[Tensor, "feature feature"]) -> dict[str, float]:
    """min over c of |L L - c C K| / |L L|: 0 where a rule's leakage is the root of the gradient's.

    L: what the rule does to readout j at input t; C K: what one gradient step does, on the same parameters (small
    where W is used twice, so that the step has no second order).
    Every feature t of W is asked to rise by 1 at its own input x_t, of which A = W^T makes h.
    """
    generator = torch.Generator().manual_seed(0)
    whole, lora = adapted(W.mT, None, generator), adapted(W.mT, RANK, generator)
    goal = (x @ W @ W.mT).diagonal() + 1

    def error(start, matrix, rule: str, eta: float, steps: int = 1, tied: bool = False) -> float:
        def said(*theta: Tensor) -> Float[Tensor, "input feature"]:
            A = matrix(*theta)
            return x @ A.mT @ (A if tied else W.mT)

        def loss(*theta: Tensor) -> Tensor:
            return (said(*theta).diagonal() - goal).square().sum() / 2

        L = step_change(said, loss, start, rule, eta, steps)
        square, CK = L @ L, step_change(said, loss, start, "sgd", SMALL if tied else eta)
        return ((square - CK * (square * CK).sum() / CK.square().sum()).norm() / square.norm()).item()

    return {
        "spectral, 1 step": error(*whole, "spectral", 0.01),
        f"spectral, {STEPS} steps": error(*whole, "spectral", 0.01, STEPS),
        "muon, 1 step": error(*whole, "muon", 0.01),
        f"muon, {STEPS} steps": error(*whole, "muon", 0.01, STEPS),
        "lora, spectral, 1 step": error(*lora, "spectral", 0.01),
        f"lora, spectral, {STEPS} steps": error(*lora, "spectral", 0.01, STEPS),
        "W used twice, spectral, 1 step": error(*whole, "spectral", SMALL, tied=True),
        "sign, 1 step": error(*whole, "sign", 0.001),
        "sgd, 1 step": error(*whole, "sgd", 0.01),
    }
