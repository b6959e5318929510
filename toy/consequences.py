"""What follows from (E4) and (E8) for many features at once, in closed form.

d_t: unit directions of the features that are raised (rows of D), x_t: the inputs that they are raised from (rows of x).

    C = D D^T, K = x x^T     cosines of the directions, overlaps of the inputs
    L[j, t]                  what a step of size 1 that raises every feature t from its x_t does to readout j at x_t
    gradient (E2)            L = C K
    spectral (E8)            L^2 = C K: L is the square root, for any directions, inputs and ranks
    sign (E4)                R^2 of leakage against the cosine is cos^2(d_t, sign d_t): 2/pi in many dimensions
                             without a preferred axis, and pi/2 times the gradient's energy leaks
    shared direction         d_t = alpha v + sqrt(1 - alpha^2) u_t, k of them, u_t and v orthonormal, K = 1:
                             relative to the d_t, v rises by alpha (gradient) or
                             (alpha / r) / (q + (r - q)/k), r^2 = 1 - alpha^2 + k alpha^2, q^2 = 1 - alpha^2 (spectral)

Why the root: with M = D^T x = U S V^T the spectral step is D U V^T x^T = L, and as x^T D = M^T = V S U^T,
L^2 = D U V^T (V S U^T) U V^T x^T = D M x^T = D D^T x x^T = C K. Its eigenvalues are S and 0, none below 0.
"""

import math

import torch
from jaxtyping import Float
from scipy.integrate import quad
from scipy.special import erfcx
from torch import Tensor

from shared.geometry import unit

SIGN_R2 = 2 / math.pi  # of leakage against the cosine, in many dimensions, none of them special


def sign_alignment(W: Float[Tensor, "feature d"]) -> Float[Tensor, " feature"]:
    """(E4) a_t = cos^2(d_t, sign d_t) in [1/d, 1]: R^2 of a sign step's leakage against the cosine; it leaks 1/a_t.

    Over +-q of any orthonormal basis exactly, and so on average over neighbours that lie on all sides alike.
    2/pi + (1 - 2/pi)/d on average over directions without a preferred axis.
    """
    return unit(W).abs().sum(-1).square() / W.shape[-1]


def usual_alignment(d: int) -> float:
    """(E4) Harmonic mean of `sign_alignment` over directions without a preferred axis, d > 1: 2/pi as d grows.

    Of normal g, E[1/a] = d (d - 2) E[1/S^2], S = |g|_1, and 1/S^2 is the integral over s > 0 of s exp(-s S); s = u/d.
    """
    if d == 2:
        return math.pi / 4  # there E[1/S^2] is infinite
    return 1 / (quad(lambda u: u * erfcx(u / d / 2**0.5) ** d, 0, math.inf)[0] * (1 - 2 / d))


def sign_energy(n: int, d: int, alignment: float | Tensor) -> float | Tensor:
    """(E4) What a sign step on t leaks to the other features, to what the gradient leaks; its R^2 is 1 over that.

    For features that spread evenly, n > d unit rows with sum_j d_j d_j^T = n/d (a tight frame); its slope is 1.
    """
    return (n / d / alignment - 1) / (n / d - 1)


def sign_scatter(d: int, alignment: float | Tensor = SIGN_R2) -> float | Tensor:
    """(E4) Root mean square of how far a sign step moves features orthogonal to t, in units of the target's rise.

    Over any orthonormal basis of what is orthogonal to d_t exactly. sqrt((pi/2 - 1)/d) in many dimensions.
    """
    return ((1 / alignment - 1) / (d - 1)) ** 0.5


def spectral_leakage(
    C: Float[Tensor, "feature feature"], K: Float[Tensor, "feature feature"]
) -> Float[Tensor, "feature feature"]:
    """(E8) L, the root of C K, from the cosines and the overlaps alone: C K^(1/2) (K^(1/2) C K^(1/2))^(-1/2) K^(1/2).

    C and K symmetric, no eigenvalue below 0; the inverse is over those that are not 0.
    """
    half = _power(K, 0.5)
    return C @ half @ _power(half @ C @ half, -0.5) @ half


def untrained(
    cross: Float[Tensor, "readout feature"], C: Float[Tensor, "feature feature"], L: Float[Tensor, "feature feature"]
) -> Float[Tensor, "readout feature"]:
    """(E2, E8) C' C^+ L: readouts that nothing trains, cross = C' = <d'_i, d_t> their cosines to the trained ones.

    A step has no part outside the span of the trained directions, and there d' is a mixture C' C^+ of them. The
    gradient obeys it too (L = C K gives C' K): only the leakage among the trained features is rooted.
    """
    return cross @ torch.linalg.pinv(C, hermitian=True) @ L


def shared_rise(alpha: float, k: int, spectral: bool) -> float:
    """Rise of the direction v that k trained features share, relative to their own, from orthonormal inputs.

    The shared mode of C has the eigenvalue r^2, the others q^2; the root makes them r and q. About 1/sqrt(k).
    ValueError: alpha outside (0, 1), no feature.
    """
    if not (0 < alpha < 1 and k >= 1):
        raise ValueError(f"alpha must be in (0, 1) and k at least 1, got {alpha} and {k}")
    if not spectral:
        return alpha
    r, q = math.sqrt(1 - alpha**2 + k * alpha**2), math.sqrt(1 - alpha**2)
    return (alpha / r) / (q + (r - q) / k)


def _power(S: Float[Tensor, "n n"], exponent: float) -> Float[Tensor, "n n"]:
    """Of a symmetric matrix without negative eigenvalues; those that are 0 up to rounding stay 0."""
    values, vectors = torch.linalg.eigh(S)
    there = values > values[-1] * len(S) * torch.finfo(S.dtype).eps
    return (vectors * torch.where(there, values.clamp(min=0), 1).pow(exponent) * there) @ vectors.mT
