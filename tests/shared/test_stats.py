"""Each docstring of shared/stats.py: point values against loops, intervals by coverage of planted truths."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test
from statsmodels.stats.proportion import proportion_confint
from strategies import SEEDS, labelled

from shared.selection import auroc
from shared.stats import auroc_interval, holm, interval, margin, margin_draws, permutation_p, wilson


@st.composite
def arms(draw):
    """Log-probs [seed question 2 answer], NaN at scattered positions where a question has fewer answers."""
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 5)), 2, draw(st.integers(1, 4)))
    rng = np.random.default_rng(draw(SEEDS))
    padded = rng.random(shape[1:]) < 0.4
    padded[..., rng.integers(shape[-1])] = False
    return np.where(padded, np.nan, rng.normal(-3, 1, size=shape))


@given(arms())
def test_margin_is_the_mean_of_question_differences(x):
    differences = [
        np.mean(kinds[0][~np.isnan(kinds[0])]) - np.mean(kinds[1][~np.isnan(kinds[1])]) for s in x for kinds in s
    ]
    assert margin(x) == pytest.approx(np.mean(differences), abs=1e-12)
    assert margin(x[:, :, ::-1]) == pytest.approx(-margin(x), abs=1e-12)


def slow_draw(x, seed_ids, question_ids, picks):
    """One resample, as the docstring says it."""
    total = []
    for s in seed_ids:
        for q, pick in zip(question_ids, picks, strict=True):
            sides = []
            for kind in (0, 1):
                values = x[s, q, kind][~np.isnan(x[s, q, kind])]
                sides.append(np.mean([values[int(u * len(values))] for u in pick[kind][: len(values)]]))
            total.append(sides[0] - sides[1])
    return np.mean(total)


@given(arms(), st.integers(0, 5))
def test_every_draw_equals_the_nested_loops_on_the_same_resample(x, seed):
    draws, (seeds, questions, _, answers) = 7, x.shape
    rng = np.random.default_rng(seed)
    seed_ids, question_ids = (
        rng.integers(seeds, size=(draws, seeds)),
        rng.integers(questions, size=(draws, questions)),
    )
    picks = rng.random((draws, questions, 2, answers))
    expected = [slow_draw(x, *drawn) for drawn in zip(seed_ids, question_ids, picks, strict=True)]
    np.testing.assert_allclose(margin_draws(x, draws, seed), expected, atol=1e-12)


@given(arms(), SEEDS, st.integers(0, 5))
def test_draws_of_two_arms_are_paired(x, other, seed):
    """Resampling is linear and the same for both arms: draws of a - b are draws of a minus draws of b."""
    y = x + np.random.default_rng(other).normal(size=x.shape)
    paired = margin_draws(x, 50, seed) - margin_draws(y, 50, seed)
    np.testing.assert_allclose(paired, margin_draws(x - y, 50, seed), atol=1e-12)
    shift = np.array([0.7, 0.2])[:, None]
    np.testing.assert_allclose(margin_draws(x + shift, 50, seed) - margin_draws(x, 50, seed), 0.5, atol=1e-12)


def test_draws_centre_on_the_margin_and_follow_their_seed():
    """2000 draws: their mean is within five standard errors of the point value."""
    x = np.random.default_rng(0).normal(size=(3, 20, 2, 4))
    draws = margin_draws(x, 2000, 0)
    assert abs(draws.mean() - margin(x)) < 5 * draws.std() / np.sqrt(2000)
    assert np.array_equal(draws, margin_draws(x, 2000, 0)) and not np.array_equal(draws, margin_draws(x, 2000, 1))


def planted(rng, truth, spread):
    """Log-probs whose true margin is `truth`, with a standard deviation of seeds, questions and answers."""
    of_seed, of_question, of_answer = spread
    x = of_answer * rng.normal(size=(1, 24, 2, 6)) + 0.05 * rng.normal(size=(4, 24, 2, 6))
    x[:, :, 0] += truth + of_seed * rng.normal(size=(4, 1, 1)) + of_question * rng.normal(size=(1, 24, 1))
    return x


@pytest.mark.parametrize("spread", [(0.0, 0.3, 0.0), (0.0, 0.3, 0.5)], ids=["questions", "and answers"])
def test_the_interval_covers_the_planted_margin_about_95_times_in_100(spread):
    """300 worlds. Were coverage 0.95, fewer than 270 would have chance 2e-4; one over all numbers fails.

    Resampling two nested levels counts the lower one twice: coverage exceeds 0.95 where it dominates.
    """
    rng, covered, naive = np.random.default_rng(0), 0, 0
    for seed in range(300):
        x = planted(rng, 0.2, spread)
        found = interval(margin(x), margin_draws(x, 250, seed), 24)
        covered += found.low <= 0.2 <= found.high
        flat = (x[:, :, 0] - x[:, :, 1]).ravel()
        naive += abs(flat.mean() - 0.2) < 1.96 * flat.std() / np.sqrt(flat.size)
    assert covered >= 270 and covered - naive > 30
    assert covered < 298  # nor wastefully wide


def test_noise_of_each_level_widens_the_interval():
    rng = np.random.default_rng(0)
    for level in range(3):
        spread = np.zeros(3)
        spread[level] = 1
        draws = margin_draws(planted(rng, 0.2, spread), 500)
        expected = 1 / np.sqrt([4, 24, 24 * 6 / 2][level])  # both kinds of answers vary: twice the variance
        assert draws.std() == pytest.approx(expected, rel=0.6) and draws.std() > 0.05


def test_ragged_or_missing_answers_are_named():
    x = np.zeros((2, 3, 2, 2))
    x[0, 1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="some seeds only, at question 1"):
        margin_draws(x)
    x[:, 2, 1] = x[:, 1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="no answer of one kind at question 2"):
        margin(x)


@given(SEEDS, st.integers(1, 300))
def test_interval_is_the_percentile_interval(seed, n):
    """The bounds are draws, at or just outside what np.percentile interpolates."""
    draws = np.random.default_rng(seed).normal(size=n)
    found, ordered = interval(0.0, draws, n), np.sort(draws)
    cut = int(np.floor(0.025 * (n - 1)))
    assert (found.low, found.high) == (ordered[cut], ordered[n - 1 - cut])
    low, high = np.percentile(draws, [2.5, 97.5])
    assert found.low <= low and high <= found.high and found.value == 0.0 and found.n == n


def test_no_draw_is_dropped():
    some = np.concatenate([np.zeros(90), np.full(10, np.inf)])
    assert interval(0.0, some, 5)[1:3] == (0, np.inf) and interval(0.0, -some, 5)[1:3] == (-np.inf, 0)
    assert interval(0.0, np.concatenate([np.zeros(99), [np.inf]]), 5).high == 0
    assert np.isnan(interval(0.0, np.array([0.0, np.nan]), 5)[1:3]).all()


@given(labelled())
def test_auroc_interval_holds_its_value_and_is_a_point_when_labels_are_separated(drawn):
    acts, labels = drawn
    found = auroc_interval(acts[:, 0], labels, draws=40)
    assert found.value == auroc(acts[:, 0], labels) and 0 <= found.low <= found.high <= 1 and found.n == len(labels)
    assert auroc_interval(labels.double(), labels, draws=40)[:3] == (1, 1, 1)


def test_auroc_interval_covers_the_planted_auroc():
    """Normals one sd apart: AUROC = Phi(1/sqrt 2) = 0.7602. Fewer than 175 of 200 has chance 2e-5 at 0.95."""
    rng, covered, width = np.random.default_rng(0), 0, []
    labels = torch.arange(120) % 3 == 0
    for seed in range(200):
        found = auroc_interval(torch.from_numpy(rng.normal(size=120)) + labels, labels, draws=100, seed=seed)
        covered += found.low <= 0.7602 <= found.high
        width.append(found.high - found.low)
    assert 175 <= covered < 200 and np.mean(width) < 0.25


@given(st.lists(st.integers(-5, 5), max_size=50), st.integers(-5, 5))
def test_permutation_p_counts_the_observed_one_too(null, observed):
    expected = (1 + sum(x >= observed for x in null)) / (1 + len(null))
    assert permutation_p(float(observed), np.array(null, dtype=float)) == expected


def test_permutation_p_equals_scipy_and_counts_ties_despite_rounding():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.8, size=8), rng.normal(size=8)
    pooled = rng.permuted(np.tile(np.concatenate([a, b]), (4000, 1)), axis=1)
    null = pooled[:, :8].mean(1) - pooled[:, 8:].mean(1)
    exact = permutation_test((a, b), lambda x, y: x.mean() - y.mean(), n_resamples=4000, alternative="greater")
    assert permutation_p(a.mean() - b.mean(), null) == pytest.approx(exact.pvalue, abs=0.02)
    assert permutation_p(0.1 + 0.2, np.array([0.3])) == 1  # 0.1 + 0.2 > 0.3 in floating point


def test_permutation_p_refuses_nan():
    for observed, null in ((np.nan, [0.0]), (0.0, [np.nan])):
        with pytest.raises(ValueError, match="NaN"):
            permutation_p(observed, np.array(null))


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_statsmodels(counts):
    found = wilson(*counts)
    np.testing.assert_allclose((found.low, found.high), proportion_confint(*counts, method="wilson"), atol=1e-9)
    assert found.value == counts[0] / counts[1] and found.n == counts[1]


def test_wilson_of_nothing_and_of_too_many():
    assert np.isnan(wilson(0, 0).value) and wilson(0, 0)[1:] == (0, 1, 0)
    for wrong in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match=f"not {wrong[0]}"):
            wilson(*wrong)


PS = st.lists(st.floats(0, 1), min_size=1, max_size=7)


@given(PS)
def test_holm_is_the_closed_test_of_bonferroni(ps):
    """Oracle: a null is rejected when every set of nulls that holds it is, by size times its smallest p."""
    for i, corrected in enumerate(holm(ps)):
        others = [j for j in range(len(ps)) if j != i]
        sets = [(i, *also) for n in range(len(ps)) for also in combinations(others, n)]
        worst = max(len(s) * min(ps[j] for j in s) for s in sets)
        assert corrected == pytest.approx(min(1.0, worst), abs=1e-12)


def test_holm_of_one_is_itself_and_of_no_probability_an_error():
    assert holm([0.03]) == [0.03]
    with pytest.raises(ValueError, match="0, 1"):
        holm([0.2, 1.2])
