"""What follows from E4 and E8: the constants of sign steps, the root of spectral steps, the shared direction."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.linalg import polar as scipy_polar
from scipy.linalg import sqrtm
from strategies import KINDS, SEEDS, directions, orthogonal

from shared.cores import one_thread
from toy import consequences, law
from toy.measure import step_change

ALPHAS, COUNTS = st.floats(0.05, 0.95), st.integers(1, 12)
ANY = directions(kinds=tuple(kind for kind in KINDS if kind != "tiny"))  # a tiny row is below the rounding of others
DIRECTIONS = st.integers(2, 40)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with one_thread():
        yield


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def near(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-10) -> bool:
    """Relative to the largest entry."""
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


def raised(D: torch.Tensor, x: torch.Tensor, readouts: torch.Tensor, optimiser: str) -> torch.Tensor:
    """L [readout input] of one real step of size 1 that raises <d_t, A x_t> for every t."""
    A = torch.zeros(D.shape[1], x.shape[1], dtype=D.dtype)
    return step_change(lambda A: x @ A.mT @ readouts.mT, lambda A: -(x @ A.mT * D).sum(), A, optimiser, 1.0).mT


# E4: what a sign step costs


@given(DIRECTIONS, SEEDS)
def test_over_any_orthonormal_basis_a_sign_step_has_slope_1_and_its_R2_and_energy_are_the_alignment(d, seed):
    """Neighbours +-q, all of them: R^2 against the cosine is cos^2(d_t, sign d_t), the energy 1 over it; both exact."""
    t, Q = normal(seed, d), torch.from_numpy(orthogonal(np.random.default_rng(seed + 1), d))
    W = torch.cat([t[None] / t.norm(), Q, -Q])
    change = step_change(lambda h: h @ W.mT, lambda h: -(h @ t), torch.zeros(d, dtype=t.dtype), "sign", 1.0)
    cosine, leaked = (W @ W[0])[1:], (change / change[0])[1:]
    alignment = consequences.sign_alignment(t[None]).item()
    assert (cosine @ leaked / (cosine @ cosine)).item() == pytest.approx(1, rel=1e-10)
    assert 1 - ((leaked - cosine) @ (leaked - cosine) / (leaked @ leaked)).item() == pytest.approx(alignment, abs=1e-10)
    assert (leaked @ leaked / (cosine @ cosine)).item() == pytest.approx(1 / alignment, rel=1e-10)


@given(DIRECTIONS, SEEDS)
def test_over_any_basis_at_right_angles_a_sign_step_scatters_by_its_alignment(d, seed):
    t = normal(seed, d)
    basis = torch.linalg.qr(torch.cat([t[:, None], normal(seed + 1, d, d - 1)], 1))[0][:, 1:]
    leaked = law.sign_step(basis.mT, -t, 1.0) / law.sign_step(t[None] / t.norm(), -t, 1.0)
    expected = consequences.sign_scatter(d, consequences.sign_alignment(t[None]).item())
    assert leaked.square().mean().sqrt().item() == pytest.approx(expected, rel=1e-8, abs=1e-8)


@given(st.integers(2, 12), st.integers(2, 5), SEEDS)
def test_features_that_spread_evenly_leak_what_sign_energy_says(d, bases, seed):
    """A tight frame of several orthonormal bases: energy exact for every target, slope 1, R^2 1 over the energy."""
    rng = np.random.default_rng(seed)
    W = torch.from_numpy(np.concatenate([orthogonal(rng, d) for _ in range(bases)]))
    for t, energy in enumerate(consequences.sign_energy(len(W), d, consequences.sign_alignment(W)).tolist()):
        leaked, others = law.sign_step(W, -W[t], 1.0), torch.arange(len(W)) != t
        leaked, cosine = (leaked / leaked[t])[others], (W @ W[t])[others]
        assert (leaked @ leaked / (cosine @ cosine)).item() == pytest.approx(energy, rel=1e-8)
        assert (cosine @ leaked / (cosine @ cosine)).item() == pytest.approx(1, rel=1e-8)


@pytest.mark.parametrize("d", [64, 256])
def test_without_a_preferred_axis_the_alignment_is_two_over_pi_and_the_energy_pi_over_two(d):
    """Exact mean 2/pi + (1 - 2/pi)/d, a standard error of 4000 directions around it, five allowed (p 6e-7)."""
    a = consequences.sign_alignment(normal(d, 4000, d))
    se = (a.std() / len(a) ** 0.5).item()
    assert a.mean().item() == pytest.approx(consequences.SIGN_R2 + (1 - consequences.SIGN_R2) / d, abs=5 * se)
    assert se < 0.001
    assert consequences.sign_scatter(d) == pytest.approx(((math.pi / 2 - 1) / d) ** 0.5, rel=1 / d)


@pytest.mark.parametrize("d", [2, 3, 10, 64])
def test_the_usual_alignment_is_the_harmonic_mean_over_drawn_directions(d):
    """20 000 of them, five standard errors; in many dimensions 2/pi."""
    a = consequences.sign_alignment(normal(d, 20_000, d))
    se = ((1 / a).std() / len(a) ** 0.5).item()
    assert (1 / a).mean().item() == pytest.approx(1 / consequences.usual_alignment(d), abs=5 * se)
    assert consequences.usual_alignment(10**4) == pytest.approx(consequences.SIGN_R2, rel=1e-4)


@pytest.mark.parametrize("d", [64, 256])
def test_random_features_leak_under_a_real_sign_step_as_the_constants_say(d):
    """400 x 400 pairs by a real step of torch's; 2 % allowed: 1/d of finite size, .2 % of sampling."""
    W = normal(d + 1, 400, d)
    W /= W.norm(dim=1, keepdim=True)
    h = torch.zeros(400, d, dtype=W.dtype)
    leaked = step_change(lambda h: h @ W.mT, lambda h: -(h * W).sum(), h, "sign", 1.0)
    leaked, cosine = leaked / leaked.diagonal()[:, None], W @ W.mT
    off = ~torch.eye(400, dtype=torch.bool)
    leaked, cosine = leaked[off], cosine[off]
    residual = leaked - cosine
    assert (cosine @ leaked / (cosine @ cosine)).item() == pytest.approx(1, rel=0.02)
    assert 1 - (residual @ residual / (leaked @ leaked)).item() == pytest.approx(consequences.SIGN_R2, rel=0.02)
    assert (leaked @ leaked / (cosine @ cosine)).item() == pytest.approx(math.pi / 2, rel=0.02)
    scatter = (residual / (1 - cosine.square()).sqrt()).square().mean().sqrt().item()
    assert scatter == pytest.approx(consequences.sign_scatter(d), rel=0.02)


