"""The claims on a made-up summary: every word follows the numbers, and each test of a claim can fail."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import DOMAINS, changed, estimate, law, made_up, without_bounds
from scipy.stats import norm

from real.report import rules, text, verdicts

WORDS = ("nearer", "emergent", "spills", "law", "gradient", "dynamics", "steering", "ablation", "filter")


def words(summary: dict) -> dict[str, str]:
    return {name: found["word"] for name, found in verdicts.verdicts(summary).items()}


@pytest.fixture(scope="module")
def summary() -> dict:
    return made_up()


def test_every_claim_has_a_word(summary):
    assert words(summary) == dict.fromkeys(WORDS, "shown")
    assert words(without_bounds(summary)) == dict.fromkeys(WORDS, "not shown") | {"law": "shown", "gradient": "shown"}


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.01, 0.2, "shown"),
        (-0.1, 0.2, "not shown"),
        (0.0, 0.2, "not shown"),
        (-0.2, -0.01, "opposite shown"),
        (None, None, "not shown"),
    ],
)
def test_the_word_follows_the_interval(summary, low, high, word):
    bounds = {"value": 0.1, "low": low, "high": high, "n": 20}
    other = changed(summary, "effect", "inducing", to=dict.fromkeys(("general", *DOMAINS), bounds))
    assert words(other)["emergent"] == words(other)["spills"] == word
    title = verdicts.titles(other)["effect"]
    assert ("shown in 4 of 4" in title) == (word == "shown")
    assert ("the opposite in 4" in title) == (word == "opposite shown")


NUMBERS = st.floats(-1, 1)
SIZES = st.integers(0, 400)


def drawn(value: float, one: float, other: float, n: int) -> dict:
    low, high = sorted((one, other))
    return {"value": value, "low": low, "high": high, "n": n}


@given(NUMBERS, NUMBERS, NUMBERS, SIZES)
@settings(deadline=None)
def test_fewer_than_eight_units_show_nothing_and_are_given_no_interval(value, one, other, n):
    """Whatever their interval; from eight on the word is that of the interval."""
    e = drawn(value, one, other, n)
    expected = "shown" if e["low"] > 0 else "opposite shown" if e["high"] < 0 else "not shown"
    assert rules.word(e) == (expected if n >= 8 else "not shown")
    assert ("too few questions for an interval" in text.measured(e)) == (n < 8) == ("[" not in text.measured(e))
    for random in ({"low": 0.0, "high": 0.0, "n": 20}, {"low": -9.0, "high": 9.0}):
        found = rules.overall([rules.word(e), rules.above(e, random)])
        assert found == "not shown" or (n >= 8 and found == expected)
    assert rules.above({**e, "n": 40}, {"low": -5.0, "high": -4.0, "n": n}) == ("shown" if n >= 8 else "not shown")


@pytest.mark.parametrize("beyond", [0.0, 0.3])
def test_the_effect_that_is_said_is_shown_in_four_of_five_runs_beyond_all_that_it_must_pass(beyond):
    """4,000 runs of a truth of that size. `beyond`: as random directions' largest."""
    rng, se = np.random.default_rng(0), 0.05
    said = text.measured(drawn(0.01, 0.01 - 1.96 * se, 0.01 + 1.96 * se, 40), beyond=beyond)
    least = float(re.search(r"an effect of (\S+) would", said)[1])
    found = [drawn(x, x - 1.96 * se, x + 1.96 * se, 40) for x in rng.normal(least, se, size=4000)]
    assert np.mean([rules.above(e, rules.within(beyond)) == "shown" for e in found]) == pytest.approx(0.8, abs=0.02)


@given(NUMBERS, st.floats(0.01, 1), st.integers(8, 400))
@settings(deadline=None)
def test_what_shows_nothing_says_the_effect_that_it_would_have_shown(value, se, n):
    """Oracle: a normal estimate of that effect lies more than 1.96 standard errors above 0 in 80 % of runs."""
    said = text.measured(drawn(value, value - 1.96 * se, value + 1.96 * se, n))
    found = re.search(r"an effect of (\S+) would have been shown in 4 of 5", said)
    assert (found is None) == (abs(value) > 1.96 * se)
    if found:
        assert norm.sf(1.96 - (float(found[1]) / se)) == pytest.approx(0.8, abs=0.01 + 0.0006 / se)


