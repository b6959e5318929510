"""Each docstring of shared/stats.py: point values against loops, intervals by coverage of planted truths."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, permutation_test, t, ttest_1samp, ttest_rel
from statsmodels.stats.proportion import proportion_confint
from strategies import SEEDS, labelled

from shared.selection import auroc
from shared.stats import (
    auroc_interval,
    crossed,
    holm,
    over_seeds,
    permutation_p,
    question_margins,
    rank_correlation,
    reduction,
    wilson,
)

ANSWERS = st.lists(st.floats(-9, 0), min_size=1, max_size=4)


@given(st.lists(st.tuples(ANSWERS, ANSWERS), min_size=1, max_size=5))
def test_a_questions_margin_is_the_difference_of_its_mean_answers_however_many_there_are(asked):
    differences = [sum(bad) / len(bad) - sum(good) / len(good) for bad, good in asked]
    np.testing.assert_allclose(question_margins(asked), differences, atol=1e-12)
    np.testing.assert_allclose(question_margins([both[::-1] for both in asked]), -question_margins(asked), atol=1e-12)


WORLDS = {  # seeds, questions, and the spread of seeds, of questions and of what is left
    "questions": (4, 24, (0.0, 1.0, 0.3)),
    "seeds": (4, 24, (1.0, 0.0, 0.3)),
    "both": (3, 40, (0.3, 1.0, 1.0)),
    "one seed": (1, 40, (0.0, 1.0, 1.0)),
    "twelve seeds": (12, 250, (0.1, 0.5, 1.0)),
    "neither": (3, 8, (0.0, 0.0, 1.0)),
}


def planted(rng, seeds, questions, spread):
    """A table [seed question] whose true mean is 0.2."""
    shapes = (seeds, 1), (1, questions), (seeds, questions)
    return 0.2 + sum(size * rng.normal(size=shape) for size, shape in zip(spread, shapes, strict=True))


@pytest.mark.parametrize("world", WORLDS)
def test_the_crossed_interval_covers_the_planted_mean_95_times_in_100(world):
    """400 worlds. Were coverage 0.95, fewer than 362 would have chance 1e-4; one over all numbers covers far less.

    And no interval is another order of magnitude than the next.
    """
    rng, covered, naive, widths = np.random.default_rng(0), 0, 0, []
    for _ in range(400):
        x = planted(rng, *WORLDS[world])
        found = crossed(x)
        covered += found.low <= 0.2 <= found.high
        widths.append(found.high - found.low)
        naive += abs(x.mean() - 0.2) < 1.96 * x.std() / np.sqrt(x.size)
    assert covered >= 362 and max(widths) < 10 * np.median(widths)
    if x.shape[0] > 1 and world != "neither":
        assert covered - naive > 30


@given(st.integers(4, 60), st.floats(-1, 2), SEEDS)
def test_of_one_seed_a_reduction_has_fiellers_bounds(questions, planted, seed):
    """Oracle: his quadratic, from the questions' means and covariances, and Student's t."""
    rng = np.random.default_rng(seed)
    whole = 1 + 0.3 * rng.normal(size=questions)
    left = (1 - planted) * whole + 0.3 * rng.normal(size=questions)
    found = reduction(left[None], whole[None])
    assert found.value == pytest.approx(1 - left.mean() / whole.mean()) and found.n == questions
    square = t.ppf(0.975, questions - 1) ** 2 / questions * np.cov(left, whole)
    products = np.outer((left.mean(), whole.mean()), (left.mean(), whole.mean())) - square
    if products[1, 1] <= 0:  # the whole effect may be 0
        assert (found.low, found.high) == (-np.inf, np.inf)
        return
    high, low = np.sort(1 - np.roots([products[1, 1], -2 * products[0, 1], products[0, 0]]))[::-1]
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("planted", [0.0, 0.345])
@pytest.mark.parametrize(("seeds", "luck"), [(1, 0.005), (1, 0.0125), (3, 0.0125)])
def test_a_reduction_is_covered_95_times_in_100_though_every_training_has_its_luck(planted, seeds, luck):
    """300 worlds in which the mixed arm's effect is seen. One seed with much luck: 88 times; a bootstrap: 77."""
    rng, covered, worlds = np.random.default_rng(0), 0, 0
    while worlds < 300:
        question = 0.05 * rng.normal(size=40)

        def arm(effect, question=question):
            own = luck * rng.normal(size=(seeds, 1)) + 0.04 * rng.normal(size=(seeds, 40))
            return effect * (1 + question / 0.05 * 0.5) + question * 0.5 + own

        whole, left = arm(0.06), arm(0.06 * (1 - planted))
        if crossed(whole).low <= 0:
            continue
        draws = np.stack([arm(0.06)[0] for _ in range(3)])
        found, worlds = reduction(left, whole, draws), worlds + 1
        covered += found.low <= planted <= found.high
    assert covered >= 258


