"""The leakage law in closed form (design.md section 3). No autograd here: measure.py checks these numbers.

    W    [feature, d]   rows d_j: the features' directions
    f_j  = <d_j, h>     the linear readout of feature j
    g    = dL/dh        how the loss L would move h; L = -f_t ("raise feature t") has g = -d_t
    eta                 the step size;  s runs over training samples, x' is a probe

    (E1) representation_step    Δf_j     = -eta <d_j, g>                           L = -f_t: eta <d_j, d_t>
    (E2) weight_step            Δf_j(x') = -eta mean_s <d_j, g_s> <x_s, x'>        h = A x, a step on A
    (E4) sign_step              Δf_j     = -eta <d_j, g / (|g| + eps)>             Adam's first step

All are exact, not first order; changes are in units of the feature's activation. By (E1) the leakage ratio
Δf_j/Δf_t is the cosine of d_j and d_t, times |d_j|/|d_t|. (E4) breaks this.
"""

import math

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor


def representation_step(
    W: Float[Tensor, "feature d"], g: Float[Tensor, "*batch d"], eta: float
) -> Float[Tensor, "*batch feature"]:
    """(E1) Δf after h -> h - eta g. ValueError: a step that is not finite, widths that differ."""
    _check(eta, W, g)
    return -eta * einsum(W, g, "feature d, ... d -> ... feature")


def weight_step(
    W: Float[Tensor, "feature d"],
    g: Float[Tensor, "sample d"],
    x: Float[Tensor, "sample d_in"],
    probe: Float[Tensor, "probe d_in"],
    eta: float,
) -> Float[Tensor, "probe feature"]:
    """(E2) Δf at the probes after A -> A - eta mean_s g_s x_s^T. Spillover needs both overlaps.

    ValueError: a step that is not finite, widths or sample counts that differ.
    """
    _check(eta, W, g)
    if len(x) != len(g) or len(g) == 0:
        raise ValueError(f"x must have one row for each row of g ({len(g)}, not 0), got {tuple(x.shape)}")
    if probe.shape[-1] != x.shape[-1]:
        raise ValueError(f"probe must have the width of x ({x.shape[-1]}), got {tuple(probe.shape)}")
    directions = einsum(W, g, "feature d, sample d -> sample feature")
    inputs = einsum(x, probe, "sample d_in, probe d_in -> sample probe")
    return -eta * einsum(inputs, directions, "sample probe, sample feature -> probe feature") / len(g)


def sign_step(
    W: Float[Tensor, "feature d"], g: Float[Tensor, "*batch d"], eta: float, eps: float = 0.0
) -> Float[Tensor, "*batch feature"]:
    """(E4) Δf after h -> h - eta g/(|g| + eps): sign descent at eps = 0, Adam's first step at its own eps.

    ValueError: a step that is not finite, widths that differ, an eps that is negative or not finite.
    """
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps must be at least 0 and finite, got {eps}")
    _check(eta, W, g)
    sign = g / (g.abs() + eps) if eps else g.sign()
    return representation_step(W, sign, eta)


def hidden_gradient(
    W: Float[Tensor, "feature d"],
    b_final: Float[Tensor, " feature"],
    importance: Float[Tensor, " feature"],
    x: Float[Tensor, "sample feature"],
    h: Float[Tensor, "sample d"],
) -> Float[Tensor, "sample d"]:
    """g_s = dL_s/dh_s of the toy's loss through its decoder: the g that (E2) asks for.

    L_s = mean over features of importance (y - x)^2, y = relu(h W^T + b_final); silent features pass nothing.
    """
    pre = h @ W.mT + b_final
    delta = 2 / x.shape[-1] * importance * (torch.relu(pre) - x) * (pre > 0)
    return delta @ W


def _check(eta: float, W: Tensor, g: Tensor) -> None:
    if not math.isfinite(eta):
        raise ValueError(f"eta must be finite, got {eta}")
    if g.shape[-1] != W.shape[-1]:
        raise ValueError(f"g must have the width of W ({W.shape[-1]}), got {tuple(g.shape)}")
