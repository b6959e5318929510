"""Drawn inputs of the property tests: float64 direction matrices of every awkward kind, labelled samples."""

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

KINDS = ("generic", "orthogonal", "near-parallel", "antipodal", "duplicated", "tiny")
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def directions(draw, min_features: int = 2, max_features: int = 8, max_d: int = 8, kinds=KINDS) -> Tensor:
    """W [feature d], float64. Orthogonal ones have at most d rows; tiny ones hold rows of length 1e-200."""
    kind, rng = draw(st.sampled_from(kinds)), np.random.default_rng(draw(SEEDS))
    n = draw(st.integers(min_features, max_features))
    d = draw(st.integers(n if kind == "orthogonal" else 1, max(n, max_d)))
    W = rng.normal(size=(n, d))
    if kind == "orthogonal":
        W = orthogonal(rng, d)[:n] * rng.uniform(0.1, 10, size=(n, 1))
    elif kind == "near-parallel":
        W = W[:1] + 1e-7 * W
    elif kind == "antipodal":
        W[1::2] = -W[0::2][: n // 2] * rng.uniform(0.1, 10, size=(n // 2, 1))
    elif kind == "duplicated":
        W[:] = W[rng.integers(max(1, n // 2), size=n)]
    elif kind == "tiny":
        W[rng.random(n) < 0.5] *= 1e-200
    return torch.from_numpy(W)


@st.composite
def labelled(draw, max_samples: int = 40, max_features: int = 4) -> tuple[Tensor, Tensor]:
    """(acts [sample feature], labels [sample]): sparse non-negative float64, both labels present."""
    n, features = draw(st.integers(3, max_samples)), draw(st.integers(1, max_features))
    rng = np.random.default_rng(draw(SEEDS))
    acts = rng.exponential(size=(n, features)) * (rng.random((n, features)) < 0.6)
    labels = rng.random(n) < draw(st.floats(0.1, 0.9))
    labels[rng.permutation(n)[:2]] = [True, False]
    return torch.from_numpy(acts), torch.from_numpy(labels)


def orthogonal(rng: np.random.Generator, d: int) -> np.ndarray:
    """A random rotation (or reflection) [d d]."""
    return np.linalg.qr(rng.normal(size=(d, d)))[0]
