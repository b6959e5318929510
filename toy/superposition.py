"""Superposition itself (Elhage et al. 2022): features share dimensions, in fractions that geometry allows.

- `polytopes`: a few features settle into a polytope, and each gets the fraction D_i of a dimension that belongs to it.
- `sharing`: many equal features, from dense to sparse. Dimensions per feature, D* = m / |W|_F^2, fall from 1, rest at
  1/2 (antipodal pairs) and fall on.
- `phases`: two features, one dimension. By importance and sparsity the second is ignored, given the dimension, or put
  opposite the first; training is compared with which of the three has the least expected loss.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shared.cores import in_parallel
from shared.geometry import dimensionality, interference
from toy.model import Toy, ToySettings, best, fresh_loss, represented, train

POLYTOPES = {  # (n_features, d_hidden, feature_probability) -> (name, D_i)
    (3, 3, 0.05): ("own axes", 1),
    # of the crowded side: sparse features would rather pair up
    (4, 3, 0.6): ("tetrahedron", 3 / 4),
    (3, 2, 0.7): ("triangle", 2 / 3),
    (2, 1, 0.05): ("antipodal pair", 1 / 2),
    (5, 2, 0.05): ("pentagon", 2 / 5),
    (8, 3, 0.05): ("square antiprism", 3 / 8),
}
RESTARTS = 8  # instances of a polytope, of which the one with the least loss on fresh data counts
SHARING = ToySettings(
    n_instances=12,
    n_features=48,
    d_hidden=8,
    feature_probability=tuple((20 ** -np.linspace(0, 1, 12)).tolist()),
)
IMPORTANCES = tuple(np.logspace(-1, 1, 11).tolist())  # of the second feature; the first's is 1
PROBABILITIES = tuple(np.logspace(-2, 0, 11).tolist())
PHASES = ("ignored", "given the dimension", "opposite the first", "beside the first")
PHASE_RESTARTS = 4


def polytopes(steps: int = 1500) -> dict[str, dict]:
    """For each polytope, D_i of its features in the best of RESTARTS instances, next to the published D."""

    def grow(shape: tuple[int, int, float]) -> list[float]:
        settings = ToySettings(RESTARTS, *shape, batch_size=1024, steps=steps)
        return dimensionality(best(train(settings), settings).double()).tolist()

    found = in_parallel(grow, POLYTOPES)
    return {
        name: {"n_features": n, "d_hidden": d, "published": published, "D": D}
        for ((n, d, _), (name, published)), D in zip(POLYTOPES.items(), found, strict=True)
    }


def shares(toy: Toy) -> dict:
    """How a model's features share the space: dimensionality is d_hidden/n_features when they share it evenly."""
    W = toy.W.double()
    D, there, even = dimensionality(W), represented(W), W.shape[-1] / W.shape[-2]
    return {
        "dimensionality": {"mean": D.mean().item(), "low": D.min().item(), "high": D.max().item()},
        "interference": interference(W).mean().item(),
        "represented": there.double().mean().item(),
        "even_instances": int((there & ((D - even).abs() < 0.02)).all(-1).sum()),
        "instances": len(W),
    }


def sharing(settings: ToySettings = SHARING) -> list[dict]:
    """For each feature probability, D* and the D_i of the features that are represented (|W_i| > 1/2)."""
    W = train(settings).W.double()
    D = dimensionality(W)
    return [
        {
            "feature_probability": p,
            "D_star": (settings.d_hidden / W[i].square().sum()).item(),
            "D": D[i][represented(W[i])].tolist(),
        }
        for i, p in enumerate(settings.probabilities[:, 0].tolist())
    ]


def phases(steps: int = 1000) -> dict[str, list[list[int]]]:
    """Phase of the second feature, as trained and as predicted, by [probability][importance]: places in PHASES."""
    cells = [(p, i) for p in PROBABILITIES for i in IMPORTANCES]
    p, importance = (tuple(np.repeat(column, PHASE_RESTARTS).tolist()) for column in zip(*cells, strict=True))
    settings = ToySettings(len(p), 2, 1, p, importance, batch_size=256, steps=steps)
    toy = train(settings)
    lost = fresh_loss(toy, settings)
    W = toy.W.view(len(cells), PHASE_RESTARTS, 2)
    W = W[torch.arange(len(cells)), lost.view(len(cells), -1).argmin(1)]
    shape = len(PROBABILITIES), len(IMPORTANCES)
    return {
        "trained": np.reshape([phase(w) for w in W], shape).tolist(),
        "predicted": np.reshape([least_loss(*cell) for cell in cells], shape).tolist(),
    }


def phase(w: Float[Tensor, "2"]) -> int:
    """By the two features' places on the one axis."""
    first, second = represented(w[:, None]).tolist()
    if not (first and second):
        return int(second)
    return 2 if w.prod() < 0 else 3


def least_loss(p: float, importance: float) -> int:
    """The phase of least expected loss, from the three solutions' moments.

    An ignored feature is answered with its mean p/2, through b_final, and costs its variance, p/3 - p²/4. With
    W = (1, -1) only two features on at once go wrong: y = relu(x - x') and relu(x' - x), both by min(x, x'),
    whose square is 1/6 on average.
    """
    variance = p / 3 - p**2 / 4
    return int(np.argmin([importance * variance, variance, (1 + importance) * p**2 / 6]))