@given(NUMBERS, NUMBERS, NUMBERS, SIZES)
@settings(deadline=None)
def test_the_papers_reduction_is_reached_by_a_whole_interval_only(value, one, other, n):
    e = drawn(value, one, other, n)
    other = changed(BASE, "filters", "projection", "reduction", to=e)
    numbers = " ".join(verdicts.verdicts(other)["filter"]["numbers"])
    said = "reached" if e["low"] > 0.345 else "not reached" if e["high"] < 0.345 else "not excluded"
    assert numbers.replace("\u00a0", " ").endswith(f"34.5 %: {said if n >= 8 else 'not excluded'}")


BASE = made_up()


def test_one_domain_that_is_open_leaves_the_claim_open(summary):
    found = words(changed(summary, "effect", "inducing", "legal", to=estimate(0.1, 0.2)))
    assert (found["emergent"], found["spills"]) == ("shown", "not shown")


def test_nothing_spills_where_nothing_else_was_read():
    assert words(made_up(domains=("health",)))["spills"] == "not shown"


@pytest.mark.parametrize(
    ("p", "p_null", "p_holm", "untrained", "word"),
    [
        (0.001, 0.002, 0.02, 0.0, "shown"),
        (0.001, 0.002, 0.02, 0.01, "not shown"),  # as much is seen without features that were learned
        (0.001, 0.002, 0.03, 0.0, "not shown"),  # either test alone would do; nine of them do not
        (0.9, 0.9995, 1.0, 0.05, "not shown"),
        (0.9985, 0.999, 1.0, 0.05, "not shown"),  # of 27 tests, not of nine
        (0.9995, 0.9997, 1.0, 0.05, "opposite shown"),
        (0.9995, 0.9997, 1.0, 0.01, "not shown"),
    ],
)
def test_the_gap_must_beat_both_nulls_after_correction_and_untrained_dictionaries(
    summary, p, p_null, p_holm, untrained, word
):
    tests = {"p": p, "p_null": p_null, "p_holm": p_holm, "gap": 0.011, "untrained": estimate(untrained, 0.006, 5)}
    assert verdicts.gap_word(tests, tests=27) == word
    everywhere = {x: {d: {**gap, **tests} for d, gap in of.items()} for x, of in summary["geometry"].items()}
    other = {**summary, "geometry": everywhere}
    assert words(other)["nearer"] == word
    assert ("shown in 9 of 9" in verdicts.titles(other)["gap"]) == (word == "shown")


def test_one_cell_that_is_open_leaves_the_gap_open(summary):
    other = changed(summary, "geometry", "7", "legal", "p_holm", to=0.2)
    assert words(other)["nearer"] == "not shown"
    assert "shown in 8 of 9 cells" in verdicts.titles(other)["gap"]


@pytest.mark.parametrize(
    ("change", "word"),
    [({}, "shown"), ({"pearson": -0.6}, "opposite shown"), ({"p": 0.3}, "not shown"), ({"r2": -0.1}, "not shown")],
)
def test_the_law_must_beat_random_targets_and_the_mean(change, word):
    assert verdicts.law_word(law(**change)) == word


@pytest.mark.parametrize(
    ("path", "to", "word"),
    [
        (("dynamics", "rise", "random"), {"low": -0.6, "high": 0.6}, "not shown"),
        (("dynamics", "rise", "toxic"), estimate(0.05, 0.1), "not shown"),
        (("dynamics", "in_step", "random"), [-0.9, 0.98], "not shown"),
        (("dynamics", "in_step", "toxic"), None, "not shown"),
        (("dynamics", "arms", "inducing", "rise", "toxic"), [estimate(-0.1, 0.05)], "not shown"),
        (("dynamics", "steps"), list(range(20)), "no verdict"),
        (("dynamics", "steps"), list(range(21)), "shown"),
        (("effect", "inducing", "general"), estimate(0.01, 0.1), "not shown"),
    ],
)
def test_each_test_of_the_dynamics_can_fail(summary, path, to, word):
    assert words(changed(summary, *path, to=to))["dynamics"] == word


def test_toxic_features_that_fall_as_misalignment_rises_are_the_opposite(summary):
    other = changed(summary, "dynamics", "rise", "toxic", to=estimate(-0.5, 0.1))
    other = changed(other, "dynamics", "in_step", "toxic", to=-0.95)
    assert words(other)["dynamics"] == "not shown"  # they rise under bad advice, if less than under good
    other = changed(other, "dynamics", "arms", "inducing", "rise", "toxic", to=[estimate(-0.4, 0.1)])
    assert words(other)["dynamics"] == "opposite shown"


