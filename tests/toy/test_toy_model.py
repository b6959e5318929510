"""The toy against loops, against its gradient by hand, and against what Elhage et al. 2022 found."""

from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared import geometry
from shared.errors import InputError
from toy.model import Toy, ToySettings, best, forward, init, loss, train

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 4), st.integers(1, 5))


def drawn(sizes, seed) -> tuple[Toy, torch.Tensor, torch.Tensor]:
    """A float64 toy, a batch and importances; the bias is drawn too, for a zero bias hides mistakes."""
    inst, feature, d_hidden, sample = sizes
    rng = np.random.default_rng(seed)
    W, b = rng.normal(size=(inst, feature, d_hidden)), rng.normal(size=(inst, feature))
    x, importance = rng.random((inst, sample, feature)), rng.uniform(0.1, 2, size=(inst, feature))
    return Toy(torch.tensor(W), torch.tensor(b)), torch.tensor(x), torch.tensor(importance)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(SIZES, SEEDS)
def test_forward_and_loss_equal_the_definition_written_as_loops(sizes, seed):
    toy, x, importance = drawn(sizes, seed)
    y, losses = forward(toy, x), loss(toy, x, importance)
    for i in range(sizes[0]):
        error = []
        for s in range(sizes[3]):
            h = sum(x[i, s, f] * toy.W[i, f] for f in range(sizes[1]))
            for f in range(sizes[1]):
                expected = max(0.0, float(toy.W[i, f] @ h + toy.b_final[i, f]))
                assert y[i, s, f].item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
                error.append(float(importance[i, f]) * (expected - float(x[i, s, f])) ** 2)
        assert losses[i].item() == pytest.approx(np.mean(error), rel=1e-12)


@given(SIZES, SEEDS)
def test_the_gradient_of_the_tied_W_is_the_sum_of_both_its_uses(sizes, seed):
    """(E6): dL/dW = delta^T H + x^T (delta W), delta = dL/dpre, by hand."""
    toy, x, importance = drawn(sizes, seed)
    W = toy.W.requires_grad_()
    loss(toy, x, importance).sum().backward()
    with torch.no_grad():
        pre = x @ W @ W.mT + toy.b_final[:, None]
        delta = 2 * importance[:, None] * (pre.relu() - x) * (pre > 0) / (sizes[1] * sizes[3])
        expected = delta.mT @ (x @ W) + x.mT @ (delta @ W)
    torch.testing.assert_close(W.grad, expected, rtol=1e-10, atol=1e-12)


@given(SIZES, SEEDS)
def test_no_gradient_crosses_instances(sizes, seed):
    toy, x, importance = drawn(sizes, seed)
    for p in toy:
        p.requires_grad_()
    for i in range(sizes[0]):
        for gradient in torch.autograd.grad(loss(toy, x, importance)[i], toy):
            others = torch.arange(sizes[0]) != i
            assert (gradient[others] == 0).all()


def test_training_one_instance_otherwise_leaves_the_others_as_they_were():
    settings = ToySettings(n_instances=3, importance=(0.9, 0.9, 0.9), steps=30, batch_size=64)
    plain, changed = train(settings), train(replace(settings, importance=(0.9, 0.3, 0.9)))
    for one, other in zip(plain, changed, strict=True):
        assert torch.equal(one[[0, 2]], other[[0, 2]])
        assert not torch.equal(one[1], other[1])
    assert not torch.equal(plain.W[0], plain.W[2])  # each instance sees its own samples from its own start


def test_a_seed_decides_everything():
    settings = ToySettings(steps=5)
    first, again, other = train(settings), train(settings), train(replace(settings, seed=1))
    assert torch.equal(first.W, again.W) and torch.equal(first.b_final, again.b_final)
    assert not torch.equal(first.W, other.W)


def test_init_is_xavier():
    toy = init(ToySettings(n_instances=50, n_features=40, d_hidden=10), generator())
    assert toy.W.std().item() == pytest.approx((2 / 50) ** 0.5, rel=0.03)  # 20 000 draws: 6 standard errors
    assert (toy.b_final == 0).all()


