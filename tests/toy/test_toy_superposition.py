"""Trained models take the published shapes, and models that are wrong in a known way do not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.geometry import dimensionality
from toy.model import Toy, ToySettings, loss, sample_batch
from toy.superposition import POLYTOPES, least_loss, phase, phases, polytopes, sharing

TOLERANCE = 0.02  # the nearest published fractions, 2/5 and 3/8, lie 0.025 apart


@pytest.fixture(scope="module")
def trained():
    return polytopes()


@pytest.mark.parametrize("name", [name for name, _ in POLYTOPES.values()])
def test_each_feature_has_the_published_dimensionality(trained, name):
    """Every feature of the polytope, not only their mean: 1, 3/4, 2/3, 1/2, 2/5, 3/8 (Elhage et al. 2022)."""
    found = trained[name]
    assert found["D"] == pytest.approx([found["published"]] * found["n_features"], abs=TOLERANCE)


def test_a_model_without_its_relu_takes_no_such_shape():
    """A linear model keeps the d_hidden first principal axes: the dimensionalities of the pentagon do not appear."""
    generator = torch.Generator().manual_seed(0)
    linear = ToySettings(1, 5, 2, feature_probability=0.05, batch_size=2048)
    W = (0.5 * torch.randn(5, 2, generator=generator)).requires_grad_()
    optimiser = torch.optim.Adam([W], lr=1e-2)
    for _ in range(600):
        x = sample_batch(linear, generator)[0]
        optimiser.zero_grad()
        (x @ W @ W.T - x).square().mean().backward()
        optimiser.step()
    assert np.abs(dimensionality(W.detach()).numpy() - 0.4).max() > 3 * TOLERANCE


def test_many_equal_features_pair_up_on_the_way_from_dense_to_sparse():
    """D* is 1 when all are on; at p = 0.4 and 0.3 it is 1/2, every feature in an antipodal pair; then it falls on."""
    dense, first, second, sparse = sharing(
        ToySettings(4, 48, 8, feature_probability=(1.0, 0.4, 0.3, 0.05), steps=1000)
    )
    assert dense["D_star"] == pytest.approx(1, abs=0.05)
    for pairs in (first, second):
        assert pairs["D_star"] == pytest.approx(1 / 2, abs=0.03)
        assert pairs["D"] == pytest.approx([1 / 2] * 16, abs=TOLERANCE)
    assert sparse["D_star"] < 0.25


def test_the_phases_are_those_of_least_expected_loss():
    """In at least nine cells of ten, and each phase is found; a map without superposition would agree in far fewer."""
    found = phases()
    agree = np.mean(np.equal(found["trained"], found["predicted"]))
    assert agree >= 0.9
    assert {cell for row in found["trained"] for cell in row} >= {0, 1, 2}
    apart = np.array([[min(cell, 1) for cell in row] for row in found["predicted"]])
    assert np.mean(np.equal(found["trained"], apart)) < agree - 0.3


@given(st.floats(0.02, 1), st.floats(0.1, 10))
@settings(deadline=None, max_examples=30)
def test_least_loss_weighs_the_losses_that_the_model_really_has(p, importance):
    """A large sample's loss of the three solutions picks the phase, unless the best two are within 5 %."""
    one = ToySettings(1, 2, 1, p, importance, batch_size=200_000)
    x = sample_batch(one, torch.Generator().manual_seed(0))
    W = torch.tensor([[[1.0], [0]], [[0], [1]], [[1], [-1]]])
    b = torch.tensor([[0, p / 2], [p / 2, 0], [0, 0]])
    costs = loss(Toy(W, b), x.expand(3, -1, -1), one.importances.expand(3, -1))
    best, next_best = costs.sort().values[:2]
    if next_best > 1.05 * best:
        assert least_loss(p, importance) == int(costs.argmin())


def test_a_phase_is_read_off_the_two_weights():
    rows = {(1.0, 0.1): 0, (0.0, 0.0): 0, (0.2, -0.9): 1, (0.9, -0.9): 2, (-0.7, -0.9): 3}
    assert {row: phase(torch.tensor(row)) for row in rows} == rows