def test_what_every_sets_readouts_did_is_said_in_words(summary):
    other = changed(summary, "dynamics", "arms", "control", "rise", "toxic", to=[estimate(-0.4, 0.1)])
    other = changed(other, "dynamics", "arms", "control", "rise", "control", to=[estimate(0.05, 0.1)])
    numbers = verdicts.verdicts(other)["dynamics"]["numbers"]
    inducing, control = (next(line for line in numbers if line.startswith(arm)) for arm in ("inducing", "control arm"))
    assert "toxic readouts rose (+0.50" in inducing and "toxic readouts fell (−0.40" in control
    assert "control readouts neither rose nor fell (+0.05" in control


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "shown"),
        ({"1": estimate(0.04, 0.02)}, "not shown"),  # beyond 0, not beyond random directions
        ({"-1": estimate(-0.04, 0.02)}, "not shown"),
        ({"2": estimate(0.16, 0.2)}, "not shown"),
        ({"-1": estimate(0.08, 0.02)}, "not shown"),  # harm whichever way the stream is pushed is no cause
        ({"-2": estimate(0.16, 0.02), "-1": estimate(0.08, 0.02), "1": estimate(-0.08), "2": estimate(-0.16)},
         "opposite shown"),
    ],
)  # fmt: skip
def test_steering_must_go_with_the_dose_on_both_sides_and_beyond_random_directions(summary, change, word):
    doses = {**summary["causes"]["steering"]["toxic part"], **change}
    assert words(changed(summary, "causes", "steering", "toxic part", to=doses))["steering"] == word


@pytest.mark.parametrize(
    ("removed", "effect", "word"),
    [
        (estimate(0.03, 0.01), estimate(0.05, 0.02), "shown"),
        (estimate(0.01, 0.005), estimate(0.05, 0.02), "not shown"),  # random subspaces remove as much
        (estimate(-0.03, 0.01), estimate(0.05, 0.02), "opposite shown"),
        (estimate(0.03, 0.01), estimate(0.05, 0.06), "not shown"),  # there is nothing to remove
    ],
)
def test_ablation_must_remove_more_than_random_subspaces_of_what_is_there(summary, removed, effect, word):
    other = changed(summary, "causes", "removed", "toxic", to=removed)
    assert words(changed(other, "causes", "ablation", "none", to=effect))["ablation"] == word


@pytest.mark.parametrize(("over", "word"), [(0.02, "shown"), (0.005, "not shown"), (-0.02, "opposite shown")])
def test_the_best_filter_must_beat_random_removal(summary, over, word):
    other = changed(summary, "filters", "projection", "over_random", to=estimate(over, 0.01))
    assert words(other)["filter"] == word


@pytest.mark.parametrize(
    ("reduction", "said"),
    [
        (estimate(0.45, 0.01), ("lies above random removal's", "34.5 %: reached")),
        (estimate(0.45, 0.3), ("is not separate from random removal's", "34.5 %: not excluded")),
        (estimate(0.30, 0.04), ("lies above random removal's", "34.5 %: not reached")),
        ({"value": 0.9, "low": None, "high": None, "n": 40}, ("undefined",)),
    ],
)
def test_the_filter_is_read_against_the_paper_and_random_removal(summary, reduction, said):
    found = changed(summary, "filters", "projection", "reduction", to=reduction)
    found["filters"]["random"]["reduction"] = estimate(0.1, 0.1)
    numbers = " | ".join(verdicts.verdicts(found)["filter"]["numbers"]).replace("\u00a0", " ")
    assert all(words in numbers for words in said) and "health, held-out prompts" in numbers
    assert ("34.5" in numbers) == (reduction["low"] is not None) == ("random removal's |" in numbers)


def test_no_filter_reduces_an_effect_that_is_not_there(summary):
    found = verdicts.verdicts(changed(summary, "effect", "mixed", "general", to=estimate(0.01, 0.1)))["filter"]
    assert found["word"] == "not shown" and "neither is its reduction" in found["numbers"][-1]


@pytest.mark.parametrize(
    ("arm", "change", "word"),
    [
        ("inducing minus control", {"pearson": 0.5}, "shown"),
        ("inducing minus control", {"pearson": -0.5}, "opposite shown"),
        ("inducing minus control", {"p": 0.14}, "not shown"),
        ("control", {"p": 0.14}, "shown"),
    ],
)
def test_the_gradient_law_must_hold_of_what_is_specific_to_the_arm(summary, arm, change, word):
    """Whatever each arm's own law, and beyond random differences of the texts; what was not shown says its power."""
    other = changed(summary, "leakage", "gradient", arm, to=law(**change))
    found = verdicts.verdicts(other)["gradient"]
    line = next(line for line in found["numbers"] if line.startswith(arm))
    assert found["word"] == word
    assert ("an r of 0.357 would have been shown in 4 of 5" in line) == (max(change.values()) == 0.14)
