"""The leakage law in closed form. No autograd here, but for E7: measure.py checks these numbers.

    W    [feature, d]   rows d_j: the features' directions
    f_j  = <d_j, h>     the linear readout of feature j
    g    = dL/dh        how the loss L would move h; L = -f_t ("raise feature t") has g = -d_t
    eta                 the step size;  s runs over training samples, x' and q are probes

    (E1) representation_step    Δf_j     = -eta <d_j, g>                           L = -f_t: eta <d_j, d_t>
    (E2) weight_step            Δf_j(x') = -eta mean_s <d_j, g_s> <x_s, x'>        h = A x, a step on A
    (E3) lora_step              as E2 with <x_s, x'> -> <C x_s, C x'>          h = (A + B C) x, at B = 0
    (E4) sign_step              Δf_j     = -eta <d_j, g / (|g| + eps)>             Adam's first step
    (E5) decayed_step           Δf_j     = -eta <d_j, g> - eta lambda f_j          weight decay lambda
         momentum_step          Δf_j     = -eta <d_j, sum_i mu^(k-i) g_i>          the k-th step of SGD with momentum mu
    (E6) tied_step              Δpre(q) of the tied ReLU model, second order included: see there
    (E7) first_order            Δf_j     = sum over parameters of df_j/dtheta . Δtheta, any network
    (E8) spectral_step          Δf_j(x') = -eta <d_j, U V^T x'>, G = sum_s g_s x_s^T = U S V^T   Muon's step, exactly

All but E7 are exact; changes are in units of the feature's activation. By (E1) the leakage ratio Δf_j/Δf_t is the
cosine of d_j and d_t, times |d_j|/|d_t|. (E4) breaks this, (E8) takes its matrix square root: consequences.py.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor


def representation_step(
    W: Float[Tensor, "feature d"], g: Float[Tensor, "*batch d"], eta: float
) -> Float[Tensor, "*batch feature"]:
    """(E1) Δf after h -> h - eta g. ValueError: a step that is not finite, widths that differ."""
    _check_finite("eta", eta)
    _check_width("g", g, "W", W)
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
    _check_samples(eta, W, g, x, probe)
    directions = einsum(W, g, "feature d, sample d -> sample feature")
    inputs = einsum(x, probe, "sample d_in, probe d_in -> sample probe")
    return -eta * einsum(inputs, directions, "sample probe, sample feature -> probe feature") / len(g)


def lora_step(
    W: Float[Tensor, "feature d"],
    g: Float[Tensor, "sample d"],
    x: Float[Tensor, "sample d_in"],
    probe: Float[Tensor, "probe d_in"],
    C: Float[Tensor, "rank d_in"],
    eta: float,
) -> Float[Tensor, "probe feature"]:
    """(E3) Δf after the first step on A + B C from B = 0, where C's own gradient is 0; LoRA's scale is in C.

    LoRA changes which inputs overlap; the output side, and so the cosine, is untouched. Raises as weight_step.
    """
    _check_width("C", C, "x", x)
    _check_width("probe", probe, "x", x)
    return weight_step(W, g, x @ C.mT, probe @ C.mT, eta)


def sign_step(
    W: Float[Tensor, "feature d"], g: Float[Tensor, "*batch d"], eta: float, eps: float = 0.0
) -> Float[Tensor, "*batch feature"]:
    """(E4) Δf after h -> h - eta g/(|g| + eps): sign descent at eps = 0, Adam's first step at its own eps.

    ValueError: a step that is not finite, widths that differ, an eps that is negative or not finite.
    """
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps must be at least 0 and finite, got {eps}")
    return representation_step(W, g / (g.abs() + eps) if eps else g.sign(), eta)


def decayed_step(
    W: Float[Tensor, "feature d"],
    g: Float[Tensor, "*batch d"],
    h: Float[Tensor, "*batch d"],
    eta: float,
    weight_decay: float,
) -> Float[Tensor, "*batch feature"]:
    """(E5) Δf after h -> h - eta (g + weight_decay h): every readout also shrinks by eta weight_decay of itself.

    ValueError: a step or decay that is not finite, shapes that differ.
    """
    _check_finite("weight_decay", weight_decay)
    _check_width("h", h, "W", W)
    if h.shape != g.shape:
        raise ValueError(f"h must have the shape of g {tuple(g.shape)}, got {tuple(h.shape)}")
    return representation_step(W, g, eta) - eta * weight_decay * einsum(W, h, "feature d, ... d -> ... feature")


def momentum_step(
    W: Float[Tensor, "feature d"], gradients: Float[Tensor, "step *batch d"], eta: float, momentum: float
) -> Float[Tensor, "*batch feature"]:
    """(E5) Δf in the last of these steps of SGD with momentum: past gradients count, older ones less.

    ValueError: a step or momentum that is not finite, no gradient, widths that differ.
    """
    _check_finite("momentum", momentum)
    _check_width("gradients", gradients, "W", W)
    if len(gradients) == 0:
        raise ValueError("gradients must hold at least one step, got none")
    age = torch.arange(len(gradients) - 1, -1, -1, dtype=W.dtype, device=W.device)
    velocity = einsum(momentum**age, gradients, "step, step ... d -> ... d")
    return representation_step(W, velocity, eta)


class TiedStep(NamedTuple):
    """(E6) one SGD step on the tied ReLU model, read at probes."""

    first: Float[Tensor, "probe feature"]  # first order in eta: Gram matrices of features, and the bias
    second: Float[Tensor, "probe feature"]  # D (D^T q), exact: with it nothing is left out

    @property
    def total(self) -> Float[Tensor, "probe feature"]:
        return self.first + self.second


def tied_step(
    W: Float[Tensor, "feature d"],
    delta: Float[Tensor, "sample feature"],
    x: Float[Tensor, "sample feature"],
    q: Float[Tensor, "probe feature"],
    eta: float,
) -> TiedStep:
    """(E6) Δpre at probes q after one SGD step on W and b_final, pre = (x W) W^T + b_final, delta = dL/dpre.

    With H = x W, h_q = q W, G = W W^T and D = -eta dL/dW = -eta (delta^T H + x^T (delta W)):
    Δpre(q) = -eta [delta^T (H h_q) + x^T (delta W h_q) + W (H^T (delta q)) + G (delta^T (x q)) + sum delta] + D (D^T q)
    Exact whatever the step: a unit that crosses zero bends relu(pre), not pre.
    ValueError: a step that is not finite, shapes that differ.
    """
    _check_finite("eta", eta)
    if x.shape[-1] != len(W):
        raise ValueError(f"x must have a column for each row of W ({len(W)}), got {tuple(x.shape)}")
    if delta.shape != x.shape or q.shape[-1] != x.shape[-1]:
        raise ValueError(f"delta {tuple(delta.shape)} and q {tuple(q.shape)} must fit x {tuple(x.shape)}")
    H, h_q, back = x @ W, q @ W, delta @ W
    decoder = (h_q @ H.mT) @ delta + (h_q @ back.mT) @ x  # D moves how h_q is read
    encoder = (q @ delta.mT @ H) @ W.mT + (q @ x.mT @ back) @ W.mT  # D moves h_q itself; W W^T = G
    D = -eta * (delta.mT @ H + x.mT @ back)
    return TiedStep(-eta * (decoder + encoder + delta.sum(0)), q @ D @ D.mT)


def tied_delta(
    W: Float[Tensor, "feature d"],
    b_final: Float[Tensor, " feature"],
    importance: Float[Tensor, " feature"],
    x: Float[Tensor, "sample feature"],
) -> Float[Tensor, "sample feature"]:
    """delta = dL/dpre of the toy's loss, mean over samples and features of importance (relu(pre) - x)^2.

    ValueError: shapes that differ.
    """
    _check_model(W, b_final, importance, x)
    return _delta(W, b_final, importance, x, x @ W) / len(x)


def first_order(readouts: Callable[[Tensor], Tensor], theta: Tensor, step: Tensor) -> Tensor:
    """(E7) df/dtheta . step, a Jacobian-vector product: any readouts of any parameters. Its error falls as step^2.

    ValueError: a step that is not finite or not of theta's shape.
    """
    if step.shape != theta.shape or not step.isfinite().all():
        raise ValueError(f"step must be finite and of theta's shape {tuple(theta.shape)}, got {tuple(step.shape)}")
    return torch.func.jvp(readouts, (theta,), (step,))[1]


def spectral_step(
    W: Float[Tensor, "feature d"],
    g: Float[Tensor, "sample d"],
    x: Float[Tensor, "sample d_in"],
    probe: Float[Tensor, "probe d_in"],
    eta: float,
) -> Float[Tensor, "probe feature"]:
    """(E8) Δf at the probes after A -> A - eta U V^T, where sum_s g_s x_s^T = U S V^T: Muon's step without momentum.

    The gradient's size does not count, so that a sum over samples and a mean are one. Raises as weight_step.
    """
    _check_samples(eta, W, g, x, probe)
    return -eta * probe @ polar(g.mT @ x).mT @ W.mT


def polar(G: Float[Tensor, "*batch d d_in"]) -> Float[Tensor, "*batch d d_in"]:
    """U V^T of G = U S V^T, over the singular values that are not 0: every direction that G has, equally strong."""
    U, S, Vh = torch.linalg.svd(G, full_matrices=False)
    rounding = torch.finfo(G.dtype).eps ** 0.75  # 1e-12 of the largest: well above that of a sum over samples
    there = rounding * S[..., :1] < S
    return (U * there[..., None, :]) @ Vh


def hidden_gradient(
    W: Float[Tensor, "feature d"],
    b_final: Float[Tensor, " feature"],
    importance: Float[Tensor, " feature"],
    x: Float[Tensor, "sample feature"],
    h: Float[Tensor, "sample d"],
) -> Float[Tensor, "sample d"]:
    """g_s = dL_s/dh_s of the toy's loss through its decoder: the g that (E2) asks for.

    L_s = mean over features of importance (y - x)^2, y = relu(h W^T + b_final); silent features pass nothing.
    ValueError: shapes that differ.
    """
    _check_model(W, b_final, importance, x)
    if h.shape != (len(x), W.shape[-1]):
        raise ValueError(f"h must be {(len(x), W.shape[-1])}, a row for each of x, got {tuple(h.shape)}")
    return _delta(W, b_final, importance, x, h) @ W


def _delta(W: Tensor, b_final: Tensor, importance: Tensor, x: Tensor, h: Tensor) -> Tensor:
    """dL_s/dpre, pre = h W^T + b, of each sample's own loss."""
    pre = h @ W.mT + b_final
    return 2 / x.shape[-1] * importance * (torch.relu(pre) - x) * (pre > 0)


def _check_samples(eta: float, W: Tensor, g: Tensor, x: Tensor, probe: Tensor) -> None:
    _check_finite("eta", eta)
    _check_width("g", g, "W", W)
    if len(x) != len(g) or len(g) == 0:
        raise ValueError(f"x must have one row for each row of g ({len(g)}, not 0), got {tuple(x.shape)}")
    _check_width("probe", probe, "x", x)


def _check_finite(name: str, number: float) -> None:
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")


def _check_width(name: str, rows: Tensor, other: str, like: Tensor) -> None:
    if rows.shape[-1] != like.shape[-1]:
        raise ValueError(f"{name} must have the width of {other} ({like.shape[-1]}), got {tuple(rows.shape)}")


def _check_model(W: Tensor, b_final: Tensor, importance: Tensor, x: Tensor) -> None:
    for name, shape in (("b_final", b_final.shape), ("importance", importance.shape), ("x", x.shape[-1:])):
        if tuple(shape) != (len(W),):
            raise ValueError(f"{name} must have an entry for each row of W ({len(W)}), got {tuple(shape)}")