# E8: the spectral step


@given(ANY, SEEDS, st.floats(1e-3, 10), st.integers(1, 6), st.integers(1, 4), st.integers(1, 5))
def test_E8_for_any_gradients_samples_and_probes(W, seed, eta, samples, probes, d_in):
    """Against scipy's eigenvalues, no SVD: U V^T = G (G^T G)^(-1/2), the inverse over what is not 0."""
    g, x, probe = (normal(seed, samples, W.shape[1]), normal(seed + 1, samples, d_in), normal(seed + 2, probes, d_in))
    G = (g.mT @ x).numpy()
    values, vectors = np.linalg.eigh(G.T @ G)
    rank = min(samples, W.shape[1], d_in)
    root = (vectors[:, -rank:] / np.sqrt(values[-rank:])) @ vectors[:, -rank:].T
    expected = -eta * probe.numpy() @ (G @ root).T @ W.numpy().T
    condition = np.sqrt(values[-1] / values[-rank])  # squaring G loses as many digits as it has orders of magnitude
    found = law.spectral_step(W, g, x, probe, eta)
    assert near(found, torch.from_numpy(expected), 1e-13 * condition**2 + 1e-12)


@given(st.integers(1, 6), st.integers(1, 6), SEEDS)
def test_polar_is_scipys_where_that_is_unique(d, d_in, seed):
    G = normal(seed, d, d_in)
    if d >= d_in:
        assert near(law.polar(G), torch.from_numpy(scipy_polar(G.numpy())[0]), 1e-9)
    else:
        assert near(law.polar(G), torch.from_numpy(scipy_polar(G.numpy(), side="left")[0]), 1e-9)


