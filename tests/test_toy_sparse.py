"""Sparse training: the draws are the model's own distribution, and the gradient is autograd's on the same batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from strategies import SEEDS

from toy import model, sparse
from toy.model import Toy, ToySettings

PROBABILITIES = st.floats(0.01, 1)


@given(
    SEEDS,
    st.lists(PROBABILITIES, min_size=1, max_size=3),
    st.integers(1, 7),
    st.integers(1, 4),
    st.integers(1, 30),
)
@settings(deadline=None)
def test_the_gradient_is_autograds_on_the_same_batch(seed, p, n, d, batch_size):
    """float64, relative error 1e-10: every probability, empty samples and empty batches included."""
    generator = torch.Generator().manual_seed(seed)
    active = sparse.draw(torch.tensor(p), n, batch_size, generator)
    active = active._replace(value=active.value.double())
    W, b = (torch.randn(len(p), n, k, generator=generator, dtype=torch.float64) for k in (d, 1))
    toy = Toy(W.requires_grad_(), b[..., 0].requires_grad_())
    importance = torch.rand(len(p), n, generator=generator, dtype=torch.float64) + 0.1
    x = sparse.dense(active, len(p), n)
    expected = torch.autograd.grad(model.loss(toy, x, importance).sum(), toy)
    with torch.no_grad():
        found = sparse.gradient(*toy, importance, active)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() <= 1e-10 * theirs.abs().max() + 1e-15


def test_draws_are_the_models_own():
    """Each feature on with its probability, independently, and then U(0, 1]: rates within 5 standard errors."""
    p, n, batch = torch.tensor([0.01, 0.3, 1.0]), 4, 20_000
    x = sparse.dense(sparse.draw(p, n, batch, torch.Generator().manual_seed(0)), 3, n)
    assert x.shape == (3, batch, n) and x.min() >= 0 and x.max() <= 1
    for rate, one in zip(p.tolist(), x, strict=True):
        counts = (one > 0).sum(0).double()
        assert ((counts - batch * rate).abs() <= 5 * (batch * rate * (1 - rate)) ** 0.5 + 1e-9).all()
        assert kstest(one[one > 0].double().numpy(), "uniform").pvalue > 1e-4
        both = ((one[:, 0] > 0) & (one[:, 1] > 0)).double().mean().item()
        assert both == pytest.approx(rate**2, abs=5 * (rate**2 * (1 - rate**2) / batch) ** 0.5 + 1e-12)


@given(SEEDS, PROBABILITIES, st.integers(1, 5), st.integers(1, 40))
@settings(deadline=None)
def test_only_samples_with_something_on_have_a_row(seed, p, n, batch_size):
    active = sparse.draw(torch.tensor([p, p]), n, batch_size, torch.Generator().manual_seed(seed))
    x = sparse.dense(active, 2, n)
    busy = (x > 0).any(-1).sum(-1)
    assert active.rows == busy.max() <= batch_size
    assert (
        (x > 0).sum()
        == len(active.value)
        == len(set(zip(active.row.tolist(), active.feature.tolist(), strict=True)))
    )


def test_training_reaches_the_loss_that_dense_autograd_reaches():
    """Same settings, fresh data, median over 32 instances: within 5 % of each other."""
    given_settings = ToySettings(n_instances=32, steps=600, batch_size=256)
    sparse_toy = model.train(given_settings)
    generator = torch.Generator().manual_seed(5)
    toy = model.init(given_settings, generator)
    optimiser = torch.optim.AdamW([p.requires_grad_() for p in toy], lr=given_settings.learning_rate)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0, given_settings.steps)
    for _ in range(given_settings.steps):
        optimiser.zero_grad()
        model.loss(
            toy, model.sample_batch(given_settings, generator), given_settings.importances
        ).sum().backward()
        optimiser.step()
        decay.step()
    fresh = torch.cat([model.sample_batch(given_settings, generator) for _ in range(40)], 1)
    with torch.no_grad():
        ours, theirs = (
            model.loss(t, fresh, given_settings.importances).median().item() for t in (sparse_toy, toy)
        )
    assert ours == pytest.approx(theirs, rel=0.05)
