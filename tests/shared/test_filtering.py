"""Each docstring of shared/filtering.py: scores against loops; budget, order, ties and nesting of masks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import SEEDS, directions, labelled

from shared.filtering import (
    balanced_score,
    geometry_score,
    gradient_score,
    keep_mask,
    oracle_score,
    projection_score,
    random_score,
)
from shared.geometry import unit
from shared.leakage import readout_change
from shared.selection import auroc

SCORES = st.lists(st.integers(-2, 2), min_size=1, max_size=40).map(lambda x: torch.tensor(x, dtype=torch.float64))
FRACTIONS = st.floats(0, 1, exclude_max=True)


@given(labelled(), SEEDS)
def test_geometry_score_is_the_activation_weighted_mean_over_active_features(drawn, seed):
    acts, cosines = drawn[0], np.random.default_rng(seed).uniform(-1, 1, drawn[0].shape[1])
    acts[0] = 0
    found = geometry_score(acts, torch.from_numpy(cosines))
    for row, value in zip(acts.numpy(), found, strict=True):
        expected = np.average(cosines, weights=row) if row.any() else 0
        np.testing.assert_allclose(value, expected, atol=1e-12)


@given(labelled(), SEEDS, st.floats(1e-3, 1e3))
def test_geometry_score_ignores_the_scale_of_a_sample_and_inactive_features(drawn, seed, scale):
    acts = drawn[0]
    cosines = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, acts.shape[1]))
    found = geometry_score(acts, cosines)
    torch.testing.assert_close(geometry_score(acts * scale, cosines), found)
    torch.testing.assert_close(geometry_score(torch.where(acts > 0, acts, -1.0), cosines), found)
    assert (found.abs() <= 1 + 1e-12).all()


@given(directions(), SEEDS)
def test_projection_score_is_the_length_along_the_direction(W, seed):
    """Against the projection by least squares: the multiple of the unit direction that comes nearest."""
    direction, rows = W[0], torch.from_numpy(np.random.default_rng(seed).normal(size=(5, W.shape[1])))
    found = projection_score(rows, direction)
    for row, value in zip(rows.numpy(), found, strict=True):
        (multiple,), *_ = np.linalg.lstsq(unit(direction[None]).numpy().T, row, rcond=None)
        np.testing.assert_allclose(value, multiple, atol=1e-10)


@given(directions(), SEEDS)
def test_gradient_score_is_how_far_a_real_step_on_the_sample_pushes_the_toxic_readouts(W, seed):
    """One torch.optim.SGD step of size 1 on each sample's hidden state, on a loss with that gradient."""
    g, h = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 4, W.shape[1])))
    moved = h.clone().requires_grad_()
    (moved * g).sum().backward()
    torch.optim.SGD([moved], lr=1).step()
    pushed = torch.stack([readout_change(W, row[None]) for row in (moved - h).detach()]).mean(-1)
    torch.testing.assert_close(gradient_score(g, W), pushed, rtol=1e-10, atol=1e-10)


def test_random_score_is_fixed_by_its_seed_and_uniform():
    """Mean of 10 000 uniforms within 0.5 ± 0.0144 (five standard errors)."""
    scores = random_score(10_000, seed=0)
    assert torch.equal(scores, random_score(10_000, seed=0)) and not torch.equal(scores, random_score(10_000, seed=1))
    assert scores.min() >= 0 and scores.max() < 1 and abs(scores.mean() - 0.5) < 0.0144


@given(labelled(), st.integers(0, 99), st.floats(0, 1, exclude_max=True))
def test_balanced_score_removes_as_large_a_share_of_either_label(drawn, seed, fraction):
    """To one sample, whatever the share; and which ones is another seed's choice."""
    _, labels = drawn
    keep = keep_mask(balanced_score(labels, seed), fraction, 0)
    for those in (labels, ~labels):
        assert abs((~keep & those).sum() - fraction * those.sum()) <= 1.5
    if len(labels) > 12:
        assert any(not torch.equal(balanced_score(labels, seed), balanced_score(labels, n)) for n in range(100, 103))


@given(labelled())
def test_oracle_separates_the_labels(drawn):
    assert auroc(oracle_score(drawn[1]), drawn[1]) == 1


@given(SCORES, FRACTIONS, st.integers(0, 9))
def test_keep_mask_removes_exactly_its_budget_and_only_the_highest(scores, fraction, seed):
    keep = keep_mask(scores, fraction, seed)
    assert (~keep).sum() == round(fraction * len(scores))
    if keep.any() and not keep.all():
        assert scores[keep].max() <= scores[~keep].min()


@given(SCORES, FRACTIONS, FRACTIONS, st.integers(0, 9))
def test_a_larger_fraction_removes_what_a_smaller_one_does(scores, a, b, seed):
    small, large = keep_mask(scores, min(a, b), seed), keep_mask(scores, max(a, b), seed)
    assert (small | ~large).all()


@given(SCORES, FRACTIONS, st.integers(0, 9), st.floats(0.1, 10))
def test_only_the_order_of_the_scores_counts(scores, fraction, seed, scale):
    assert torch.equal(keep_mask(scores, fraction, seed), keep_mask((scores * scale).exp(), fraction, seed))


def test_ties_are_broken_at_random_by_the_seed():
    """Of 10 tied samples each is kept in half of 400 seeds: 200 ± 50 is five standard errors."""
    kept = torch.stack([keep_mask(torch.zeros(10), 0.5, seed) for seed in range(400)])
    assert ((kept.sum(0) - 200).abs() < 50).all()
    assert torch.equal(kept[7], keep_mask(torch.zeros(10), 0.5, 7))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
def test_a_fraction_outside_its_range_is_named(fraction):
    with pytest.raises(ValueError, match="fraction"):
        keep_mask(torch.zeros(3), fraction, 0)


def test_a_nan_score_is_refused_and_infinite_ones_sort():
    with pytest.raises(ValueError, match="scores"):
        keep_mask(torch.tensor([0.0, torch.nan]), 0.5, 0)
    assert keep_mask(torch.tensor([0.0, torch.inf, -torch.inf, 1.0]), 0.5, 0).tolist() == [True, False, True, False]