@given(ANY, SEEDS)
def test_E8_of_one_sample_is_the_gradients_direction(W, seed):
    g, x, probe = normal(seed, 1, W.shape[1]), normal(seed + 1, 1, 4), normal(seed + 2, 3, 4)
    plain = law.weight_step(W, g, x, probe, 1.0) / (g.norm() * x.norm())
    torch.testing.assert_close(law.spectral_step(W, g, x, probe, 1.0), plain)


@given(ANY, SEEDS, st.floats(1e-3, 1e3))
def test_E8_does_not_count_the_gradients_size(W, seed, scale):
    g, x = normal(seed, 5, W.shape[1]), normal(seed + 1, 5, 3)
    assert near(law.spectral_step(W, scale * g, x, x, 0.1), law.spectral_step(W, g, x, x, 0.1), 1e-8)


def test_E8_by_hand():
    """G = diag(3, 4): U V^T = 1, whatever the strengths. x' = (1, 2) moves h by -0.1 (1, 2)."""
    W, g = torch.tensor([[1.0, 0], [1, 1]]), torch.tensor([[3.0, 0], [0, 4]])
    found = law.spectral_step(W, g, torch.eye(2), torch.tensor([[1.0, 2]]), 0.1)
    torch.testing.assert_close(found, torch.tensor([[-0.1, -0.3]]))


@given(ANY, SEEDS, st.integers(1, 10), st.integers(1, 8))
def test_the_square_of_spectral_leakage_is_the_gradients(D, seed, d_in, rank):
    """L^2 = C K, for any directions, strengths, inputs and ranks; L measured by a real step, C K by SGD's."""
    x = normal(seed, len(D), rank) @ normal(seed + 1, rank, d_in)
    L = raised(D, x, D, "spectral")
    CK = raised(D, x, D, "sgd")
    assert near(CK, D @ D.mT @ (x @ x.mT))
    assert near(L @ L, CK)
    assert near(law.spectral_step(D, -D, x, x, 1.0).mT, L)
    values = torch.linalg.eigvals(L)
    assert values.real.min() >= -1e-6 * values.abs().max()  # the principal root, and no other


@given(st.integers(2, 8), st.integers(0, 4), st.integers(0, 4), SEEDS)
def test_spectral_leakage_is_scipys_square_root(k, more, more_in, seed):
    """Where C K can be inverted scipy's principal root is the only one."""
    D, x = normal(seed, k, k + more), normal(seed + 1, k, k + more_in)
    C, K = D @ D.mT, x @ x.mT
    expected = torch.from_numpy(np.real(sqrtm((C @ K).numpy())))
    condition = torch.linalg.cond(C).item() * torch.linalg.cond(K).item()
    assert near(consequences.spectral_leakage(C, K), expected, 1e-13 * condition)
    assert near(raised(D, x, D, "spectral"), expected, 1e-13 * condition)


@given(st.integers(2, 9), st.integers(1, 9), st.integers(1, 9), SEEDS)
def test_the_root_needs_only_cosines_and_overlaps_more_features_than_dimensions_included(k, d, d_in, seed):
    """Shapes in general position; the inverse root squares C, so that 1e-6."""
    D, x = normal(seed, k, d), normal(seed + 1, k, d_in)
    found = consequences.spectral_leakage(D @ D.mT, x @ x.mT)
    S = torch.linalg.svdvals(D.mT @ x)
    assume(S[min(k, d, d_in) - 1] > 1e-3 * S[0])
    assert near(found, raised(D, x, D, "spectral"), 1e-6)


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8), st.integers(1, 6), SEEDS)
def test_readouts_that_are_not_trained_move_as_mixtures_of_those_that_are(k, d, d_in, others, seed):
    """C' C^+ L under both rules, features outnumbering dimensions or not."""
    D, x, free = normal(seed, k, d), normal(seed + 1, k, d_in), normal(seed + 2, others, d)
    assume(torch.linalg.svdvals(D)[-1] > 1e-3)
    for rule in ("sgd", "spectral"):
        L = raised(D, x, D, rule)
        assert near(consequences.untrained(free @ D.mT, D @ D.mT, L), raised(D, x, free, rule), 1e-8)


