"""Which rules keep the cosine law: what is known in closed form, on drawn directions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS

from shared import geometry
from shared.leakage import law
from toy import optimisers
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
    ("name", "lora"), [("sgd", 0), ("momentum", 0), ("weight decay", 0), ("sgd", 1), ("momentum", 1)]
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
        rule: law(cosine, leakage_ratios(W, b, 0.05, optimisers.RULES[rule], "together")[off], draws=1).r2
        for rule in ("sgd", "lora", "adam")
    }
    assert 1 > r2["sgd"] > 0.95 and 1 > r2["lora"] > 0.9
    assert r2["adam"] < 0.8


def test_the_target_is_on_in_every_sample_and_the_others_as_often_as_asked():
    x = optimisers._samples(20, 0.3, torch.Generator().manual_seed(0)) > 0
    own = torch.eye(20, dtype=torch.bool)[:, None].expand_as(x)
    assert x[own].double().mean() > 0.999
    assert x[~own].double().mean().item() == pytest.approx(0.3, abs=5 * (0.21 / x[~own].numel()) ** 0.5)
