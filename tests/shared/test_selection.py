"""Each docstring of shared/selection.py, against scipy."""

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, pointbiserialr
from strategies import SEEDS, labelled

from shared.selection import Correlation, auroc, flipped, point_biserial, score, top_k


def scipy_r(acts, labels):
    return [pointbiserialr(labels.numpy(), column.numpy()).statistic if column.std() else 0 for column in acts.mT]


@given(labelled(), st.sampled_from([0.0, 1e3, -1e3]), st.sampled_from([1e-3, 1.0, 1e3]))
def test_equals_scipy_also_with_a_common_offset(drawn, offset, scale):
    acts, labels = drawn
    found = point_biserial([(acts * scale + offset, labels)])
    np.testing.assert_allclose(found.r, scipy_r(acts, labels), atol=1e-9)
    np.testing.assert_allclose(found.mean, acts.mean(0) * scale + offset, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.std, acts.std(0, correction=0) * scale, rtol=1e-9, atol=1e-9)
    assert found.n == len(acts) and found.r.abs().max() <= 1


@given(labelled(), st.data(), st.sampled_from([0.0, 1e3]))
def test_streaming_equals_one_shot_whatever_the_batching(drawn, data, offset):
    acts, labels = drawn[0] + offset, drawn[1]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(acts)), max_size=6)))
    pieces = list(zip(acts.tensor_split(cuts), labels.tensor_split(cuts), strict=True))
    streamed, whole = point_biserial(pieces), point_biserial([(acts, labels)])
    for a, b in zip(streamed, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@given(labelled(), st.randoms())
def test_order_of_samples_is_nothing_and_flipping_labels_flips_r(drawn, random):
    acts, labels = drawn
    order = random.sample(range(len(acts)), len(acts))
    r = point_biserial([(acts, labels)]).r
    np.testing.assert_allclose(point_biserial([(acts[order], labels[order])]).r, r, atol=1e-10)
    np.testing.assert_allclose(point_biserial([(acts, ~labels)]).r, -r, atol=1e-10)


def test_a_first_sample_far_from_the_rest_costs_no_digits():
    rng = np.random.default_rng(0)
    acts, labels = torch.from_numpy(rng.normal(size=(200, 3)) + 1e3), torch.from_numpy(rng.random(200) < 0.5)
    acts[0] = 0
    found = point_biserial((acts[i : i + 1], labels[i : i + 1]) for i in range(200))
    np.testing.assert_allclose(found.r, scipy_r(acts, labels), atol=1e-9)


@given(st.floats(-1e6, 1e6), st.integers(2, 60), st.data())
@example(value=0.1, n=7, data=None)
def test_a_constant_feature_has_r_and_std_zero(value, n, data):
    labels = torch.arange(n) < (data.draw(st.integers(1, n - 1)) if data else 3)
    found = point_biserial([(torch.full((n, 1), value, dtype=torch.float64), labels)])
    assert found.r.item() == 0 and found.std.item() == 0


@given(SEEDS, st.integers(1, 20), st.integers(1, 4), st.sampled_from([0.0, 1e3]), st.sampled_from([1e-3, 1.0, 1e3]))
def test_flipped_is_r_of_labels_that_are_really_flipped(seed, pairs, features, offset, scale):
    """Sparse activations, some features dead; every draw by `point_biserial` on relabelled samples."""
    rng = np.random.default_rng(seed)
    acts = torch.from_numpy(rng.exponential(size=(2, pairs, features)) * (rng.random((2, pairs, features)) < 0.6))
    acts[:, :, 0] = 0
    yes, no = acts * scale + offset
    signs = torch.from_numpy(2.0 * rng.integers(2, size=(5, pairs)) - 1)
    for row, r in zip(signs, flipped(yes, no, signs), strict=True):
        expected = point_biserial([(torch.cat([yes, no]), torch.cat([row > 0, row < 0]))]).r
        np.testing.assert_allclose(r, expected, rtol=1e-9, atol=1e-9)


def test_firing_rate_counts_positive_activations_over_all_batches():
    acts = torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 2.0], [3.0, 0.0, 0.5]])
    labels = torch.tensor([True, False, False])
    found = point_biserial([(acts[:1], labels[:1]), (acts[1:], labels[1:])])
    np.testing.assert_allclose(found.firing_rate, [2 / 3, 0, 2 / 3])


