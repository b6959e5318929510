"""How a word follows from an interval or a test."""

from shared.stats import FEWEST

SHOWN, OPEN, OPPOSITE = "shown", "not shown", "opposite shown"
NONE = "no verdict"  # the run was not made to tell
SIDE = 0.025  # level of a one-sided test: what a 95 % interval leaves out on either side


def word(estimate: dict) -> str:
    """Where the 95 % interval lies: above 0, below it, or neither. Without bounds it shows nothing."""
    return above(estimate, within(0.0))


def above(one: dict, other: dict) -> str:
    """Whether all between one's `low` and `high` lies above (or all below) what lies between the other's."""
    if few(one) or few(other) or None in (one["low"], one["high"], other["low"], other["high"]):
        return OPEN
    if one["low"] > other["high"]:
        return SHOWN
    return OPPOSITE if one["high"] < other["low"] else OPEN


def within(value: float | None) -> dict:
    """The range of one number, if it is one."""
    return {"low": value, "high": value}


def few(estimate: dict) -> bool:
    """A bootstrap of two questions is no interval: all its draws lie between the two."""
    return estimate.get("n", FEWEST) < FEWEST


def gap_word(gap: dict, tests: int) -> str:
    """Both one-sided tests (labels flipped, random sets) beyond 2.5 % after correction for all `tests`, and the gap
    outside of where 95 % of untrained dictionaries' gaps lie: what these show too, features learned did not bring.

    `p_holm` tests the claim's side only; the other side is corrected by Bonferroni's stricter rule.
    """
    opposite = tests * (1 - min(gap["p"], gap["p_null"])) <= SIDE
    tested = SHOWN if gap["p_holm"] <= SIDE else OPPOSITE if opposite else OPEN
    untrained = {**gap["untrained"], "n": FEWEST}  # their interval is Student's, which knows how few they are
    return overall([tested, above(within(gap["gap"]), untrained)])


def law_word(law: dict) -> str:
    """Beyond random targets, 5 % two-sided, and better than no law at all."""
    if law["p"] > 2 * SIDE or law["r2"] <= 0:
        return OPEN
    return SHOWN if law["pearson"] > 0 else OPPOSITE


def overall(words: list[str]) -> str:
    """What needs several tests is shown when every one shows it. No test shows nothing."""
    return words[0] if len(set(words)) == 1 else OPEN
