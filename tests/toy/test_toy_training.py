"""Training: the draws are as described, the gradient is autograd's, and the result is what dense autograd reaches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, kstest
from strategies import SEEDS

from toy import model
from toy.model import Toy, ToySettings


@given(SEEDS, st.integers(1, 3), st.integers(1, 7), st.integers(1, 4), st.integers(1, 30), st.floats(0.02, 1))
@settings(deadline=None)
def test_the_gradient_is_autograds(seed, inst, n, d, batch_size, p):
    """float64, relative error 1e-10, at any importance; empty samples included."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(inst, batch_size, n, generator=generator, dtype=torch.float64)
    x *= torch.rand(x.shape, generator=generator) < p
    W, b = (torch.randn(inst, n, k, generator=generator, dtype=torch.float64) for k in (d, 1))
    toy = Toy(W.requires_grad_(), b[..., 0].requires_grad_())
    importance = torch.rand(inst, n, generator=generator, dtype=torch.float64) + 0.1
    dW, db = torch.autograd.grad(model.loss(toy, x, importance).sum(), toy)
    with torch.no_grad():
        found = model.gradient(torch.cat((W, b), -1), x.mT, importance)
    for ours, theirs in ((found[..., :-1], dW), (found[..., -1], db)):
        assert (ours - theirs).abs().max() <= 1e-10 * theirs.abs().max() + 1e-15


def test_adamw_is_torchs():
    """Float64, 1e-12, over steps of falling size and gradients of unlike scale."""
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    theirs, moments = theta.clone().requires_grad_(), torch.zeros(2, *theta.shape, dtype=torch.float64)
    optimiser = torch.optim.AdamW([theirs])
    for step in range(50):
        gradient = torch.randn(theta.shape, generator=generator, dtype=torch.float64) * 10 ** (step % 5 - 2)
        optimiser.param_groups[0]["lr"] = rate = 0.1 / (step + 1)
        theirs.grad = gradient
        optimiser.step()
        model.adamw(theta, gradient, moments, step, rate)
        torch.testing.assert_close(theta, theirs.detach(), rtol=1e-12, atol=1e-12)


def test_the_rate_falls_as_a_parabola_from_its_start_to_0(monkeypatch):
    rates = []
    monkeypatch.setattr(model, "adamw", lambda *given: rates.append(given[-1]))
    model.train(ToySettings(n_instances=1, steps=4, learning_rate=0.16))
    assert rates == pytest.approx([0.16, 0.15, 0.12, 0.07])


@pytest.mark.parametrize("p", [(0.001, 0.01, 0.1), (0.01, 0.3, 1.0)], ids=["sparse", "crowded"])
def test_samples_are_as_described(p):
    """Each feature on with its probability, independently, and then U(0, 1]: rates within 5 standard errors."""
    n, batch = 4, 20_000
    given_settings = ToySettings(3, n, 2, feature_probability=p, batch_size=batch)
    x = model.sample_batch(given_settings, torch.Generator().manual_seed(0))
    assert x.shape == (3, batch, n) and x.min() >= 0 and x.max() <= 1
    for rate, one in zip(p, x, strict=True):
        counts = (one > 0).sum(0).double()
        assert ((counts - batch * rate).abs() <= 5 * (batch * rate * (1 - rate)) ** 0.5 + 1e-9).all()
        assert kstest(one[one > 0].double().numpy(), "uniform").pvalue > 1e-4
        both = ((one[:, 0] > 0) & (one[:, 1] > 0)).sum().item()
        assert binomtest(both, batch, rate**2).pvalue > 5e-7  # exact: 0.02 are expected of the rarest


@given(SEEDS, st.floats(1e-9, 0.1), st.integers(1, 5), st.integers(1, 40))
@settings(deadline=None)
def test_rare_features_and_small_batches_can_be_drawn(seed, p, n, batch_size):
    """The rarest features and the smallest batches work."""
    given_settings = ToySettings(2, n, 1, feature_probability=p, batch_size=batch_size)
    x = model.sample_batch(given_settings, torch.Generator().manual_seed(seed))
    assert x.shape == (2, batch_size, n) and x.isfinite().all()


def test_the_last_cell_is_as_likely_as_the_first():
    """Twenty thousand instances of a four-sample batch: rates within 5 standard errors of 0.1, cell by cell."""
    many = ToySettings(20_000, 2, 1, feature_probability=0.1, batch_size=4)
    rates = (model.sample_batch(many, torch.Generator().manual_seed(3)) > 0).double().mean(0)
    assert (rates - 0.1).abs().max() <= 5 * (0.1 * 0.9 / 20_000) ** 0.5


def test_the_number_of_cores_changes_nothing(monkeypatch):
    monkeypatch.setattr(model, "CACHE", 500)  # four parts
    one = ToySettings(n_instances=4, batch_size=100, steps=20)
    monkeypatch.setattr("shared.cores.cores", lambda: 1)
    alone = model.train(one)
    monkeypatch.setattr("shared.cores.cores", lambda: 4)
    together = model.train(one)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_training_reaches_the_loss_that_dense_autograd_reaches():
    """Same settings, fresh data, median over 32 instances: within 5 % of each other."""
    given_settings = ToySettings(n_instances=32, steps=600, batch_size=256)
    generator = torch.Generator().manual_seed(5)
    toy = model.init(given_settings, generator)
    optimiser = torch.optim.AdamW([p.requires_grad_() for p in toy], lr=given_settings.learning_rate)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0, given_settings.steps)
    for _ in range(given_settings.steps):
        optimiser.zero_grad()
        x = model.sample_batch(given_settings, generator)
        model.loss(toy, x, given_settings.importances).sum().backward()
        optimiser.step()
        decay.step()
    fresh = torch.cat([model.sample_batch(given_settings, generator) for _ in range(40)], 1)
    with torch.no_grad():
        ours, theirs = (
            model.loss(t, fresh, given_settings.importances).median().item() for t in (model.train(given_settings), toy)
        )
    assert ours == pytest.approx(theirs, rel=0.05)