def test_sums_are_float64_even_of_half_precision_activations():
    rng = np.random.default_rng(0)
    acts = torch.from_numpy(rng.normal(size=(5000, 2))).bfloat16()
    labels = torch.from_numpy(rng.random(5000) < 0.3)
    found = point_biserial([(acts, labels)])
    assert found.r.dtype == torch.float64
    np.testing.assert_allclose(found.r, scipy_r(acts.double(), labels), atol=1e-9)


@pytest.mark.parametrize("labels", [[True, True], [False, False], []])
def test_an_absent_label_is_an_error(labels):
    labels = torch.tensor(labels, dtype=torch.bool)
    with pytest.raises(ValueError, match="labels"):
        point_biserial([(torch.rand(len(labels), 2), labels)])
    with pytest.raises(ValueError, match="labels"):
        auroc(torch.rand(len(labels)), labels)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_an_activation_that_is_not_finite_names_its_feature(bad):
    acts = torch.rand(4, 3)
    acts[1, 2] = bad
    with pytest.raises(ValueError, match=r"\[2\]"):
        point_biserial([(acts, torch.arange(4) > 1)])


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20), st.data())
def test_top_k_is_the_stable_sort_ties_to_the_lower_id(values, data):
    k = data.draw(st.integers(1, len(values)))
    expected = sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]
    assert top_k(torch.tensor(values, dtype=torch.float64), k).tolist() == expected


@pytest.mark.parametrize("k", [0, -1, 4])
def test_top_k_refuses_an_impossible_k_and_nan(k):
    with pytest.raises(ValueError, match=f"k must be .* not {k}"):
        top_k(torch.rand(3), k)
    with pytest.raises(ValueError, match="NaN"):
        top_k(torch.tensor([0.1, torch.nan]), 1)


@given(labelled(max_features=6), st.data())
def test_score_is_the_mean_z_score_over_the_chosen_features(drawn, data):
    acts, labels = drawn
    acts[:, 0] = 2.0  # never varies
    c = point_biserial([(acts, labels)])
    ids = data.draw(st.lists(st.integers(0, acts.shape[1] - 1), min_size=1, unique=True))
    found = score(acts + 1, torch.tensor(ids), c)
    for sample, row in enumerate(acts.numpy() + 1):
        z = [(row[i] - c.mean[i].item()) / c.std[i].item() if c.std[i] else 0 for i in ids]
        np.testing.assert_allclose(found[sample], np.mean(z), rtol=1e-9, atol=1e-9)


def test_score_by_hand():
    """(3 - 1)/2 = 1 and (0 - 4)/1 = -4, mean -1.5; feature 1 is not chosen."""
    zero = torch.zeros(3)
    c = Correlation(zero, torch.tensor([1.0, 0.0, 4.0]), torch.tensor([2.0, 9.0, 1.0]), zero, 5)
    assert score(torch.tensor([[3.0, 7.0, 0.0]]), torch.tensor([0, 2]), c).tolist() == [-1.5]


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_share_of_ordered_pairs_ties_half(samples):
    scores, labels = (torch.tensor(column) for column in zip(*samples, strict=True))
    assume(labels.any() and not labels.all())
    yes, no = scores[labels].numpy(), scores[~labels].numpy()
    expected = np.mean([(a > b) + 0.5 * (a == b) for a in yes for b in no])
    found = auroc(scores.double(), labels)
    assert found == pytest.approx(expected, abs=1e-12)
    assert found == pytest.approx(mannwhitneyu(yes, no).statistic / (len(yes) * len(no)), abs=1e-12)
    assert auroc(-scores.double(), labels) == pytest.approx(1 - found)
    assert auroc((scores.double() / 2).exp(), labels) == pytest.approx(found)  # only the order counts


def test_labels_that_are_numbers_say_the_same(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' hook would refuse them
    assert auroc(torch.tensor([0.1, 0.2, 0.8, 0.9]), torch.tensor([0, 0, 1, 1])) == 1


def test_auroc_refuses_nan():
    with pytest.raises(ValueError, match=r"samples \[1\]"):
        auroc(torch.tensor([0.0, torch.nan]), torch.tensor([True, False]))
