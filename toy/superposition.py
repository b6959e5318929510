"""Superposition itself (Elhage et al. 2022): features share dimensions, in fractions that geometry allows.

- `polytopes`: a few features settle into a polytope: each gets the fraction D_i of a dimension that belongs to it, and
  any two stand at one of its angles, without which D_i names no shape.
- `sharing`: many equal features, from dense to sparse. Dimensions per feature, D* = m / |W|_F^2, fall from 1, rest at
  1/2 (antipodal pairs) and fall on.
- `phases`: two features, one dimension. By importance and sparsity the second is ignored, given the dimension, or put
  opposite the first; training is compared with the W and b_final of least expected loss.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from shared.cores import in_parallel
from shared.geometry import cosine, dimensionality, interference
from toy.model import Toy, ToySettings, best, represented, train

POLYTOPES = {  # (n_features, d_hidden, feature_probability) -> (name, D_i)
    (3, 3, 0.05): ("own axes", 1),
    # of the crowded side: sparse features would rather pair up
    (4, 3, 0.6): ("tetrahedron", 3 / 4),
    (3, 2, 0.7): ("triangle", 2 / 3),
    (2, 1, 0.05): ("antipodal pair", 1 / 2),
    (5, 2, 0.05): ("pentagon", 2 / 5),
    (8, 3, 0.05): ("square antiprism", 3 / 8),
}
_HIGH = 55.9  # degrees from the axis: of eight charges on a sphere (Thomson's problem); an antiprism may choose
VERTICES = {  # directions, of any length
    "own axes": np.eye(3),
    "tetrahedron": [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)],
    "triangle": [(np.cos(a), np.sin(a)) for a in np.arange(3) * 2 * np.pi / 3],
    "antipodal pair": [(1,), (-1,)],
    "pentagon": [(np.cos(a), np.sin(a)) for a in np.arange(5) * 2 * np.pi / 5],
    "square antiprism": [
        (np.cos(a), np.sin(a), (-1) ** k / np.tan(np.deg2rad(_HIGH))) for k, a in enumerate(np.arange(8) * np.pi / 4)
    ],
}
RESTARTS = 8  # instances of a polytope, of which the one with the least loss on fresh data counts
SHARING = ToySettings(
    n_instances=12, n_features=48, d_hidden=8, feature_probability=tuple((20 ** -np.linspace(0, 1, 12)).tolist())
)
IMPORTANCES = tuple(np.logspace(-1, 1, 11).tolist())  # of the second feature; the first's is 1
PROBABILITIES = tuple(np.logspace(-2, 0, 11).tolist())
PHASES = ("ignored", "given the dimension", "opposite the first", "beside the first")
PHASE_RESTARTS = 4
NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
NODES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2  # of an integral from 0 to 1


def polytopes(steps: int = 1500) -> dict[str, dict]:
    """For each polytope the best of RESTARTS instances: D_i of its features, next to the published D, and their angles.

    `off_by`: how far the pairs' angles are from the polytope's, the farthest pair, in degrees.
    """

    def grow(shape: tuple[int, int, float]) -> Float[Tensor, "feature d_hidden"]:
        settings = ToySettings(RESTARTS, *shape, batch_size=1024, steps=steps)
        return best(train(settings), settings).double()

    found = in_parallel(grow, POLYTOPES)
    return {
        name: {
            "n_features": n,
            "d_hidden": d,
            "feature_probability": p,
            "published": published,
            "D": dimensionality(W).tolist(),
            "angles": angles(W).tolist(),
            "off_by": (angles(W) - angles(vertices(name))).abs().max().item(),
        }
        for ((n, d, p), (name, published)), W in zip(POLYTOPES.items(), found, strict=True)
    }


def vertices(name: str) -> Float[Tensor, "feature d_hidden"]:
    """Directions of a published polytope, one feature to each."""
    return torch.tensor(np.array(VERTICES[name], dtype=float))


def angles(W: Float[Tensor, "feature d_hidden"]) -> Float[Tensor, " pair"]:
    """Of every pair of features, in degrees, sorted: with them a shape is known up to rotation and reflection."""
    return cosine(W, W)[tuple(torch.triu_indices(len(W), len(W), 1))].arccos().rad2deg().sort().values


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
    """Phase of the second feature, as trained and as predicted, by [probability][importance]: places in PHASES.

    A cell's trained model is the one of PHASE_RESTARTS with the least expected loss.
    """
    cells = [(p, i) for p in PROBABILITIES for i in IMPORTANCES]
    p, importance = (tuple(np.repeat(column, PHASE_RESTARTS).tolist()) for column in zip(*cells, strict=True))
    settings = ToySettings(len(p), 2, 1, p, importance, batch_size=256, steps=steps)
    toy = train(settings)
    found = torch.cat([toy.W[..., 0], toy.b_final], 1).double().numpy()
    lost = [expected_loss(*one) for one in zip(found, p, importance, strict=True)]
    picks = np.reshape(lost, (len(cells), -1)).argmin(1) + PHASE_RESTARTS * np.arange(len(cells))
    W = toy.W[picks, :, 0]
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


class Minimum(NamedTuple):
    """Of the expected loss of two features in one dimension."""

    loss: float
    w: tuple[float, float]
    b: tuple[float, float]


def least_loss(p: float, importance: float) -> int:
    """The phase of least expected loss."""
    return phase(torch.tensor(minimum(p, importance).w))


def minimum(p: float, importance: float) -> Minimum:
    """The least expected loss over W and b_final, the best of descents from the phases; beside the first never is."""
    corners = [(1, -0.1, 0, p / 2), (-0.1, 1, p / 2, 0), (1, -1, 0, 0)]  # off the saddles
    ends = [minimize(_cost, np.array(at), args=(p, importance), jac=True, method="BFGS") for at in corners]
    end = min(ends, key=lambda end: end.fun)
    return Minimum(float(end.fun), tuple(end.x[:2].tolist()), tuple(end.x[2:].tolist()))


def expected_loss(wb: Float[np.ndarray, "4"], p: float, importance: float) -> float:
    """E[(y_1 - x_1)^2] + importance E[(y_2 - x_2)^2] of wb = (w_1, w_2, b_1, b_2), over who is on and x ~ U(0, 1].

    The integral over a feature's own x is exact, that over the other's by Gauss and Legendre.
    """
    return _cost(wb, p, importance)[0]


def _cost(wb: Float[np.ndarray, "4"], p: float, importance: float) -> tuple[float, Float[np.ndarray, "4"]]:
    """The expected loss, and its gradient."""
    w, b = wb[:2, None, None], wb[2:, None, None]  # of both features
    other = np.array([[0.0], [1.0]]) * NODES  # the other feature off, on
    weights = np.array([[1 - p], [p]]) * WEIGHTS * np.array([1, importance])[:, None, None]
    c = w.prod() * other + b
    (on, by_a, by_c), off = _on(w**2, c), np.maximum(c, 0)
    loss = weights * (p * on + (1 - p) * off**2)
    by_a, by_c = weights * p * by_a, weights * (p * by_c + 2 * (1 - p) * off)
    by_w = 2 * wb[:2] * by_a.sum((1, 2)) + wb[1::-1] * (by_c * other).sum()
    return float(loss.sum()), np.concatenate([by_w, by_c.sum((1, 2))])


def _on(a: Float[np.ndarray, "2 1 1"], c: Float[np.ndarray, "2 2 node"]) -> tuple[Float[np.ndarray, "2 2 node"], ...]:
    """Integral of (relu(a x + c) - x)^2 for x from 0 to 1, a >= 0: silent below the kink, then a line. And its slopes
    by a and by c."""
    kink = np.clip(-c / np.maximum(a, 1e-12), 0, 1)
    slope, once, twice, thrice = a - 1, 1 - kink, 1 - kink**2, 1 - kink**3
    line = slope**2 * thrice / 3 + slope * c * twice + c**2 * once
    return kink**3 / 3 + line, 2 * slope * thrice / 3 + c * twice, slope * twice + 2 * c * once