@given(ALPHAS, COUNTS, st.integers(0, 5), st.integers(0, 5), SEEDS)
def test_a_shared_direction_rises_as_the_formula_says(alpha, k, more, more_in, seed):
    """d_t = alpha v + sqrt(1 - alpha^2) u_t in a random basis, orthonormal inputs in another; real steps."""
    rng = np.random.default_rng(seed)
    d, d_in = k + 1 + more, k + more_in
    v, *u = torch.from_numpy(orthogonal(rng, d))[: k + 1]
    D, x = alpha * v + (1 - alpha**2) ** 0.5 * torch.stack(u), torch.from_numpy(orthogonal(rng, d_in))[:k]
    for rule in ("sgd", "spectral"):
        L = raised(D, x, torch.cat([D, v[None]]), rule)
        relative = L[-1] / L[:-1].diagonal()
        expected = consequences.shared_rise(alpha, k, rule == "spectral")
        torch.testing.assert_close(relative, torch.full_like(relative, expected), rtol=1e-9, atol=0)


def test_a_shared_direction_by_hand():
    """alpha .6, k 4: r = sqrt(.64 + 1.44) = 1.4422, q = .8: .41603 / (.8 + .64222/4) = .43311; alone .6."""
    assert consequences.shared_rise(0.6, 4, True) == pytest.approx(0.43311, abs=1e-5)
    assert consequences.shared_rise(0.6, 1, True) == pytest.approx(0.6)
    assert consequences.shared_rise(0.6, 4, False) == 0.6
    many = consequences.shared_rise(0.6, 10**8, True)
    assert many == pytest.approx(1 / (0.8 * 10**4), rel=1e-3)  # 1/(q sqrt k): what many share hardly rises


@given(ANY, SEEDS)
def test_the_first_step_of_shampoo_is_the_spectral_step(D, seed):
    """L^(-1/4) G R^(-1/4) with L = G G^T, R = G^T G (Gupta et al. 2018) is U V^T: E8 without an SVD of G."""
    G = (D.mT @ normal(seed, len(D), 5)).numpy()
    quarter = lambda S, rank: _inverse_power(S, 0.25, rank)  # noqa: E731
    rank = np.linalg.matrix_rank(G, tol=1e-3 * np.linalg.norm(G, 2))
    # not too near a lower rank for the fourth root of a square
    assume(np.linalg.matrix_rank(G, tol=1e-9 * np.linalg.norm(G, 2)) == rank)
    shampoo = quarter(G @ G.T, rank) @ G @ quarter(G.T @ G, rank)
    assert near(law.polar(torch.from_numpy(G)), torch.from_numpy(shampoo), 1e-7)


@given(SEEDS, st.integers(2, 6), st.integers(2, 6))
def test_the_first_step_of_adam_in_shampoos_eigenbasis_is_the_spectral_step(seed, d, d_in):
    """SOAP (Vyas et al. 2024): G G^T and G^T G turn G into a diagonal matrix, the sign of which Adam takes (E4)."""
    G = normal(seed, d, d_in)
    assume(torch.linalg.svdvals(G)[-1] > 0.1)
    left, right = torch.linalg.eigh(G @ G.mT).eigenvectors, torch.linalg.eigh(G.mT @ G).eigenvectors
    turned = left.mT @ G @ right
    step = -law.sign_step(torch.eye(d_in, dtype=G.dtype), turned, 1.0, eps=1e-7)  # well above what rounding leaves
    assert near(left @ step @ right.mT, law.polar(G), 1e-5)


def _inverse_power(S: np.ndarray, exponent: float, rank: int) -> np.ndarray:
    values, vectors = np.linalg.eigh(S)
    return (vectors[:, -rank:] * values[-rank:] ** -exponent) @ vectors[:, -rank:].T


@pytest.mark.parametrize(("alpha", "k"), [(0.0, 3), (1.0, 3), (float("nan"), 3), (0.5, 0)])
def test_a_share_out_of_range_is_refused(alpha, k):
    with pytest.raises(ValueError, match=rf"alpha must be in \(0, 1\) and k at least 1, got {alpha} and {k}"):
        consequences.shared_rise(alpha, k, True)
