"""Does the law hold? Predicted change of each feature's readout against the measured one."""

from typing import NamedTuple

import numpy as np
from einops import einsum, reduce
from jaxtyping import Float
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from shared.geometry import unit


class Law(NamedTuple):
    """measured = slope * predicted, over `n` features.

    Without a p: features share dimensions, so none is a draw of its own. Shuffling them would find a law between
    directions that were drawn apart in a third to two thirds of all draws.
    """

    slope: float
    pearson: float
    spearman: float
    r2: float  # 1 when the law is exact; negative when it does worse than the mean
    n: int


def readout_change(W: Float[Tensor, "feature d"], delta: Float[Tensor, "*token d"]) -> Float[Tensor, " feature"]:
    """Mean over tokens of <d_j/|d_j|, Δh>, the left side of (E1), in units of the activation.

    `delta` is the change of the hidden state. Raises ValueError when it holds no token.
    """
    if not delta.numel():
        raise ValueError(f"delta holds no token, its shape is {tuple(delta.shape)}")
    return einsum(unit(W), reduce(delta, "... d -> d", "mean"), "feature d, d -> feature")


def law(predicted: Float[Tensor, " feature"], measured: Float[Tensor, " feature"]) -> Law:
    """Least squares of measured on predicted, through the origin as (E1) says; exact E1 data give r2 = 1.

    Raises ValueError for fewer than two features, and for values that are not finite or do not vary.
    """
    x, y = _checked("predicted", predicted), _checked("measured", measured)
    slope = (x @ y) / (x @ x)
    r2 = 1 - np.sum((y - slope * x) ** 2) / np.sum((y - y.mean()) ** 2)
    return Law(
        slope=float(slope),
        pearson=float(pearsonr(x, y).statistic),
        spearman=float(spearmanr(x, y).statistic),
        r2=float(r2),
        n=len(x),
    )


def _checked(name: str, values: Float[Tensor, " feature"]) -> Float[np.ndarray, " feature"]:
    x = values.detach().double().cpu().numpy()
    if len(x) < 2:
        raise ValueError(f"{name} needs at least two features, not {len(x)}")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} is not finite at features {np.flatnonzero(~np.isfinite(x))[:5].tolist()}")
    if np.ptp(x) == 0:
        raise ValueError(f"{name} is {x[0]} for every feature, so nothing correlates with it")
    return x