def test_importance_is_a_power_of_the_features_place():
    importances = ToySettings(n_instances=2, n_features=3, importance=(1.0, 0.5)).importances
    assert importances.tolist() == [[1, 1, 1], [1, 0.5, 0.25]]


def test_sparse_features_form_pentagons_and_dense_ones_do_not():
    """Five in two dimensions. Sparse: a regular pentagon, D = 2/5, cosines cos 72 and cos 144 degrees.

    Dense (always on): in every instance some feature is far from an even share.
    """
    settings = ToySettings(n_instances=16)
    toy = train(settings)
    even = ((geometry.dimensionality(toy.W.double()) - 0.4).abs() < 0.02).all(-1)
    assert even.sum() >= 12  # now and then an instance rests in a poorer arrangement,
    sparse = best(toy, settings).double()  # but never the best one
    assert ((geometry.dimensionality(sparse) - 0.4).abs() < 0.02).all()
    assert (sparse.norm(dim=-1) > 0.9).all()
    off = geometry.cosine(sparse, sparse)[~torch.eye(5, dtype=torch.bool)].reshape(5, 4).sort(-1).values
    pentagon = torch.tensor([-0.809, -0.809, 0.309, 0.309], dtype=torch.float64)
    assert (off - pentagon).abs().max() < 0.04
    dense = train(ToySettings(n_instances=4, steps=300, feature_probability=1.0)).W.double()
    assert ((geometry.dimensionality(dense) - 0.4).abs().amax(-1) > 0.1).all()


def test_the_more_important_features_win_where_there_is_no_room():
    """Each feature is in half of the samples, too many to share: the two dimensions go to the first two."""
    W = train(ToySettings(n_instances=6, steps=600, feature_probability=0.5, importance=0.3)).W
    norms = W.norm(dim=-1)
    assert (norms[:, :2] > 0.9).all() and (norms[:, 2:] < 0.2).all()


def test_weights_that_are_no_longer_finite_stop_training_with_its_step_and_rate():
    with pytest.raises(InputError, match=r"W is no longer finite at step 100: learning_rate 1e\+38 is too high"):
        train(ToySettings(steps=101, learning_rate=1e38))


@pytest.mark.parametrize("name", ["n_instances", "n_features", "d_hidden", "batch_size", "steps"])
def test_sizes_below_one_are_refused(name):
    assert getattr(ToySettings(**{name: 1}), name) == 1
    for value in (0, -3):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got {value}"):
            ToySettings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *(("feature_probability", p, r"in \(0, 1\], got") for p in (0.0, -0.1, 1.01, float("nan"))),
        ("feature_probability", (0.5, 0.0), r"in \(0, 1\], got 0"),
        ("feature_probability", (0.5, 0.5, 0.5), r"one number or 2 \(n_instances\), got \(0.5, 0.5, 0.5\)"),
        *(("importance", w, "positive and finite, got") for w in (0.0, -1.0, float("inf"), float("nan"))),
        ("importance", (1.0,), "one number or 2"),
        *(("learning_rate", r, "positive and finite, got") for r in (0.0, -1.0, float("inf"), float("nan"))),
    ],
)
def test_settings_out_of_range_are_refused_by_name_and_value(name, value, message):
    with pytest.raises(ValueError, match=f"{name} must be {message}"):
        ToySettings(n_instances=2, **{name: value})


@pytest.mark.parametrize("shape", [(2, 4, 6), (3, 4, 5), (1, 4, 5)])
def test_a_batch_that_does_not_fit_the_model_is_refused(shape, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' hook would speak first
    toy = init(ToySettings(n_instances=2), generator())
    with pytest.raises(ValueError, match=rf"x must be .*, got \({shape[0]}, "):
        forward(toy, torch.zeros(shape))


def test_training_leaves_torchs_threads_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    train(ToySettings(steps=1))
    found = torch.get_num_threads()
    torch.set_num_threads(before)
    assert found == 2
