"""Each docstring of shared/geometry.py, checked over drawn directions against loops."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cosine as cosine_distance
from scipy.stats import kstest
from strategies import SEEDS, directions, orthogonal

from shared import geometry
from shared.geometry import affinities, affinity, cosine, dimensionality, flipped_gaps, interference, matched, unit
from shared.selection import point_biserial, top_k
from shared.stats import permutation_p

PLAIN = ("generic", "orthogonal", "near-parallel", "antipodal", "duplicated")
close = dict(rtol=1e-10, atol=1e-12)


def rotated(W, seed):
    return W @ torch.from_numpy(orthogonal(np.random.default_rng(seed), W.shape[1]))


@given(directions())
def test_unit_rows_have_length_one_and_keep_their_direction(W):
    torch.testing.assert_close(unit(W).norm(dim=-1), torch.ones(len(W), dtype=W.dtype), **close)
    assert ((unit(W) * W).sum(-1) > 0).all()


@given(directions())
def test_zero_rows_stay_zero_and_have_cosine_zero(W):
    W[0] = 0
    assert (unit(W)[0] == 0).all() and (cosine(W, W)[0] == 0).all() and dimensionality(W)[0] == 0


@given(directions(kinds=PLAIN))
def test_cosine_equals_scipy_and_is_symmetric_and_bounded(W):
    expected = [[1 - cosine_distance(a, b) for b in W.numpy()] for a in W.numpy()]
    C = cosine(W, W)
    torch.testing.assert_close(C, torch.tensor(expected, dtype=W.dtype), rtol=0, atol=1e-10)
    torch.testing.assert_close(C, C.mT, **close)
    assert C.abs().max() <= 1


@given(directions(), SEEDS, st.floats(1e-3, 1e3))
def test_cosine_ignores_rotation_and_positive_scale(W, seed, scale):
    torch.testing.assert_close(cosine(rotated(W, seed) * scale, rotated(W, seed)), cosine(W, W), **close)


@given(directions(), directions())
def test_instances_are_independent(A, B):
    n, d = min(len(A), len(B)), min(A.shape[1], B.shape[1])
    A, B = A[:n, :d], B[:n, :d]
    for metric in (unit, interference, dimensionality):
        torch.testing.assert_close(metric(torch.stack([A, B]))[1], metric(B), **close)
    torch.testing.assert_close(cosine(torch.stack([A, B]), torch.stack([B, A]))[0], cosine(A, B), **close)


@given(directions(kinds=PLAIN))
def test_interference_and_dimensionality_equal_their_sums_written_as_loops(W):
    rows = W.numpy()
    for i, (found, d_i) in enumerate(zip(interference(W), dimensionality(W), strict=True)):
        dots = [(rows[i] / np.linalg.norm(rows[i]) @ row) ** 2 for row in rows]
        others = sum(dot for j, dot in enumerate(dots) if j != i)
        np.testing.assert_allclose(found, others, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(d_i, rows[i] @ rows[i] / sum(dots), rtol=1e-9)


@given(directions(), SEEDS, st.floats(1e-2, 1e2))
def test_dimensionality_is_a_share_that_ignores_rotation_and_common_scale(W, seed, scale):
    D = dimensionality(W)
    assert ((D >= 0) & (D <= 1)).all()
    torch.testing.assert_close(dimensionality(scale * rotated(W, seed)), D, rtol=1e-8, atol=1e-12)


@given(directions(), st.randoms())
def test_per_feature_metrics_follow_a_permutation_of_the_features(W, random):
    order = random.sample(range(len(W)), len(W))
    for metric in (interference, dimensionality):
        torch.testing.assert_close(metric(W[order]), metric(W)[order], **close)
    toxic = torch.tensor([0, 1])
    moved = torch.tensor([order.index(0), order.index(1)])
    torch.testing.assert_close(affinity(W[order], moved), affinity(W, toxic)[order], **close)


@given(directions(kinds=("orthogonal",)))
def test_orthogonal_features_do_not_interfere_and_each_has_a_dimension(W):
    torch.testing.assert_close(dimensionality(W), torch.ones(len(W), dtype=W.dtype), **close)
    assert interference(W).max() < 1e-20 * W.square().sum(-1).max()


@given(directions(), st.integers(1, 9))
def test_n_identical_features_share_one_dimension(W, n):
    D = dimensionality(unit(W[:1]).expand(n, -1))
    torch.testing.assert_close(D, torch.full_like(D, 1 / n), **close)


def test_interference_over_several_chunks(monkeypatch):
    W = torch.randn(2, 23, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = interference(W)
    monkeypatch.setattr("shared.geometry.CHUNK", 7)
    torch.testing.assert_close(interference(W), whole, **close)


@given(directions(min_features=3, kinds=PLAIN), st.data())
def test_affinity_is_the_mean_cosine_to_the_toxic_features_itself_excluded(W, data):
    toxic = data.draw(st.lists(st.integers(0, len(W) - 1), min_size=1, unique=True))
    found = affinity(W, torch.tensor(toxic))
    for i, row in enumerate(W.numpy()):
        others = [1 - cosine_distance(row, W[t].numpy()) for t in toxic if t != i]
        np.testing.assert_allclose(found[i], np.mean(others) if others else 0, atol=1e-10)


@given(directions(min_features=3, kinds=PLAIN), st.data())
def test_affinities_are_those_to_the_first_k(W, data):
    toxic = torch.tensor(data.draw(st.lists(st.integers(0, len(W) - 1), min_size=1, unique=True)))
    found = affinities(W, toxic, range(1, len(toxic) + 1))
    for k, those in found.items():
        torch.testing.assert_close(those, affinity(W, toxic[:k]), **close)


@pytest.mark.parametrize("ids", [[], [0, 0], [-1], [5]])
def test_bad_ids_are_named(ids):
    W, good, rate = torch.eye(5), torch.tensor([0]), torch.ones(5)
    bad = torch.tensor(ids, dtype=torch.long)
    with pytest.raises(ValueError, match="toxic"):
        affinity(W, bad)
    with pytest.raises(ValueError, match="inducing"):
        gap(W, bad, good, good, rate, np.zeros(9))
    with pytest.raises(ValueError, match="control"):
        gap(W, good, bad, good, rate, np.zeros(9))
    with pytest.raises(ValueError, match="toxic"):
        geometry.gap(W[0], good, good, bad, rate, np.zeros(9))


@pytest.mark.parametrize("k", [-1, 0, 4])
def test_sets_of_no_feature_or_of_more_than_there_are_are_refused_and_so_are_no_draws(k):
    acts = torch.rand(2, 5, 3)
    with pytest.raises(ValueError, match=rf"k must be in \[1, 3\], not \[1, {k}\]"):
        affinities(torch.eye(5), torch.tensor([1, 2, 3]), (1, k))
    with pytest.raises(ValueError, match=rf"k must be in \[1, 3\], not \[{k}\]"):
        flipped_gaps(*acts, {k: torch.rand(3)}, draws=9)
    with pytest.raises(ValueError, match="draws must be at least 1, not 0"):
        flipped_gaps(*acts, {1: torch.rand(3)}, draws=0)


def gap(W, inducing, control, toxic, *given, **how):
    return geometry.gap(affinity(W, toxic), inducing, control, toxic, *given, **how)


def world(seed, lean=0.0, n=60, d=16):
    """Random directions: 0-9 toxic, 10-19 inducing (lean towards the mean toxic one), 20-29 control."""
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(n, d))
    W[10:20] += lean * W[:10].mean(0) / np.linalg.norm(W[:10].mean(0)) * np.sqrt(d)
    return torch.from_numpy(W), *torch.arange(30).split(10)


def test_gap_is_the_difference_of_mean_affinities():
    W, toxic, inducing, control = world(0, lean=0.5)
    C = cosine(W, W)
    result = gap(W, inducing, control, toxic, torch.ones(60), np.zeros(50))
    np.testing.assert_allclose(result.inducing, C[10:20, :10].mean(), rtol=1e-10)
    np.testing.assert_allclose(result.control, C[20:30, :10].mean(), rtol=1e-10)
    np.testing.assert_allclose(result.gap, result.inducing - result.control, rtol=1e-10)
    assert gap(W, control, inducing, toxic, torch.ones(60), np.zeros(50)).gap == pytest.approx(-result.gap)


def test_planted_gap_is_found_by_both_tests():
    """Inducing features fire on bad answers, control ones on good, all others on either."""
    W, toxic, inducing, control = world(1, lean=1.0)
    bad, good = torch.rand(2, 40, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bad[:, inducing] += 1
    good[:, control] += 1
    flips = flipped_gaps(bad, good, {10: affinity(W, toxic)}, draws=400)[10]
    result = gap(W, inducing, control, toxic, torch.rand(60) + 0.1, flips)
    assert result.p < 0.01 and result.p_null < 0.01 and result.gap > result.null_high
    reverse = gap(W, control, inducing, toxic, torch.rand(60) + 0.1, flips)
    assert reverse.p > 0.99  # one-sided


def test_without_a_gap_the_p_of_random_sets_is_uniform():
    """60 worlds of no effect: were P(p <= 0.1) 0.1, 16 or more such would have chance 2e-4."""
    rate = torch.linspace(0.1, 1, 60)
    results = [gap(*shuffle(world(seed)), rate, np.zeros(99), seed=seed) for seed in range(60)]
    p = np.array([r.p_null for r in results])
    assert np.sum(p <= 0.1) < 16 and np.sum(p >= 0.9) < 17 and 0.35 < p.mean() < 0.65
    inside = np.mean([r.null_low <= r.gap <= r.null_high for r in results])
    assert inside > 0.8


def shuffle(drawn):
    W, toxic, inducing, control = drawn
    return W, inducing, control, toxic


def chosen_again(bad, good, close, k, signs):
    """The gap when the labels of these pairs are really flipped, and everything is done as it was the first time."""
    labels = torch.cat([signs > 0, signs < 0])
    r = (point_biserial([(torch.cat([bad, good]), labels)]).r * 1e9).round()  # what ties but for rounding ties
    return (close[top_k(r, k)].mean() - close[top_k(-r, k)].mean()).item()


@given(SEEDS, st.integers(2, 12), st.integers(4, 20), st.integers(1, 300), st.booleans())
@settings(deadline=None)
def test_a_draw_of_the_null_is_the_gap_after_labels_are_really_flipped(seed, pairs, features, cells, on_or_off):
    """Every draw, at two k at once and whatever is held at once; the signs are those that the seed gives.

    Features that are only on or off tie often, and dead ones fill a set, the lower id first, as in `top_k`.
    """
    rng = torch.Generator().manual_seed(seed)
    bad, good = torch.rand(2, pairs, features, generator=rng, dtype=torch.float64)
    if on_or_off:
        bad, good = ((acts > 0.5).double() * (torch.arange(features) % 3 > 0) for acts in (bad, good))
    near = {k: torch.rand(features, generator=rng, dtype=torch.float64) for k in (1, 3)}
    with mock.patch("shared.geometry.CELLS", cells):
        found = flipped_gaps(bad, good, near, draws=9, seed=seed)
    signs = 2.0 * np.random.default_rng(seed).integers(2, size=(9, pairs)) - 1
    for k, close in near.items():
        expected = [chosen_again(bad, good, close, k, torch.from_numpy(row)) for row in signs]
        np.testing.assert_allclose(found[k], expected, rtol=1e-9, atol=1e-12)


def test_where_labels_say_nothing_p_is_uniform_and_shuffling_features_finds_gaps():
    """300 worlds of families of features that fire together and point one way; which answer is bad is a coin's.

    Of uniform p 15 are at most .05, more than 30 with chance 1e-4. The shuffle of the chosen features, which takes each
    for a draw of its own, is too narrow: its spread is less than two thirds, and every fifth world has a gap by it.
    """
    flipped, shuffled, widths = [], [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        family = rng.integers(12, size=60)
        close = torch.from_numpy(rng.normal(size=12)[family] + 0.3 * rng.normal(size=60))
        acts = rng.normal(size=(2, 30, 12))[..., family] + 0.5 * rng.normal(size=(2, 30, 60))
        bad, good = torch.from_numpy(acts)
        observed = chosen_again(bad, good, close, 10, torch.ones(30))
        r = (bad - good).mean(0) / torch.cat([bad, good]).std(0)
        ids = torch.cat([r.topk(10).indices, (-r).topk(10).indices])
        shuffles = rng.permuted(np.tile(close[ids], (199, 1)), axis=1)
        nulls = flipped_gaps(bad, good, {10: close}, 199, seed)[10], shuffles[:, :10].mean(1) - shuffles[:, 10:].mean(1)
        flipped.append(permutation_p(observed, nulls[0]))
        shuffled.append(permutation_p(observed, nulls[1]))
        widths.append(nulls[1].std() / nulls[0].std())
    assert kstest(flipped, "uniform").pvalue > 0.01 and np.sum(np.array(flipped) <= 0.05) <= 30
    assert np.mean(np.array(shuffled) <= 0.05) > 0.2 and np.mean(widths) < 2 / 3


def test_null_features_fire_as_often_are_live_and_not_toxic():
    """Frequent features point at the toxic ones, rare ones away, toxic and dead ones overwhelmingly at them.

    A null matched in rate sees no difference between two sets of frequent features, an unmatched one
    spans both groups, one that admits dead or toxic features would leave the band.
    """
    rng = np.random.default_rng(0)
    W = np.tile(np.eye(6)[0], (200, 1))  # 0-9 toxic; 10-49 dead, parallel to them
    W[50:120] = np.eye(6)[1] + 1e-3 * rng.normal(size=(70, 6))  # rare: orthogonal
    W[120:] = np.eye(6)[0] + np.eye(6)[1] + 1e-3 * rng.normal(size=(80, 6))  # frequent: cosine 0.7
    rate = torch.cat([torch.ones(10), torch.zeros(40), torch.linspace(0.01, 0.02, 70), torch.linspace(0.5, 0.9, 80)])
    place = torch.from_numpy(rng.permutation(200))  # feature i goes to row place[i]: rates are in no order
    W[place], rate[place] = W.copy(), rate.clone()
    toxic, frequent, rare = place[:10], place[140:150], place[80:90]
    same = gap(torch.from_numpy(W), frequent, place[160:170], toxic, rate, np.zeros(300))
    assert -0.01 < same.null_low < same.null_high < 0.01
    apart = gap(torch.from_numpy(W), frequent, rare, toxic, rate, np.zeros(300))
    assert 0.69 < apart.null_low < apart.null_high < 0.72  # explained by frequency alone: not significant
    assert apart.p_null > 0.01


@given(SEEDS, st.integers(2, 30))
def test_in_a_draw_of_random_features_none_stands_twice(seed, k):
    """Where twice as many as are wanted fire as often; where fewer do than are wanted all do, some twice."""
    rate = torch.ones(2 * k + 1)
    found = matched(torch.arange(k), torch.tensor([2 * k]), rate, 20, np.random.default_rng(seed))
    assert all(len({*row}) == k for row in found.tolist())
    few = matched(torch.arange(k), torch.arange(1, 2 * k + 1), rate, 20, np.random.default_rng(seed))
    assert {*few.flatten().tolist()} == {0}


def test_tied_rates_draw_from_all_that_tie():
    """Half of 100 equally frequent features are parallel to the toxic one: a set of 10 has mean 0.5 ± 0.16.

    The gap of two such sets has standard deviation sqrt(2 / 40); its 95 % range is 3.92 of these, in tenths.
    """
    W = torch.eye(2, dtype=torch.float64)[[0] + [1] * 50 + [0] * 50]
    found = gap(W, torch.arange(1, 11), torch.arange(91, 101), torch.tensor([0]), torch.ones(101), np.zeros(2000))
    assert found.null_high - found.null_low == pytest.approx(3.92 * np.sqrt(2 / 40), abs=0.15)
    assert found.gap == pytest.approx(-1) and found.p_null == 1


def test_no_live_feature_is_an_error():
    with pytest.raises(ValueError, match="firing_rate"):
        gap(
            torch.eye(3),
            torch.tensor([1]),
            torch.tensor([2]),
            torch.tensor([0]),
            torch.tensor([1.0, 0, 0]),
            np.zeros(9),
        )