@pytest.mark.parametrize("training", [0, 1, 4])
def test_a_difference_from_three_draws_covers_what_another_training_would_give(training):
    """One seed, 40 questions; arms differ by `training` times what the questions leave to a mean. Of 1000 such, 95 %
    should cover the planted 0.1: were it so, fewer than 92 % had chance 2e-5. With two degrees of freedom it is 94."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(1000):
        arms = rng.normal(size=(4, 40)) + training / 40**0.5 * rng.normal(size=(4, 1)) + rng.normal(size=40)
        found = crossed((arms[1:].mean(0) - arms[0] + 0.1)[None], arms[1:])
        hits += found.low <= 0.1 <= found.high
    assert 0.92 < hits / 1000 < 0.985


@given(st.integers(1, 4), st.integers(2, 9), SEEDS)
def test_the_crossed_interval_moves_and_scales_with_its_table(seeds, questions, seed):
    x = np.random.default_rng(seed).normal(size=(seeds, questions))
    one, other = crossed(x), crossed(3 + 2 * x)
    np.testing.assert_allclose(np.array(other[:3]), 3 + 2 * np.array(one[:3]), atol=1e-9)
    assert one.low <= one.value <= one.high and one.n == questions


@given(st.integers(2, 12), SEEDS)
def test_over_seeds_a_mean_and_a_difference_of_means_have_students_intervals(n, seed):
    """A difference has the paired one: leaving out a seed leaves it out of both columns."""
    one, other = np.random.default_rng(seed).normal(size=(2, n)) + np.arange(n)
    columns = one.tolist(), other.tolist()
    alone, paired = over_seeds(columns[0]), over_seeds(*columns, statistic=lambda a, b: a.mean(-1) - b.mean(-1))
    for found, test in ((alone, ttest_1samp(one, 0)), (paired, ttest_rel(one, other))):
        np.testing.assert_allclose(found[1:3], test.confidence_interval(0.95), atol=1e-9)
    assert (alone.value, alone.n) == (pytest.approx(one.mean()), n)


@pytest.mark.parametrize("n", [4, 5, 8])
def test_over_seeds_a_ratio_of_means_is_covered_95_times_in_100(n):
    """True ratio 2, columns that vary together. Of 1000 such at 0.95 fewer than 920 or more than 977 have chance 3e-5;
    a percentile bootstrap covers 803 to 899."""
    rng = np.random.default_rng(0)
    both = 1 + rng.normal(size=(1000, n)) * 0.2
    tops, bases = 2 * both + 0.3 * rng.normal(size=both.shape), both + 0.1 * rng.normal(size=both.shape)
    ratio = lambda top, base: top.mean(-1) / base.mean(-1)  # noqa: E731
    found = [over_seeds(*columns, statistic=ratio) for columns in zip(tops.tolist(), bases.tolist(), strict=True)]
    assert 920 <= sum(e.low <= 2 <= e.high for e in found) <= 977


def test_over_one_seed_there_is_no_interval_and_over_none_or_unequal_columns_no_estimate():
    alone = over_seeds([0.3])
    assert (alone.value, alone.n) == (0.3, 1) and np.isnan(alone[1:3]).all()
    for columns in (([],), ([1.0, 2.0], [1.0, 2.0, 30.0]), ([1.0, 2.0, 30.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match=r"their lengths are \["):
            over_seeds(*columns)


def test_a_question_without_an_answer_of_one_kind_has_no_margin():
    with pytest.raises(ValueError, match="at least one"):
        question_margins([([-1.0], [-2.0]), ([-1.0], [])])


@given(labelled())
def test_an_end_of_an_auroc_interval_is_1_96_of_its_standard_errors_away(drawn):
    """Hanley and McNeil's, with Q1 and Q2 as they wrote them, for classes that are of one size."""
    acts, labels = drawn
    found, yes = auroc_interval(acts[:, 0], labels), int(labels.sum())
    assert found.value == auroc(acts[:, 0], labels) and 0 <= found.low < found.high <= 1 and found.n == len(labels)
    for a in {found.low, found.high} - {0.0, 1.0}:
        q1, q2, m = a / (2 - a), 2 * a * a / (1 + a), len(labels) / 2
        variance = (a * (1 - a) + (m - 1) * (q1 - a * a) + (m - 1) * (q2 - a * a)) / (yes * (len(labels) - yes))
        assert abs(found.value - a) == pytest.approx(norm.isf(0.025) * variance**0.5, rel=1e-5, abs=1e-9)
    other = auroc_interval(-acts[:, 0], labels)
    assert (other.low, other.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-9)


@pytest.mark.parametrize("auroc", [0.5, 0.76, 0.97])
@pytest.mark.parametrize("n", [30, 120])
def test_auroc_intervals_cover_the_planted_auroc(auroc, n):
    """Normals of one width, as many of either kind. Fewer than 275 of 300 has chance 0.02 at 0.95, 1e-4 at 0.97."""
    rng, covered, labels = np.random.default_rng(0), 0, torch.arange(n) % 2 == 0
    for _ in range(300):
        x = torch.from_numpy(rng.normal(size=n)) + norm.ppf(auroc) * 2**0.5 * labels
        found = auroc_interval(x, labels)
        covered += found.low <= auroc <= found.high
    assert 275 <= covered < 300


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
    assert 0 <= found.low <= found.high <= 1
    assert found.value == counts[0] / counts[1] and found.n == counts[1]


def test_ranks_that_go_together_correlate_and_constant_ones_or_two_pairs_say_nothing():
    lengths = np.array([3.0, 1.0, 4.0, 1.5])
    assert rank_correlation(lengths**2, lengths) == pytest.approx(1)
    assert rank_correlation(-lengths, lengths) == pytest.approx(-1)
    assert np.isnan(rank_correlation(np.ones(4), lengths)) and np.isnan(rank_correlation(lengths[:2], lengths[:2]))


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
