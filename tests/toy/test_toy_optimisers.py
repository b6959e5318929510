"""Which rules keep the cosine law: what is known in closed form, on drawn directions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS

from shared import geometry
from shared.leakage import law
from toy import optimisers
from toy.law import polar
from toy.measure import OPTIMISERS, step_change
from toy.model import ToySettings, train
from toy.optimisers import Rule, leakage_ratios


@st.composite
def directions(draw) -> torch.Tensor:
    """Three to seven directions in two to five dimensions, no entry near 0, where Adam's eps would show."""
    generator = torch.Generator().manual_seed(draw(SEEDS))
    shape = draw(st.integers(3, 7)), draw(st.integers(2, 5))
    W = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.2
    return W * torch.randn(shape, generator=generator).sign()


@pytest.mark.parametrize(
    ("name", "lora"),
    [("sgd", 0), ("momentum", 0), ("weight decay", 0), ("spectral", 0)]
    + [("sgd", 1), ("momentum", 1), ("spectral", 1)],
)
@given(W=directions(), p=st.floats(0.01, 1), steps=st.integers(1, 12), seed=SEEDS)
@settings(deadline=None, max_examples=15)
def test_alone_rules_that_follow_the_gradient_keep_the_cosine_for_ever(name, lora, W, p, steps, seed):
    """A rank-one gradient: every step, of the matrix or of both factors of a LoRA, stays along d_t."""
    ratios = leakage_ratios(W, torch.zeros(len(W)).double(), p, Rule(name, steps, bool(lora)), "alone", seed)
    torch.testing.assert_close(ratios, geometry.cosine(W, W), rtol=1e-6, atol=1e-6)


@given(W=directions(), p=st.floats(0.01, 1), steps=st.integers(1, 12), seed=SEEDS)
@settings(deadline=None, max_examples=15)
def test_alone_adam_follows_the_sign_at_every_step_and_not_at_the_first_only(W, p, steps, seed):
    """Adam divides every row by the size of its own history: |d_t| cancels, sign(d_t) is left."""
    ratios = leakage_ratios(W, torch.zeros(len(W)).double(), p, Rule("adam", steps), "alone", seed)
    leaked = W.sign() @ geometry.unit(W).mT  # [target feature]
    torch.testing.assert_close(ratios, leaked / leaked.diagonal()[:, None], rtol=1e-3, atol=1e-3)


def test_together_the_rest_is_kept_right_and_the_law_is_only_near():
    """Through a frozen decoder the others' errors are in the gradient too: neither rule is exact, SGD is nearer."""
    toy = train(ToySettings(n_instances=1, n_features=12, d_hidden=4))
    W, b = toy.W[0].double(), toy.b_final[0].double()
    off = ~torch.eye(12, dtype=torch.bool)
    cosine = geometry.cosine(W, W)[off]
    r2 = {
        rule: law(cosine, leakage_ratios(W, b, 0.05, optimisers.RULES[rule], "together")[off]).r2
        for rule in ("sgd", "lora", "adam")
    }
    assert 1 > r2["sgd"] > 0.95 and 1 > r2["lora"] > 0.9
    assert r2["adam"] < 0.8


def test_the_target_is_on_in_every_sample_and_the_others_as_often_as_asked():
    x = optimisers.samples(20, 0.3, torch.Generator().manual_seed(0)) > 0
    own = torch.eye(20, dtype=torch.bool)[:, None].expand_as(x)
    assert x[own].double().mean() > 0.999
    assert x[~own].double().mean().item() == pytest.approx(0.3, abs=5 * (0.21 / x[~own].numel()) ** 0.5)


@given(SEEDS, st.floats(0, 0.5), st.integers(1, 8))
def test_lion_is_its_papers_update(seed, decay, steps):
    """theta - lr (sign(.9 m + .1 g) + decay theta), then m = .99 m + .01 g, written out in numpy."""
    start = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, 4)))
    theta, m = start.numpy().copy(), np.zeros((3, 4))
    for _ in range(steps):
        g = 4 * theta**3
        theta, m = theta - 0.01 * (np.sign(0.9 * m + 0.1 * g) + decay * theta), 0.99 * m + 0.01 * g
    p = start.clone().requires_grad_()
    lion = OPTIMISERS["lion"]([p], lr=0.01, weight_decay=decay)
    for _ in range(steps):
        p.grad = 4 * p.detach() ** 3
        lion.step()
    torch.testing.assert_close(p.detach().numpy(), theta)


@given(SEEDS, st.integers(1, 4))
@settings(deadline=None, max_examples=10)
def test_muon_on_a_batch_is_torchs_muon_on_each_matrix(seed, steps):
    rng = np.random.default_rng(seed)
    batch, aim = (torch.from_numpy(rng.normal(size=(3, 4, 6))) for _ in range(2))
    change = step_change(lambda p: p, lambda p: (p - aim).pow(4).sum(), batch, "muon", 0.1, steps)
    for one, target, moved in zip(batch, aim, batch + change, strict=True):
        p = one.clone().requires_grad_()
        muon = torch.optim.Muon([p], lr=0.1, weight_decay=0.0)
        for _ in range(steps):
            p.grad = 4 * (p.detach() - target) ** 3
            muon.step()
        torch.testing.assert_close(moved, p.detach())


@given(SEEDS)
@settings(deadline=None, max_examples=20)
def test_torchs_muon_approximates_the_spectral_step(seed):
    """Five Newton-Schulz steps in bfloat16 leave its singular values between 0.5 and 1.3, where ours are 1."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, 5)))[0] for n in (8, 12))
    G = torch.from_numpy(left @ np.diag(rng.uniform(0.3, 1, size=5)) @ right.T)
    moved = [
        -step_change(lambda p: p, lambda p: (p * G).sum(), torch.zeros_like(G), name, 1.0)
        for name in ("muon", "spectral")
    ]
    along = torch.from_numpy(left.T) @ moved[0] @ torch.from_numpy(right)
    assert along.diagonal().min() > 0.5 and along.diagonal().max() < 1.3
    assert moved[1].norm().item() == pytest.approx(5**0.5)
    torch.testing.assert_close(moved[1], polar(G))
    assert (moved[0] - moved[1]).norm() < 0.5 * moved[1].norm()


@given(SEEDS)
@settings(deadline=None, max_examples=20)
def test_every_factor_of_a_lora_gets_its_own_step(seed):
    """From B = 0 one spectral step moves B by U V^T of G C^T and C not at all: the root, inputs seen through C."""
    rng = np.random.default_rng(seed)
    D, x, C = (torch.from_numpy(rng.normal(size=s)) for s in ((5, 6), (5, 9), (3, 9)))
    B = torch.zeros(6, 3, dtype=D.dtype)
    L = step_change(
        lambda B, C: x @ (B @ C).mT @ D.mT, lambda B, C: -(x @ (B @ C).mT * D).sum(), (B, C), "spectral", 1.0
    ).mT
    torch.testing.assert_close(L @ L, D @ D.mT @ (x @ C.mT @ C @ x.mT))
