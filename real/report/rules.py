"""How a word follows from an interval or a test, and what a run that shows nothing could have shown."""

from real.report.text import interval, number
from shared.stats import FEWEST

SHOWN, OPEN, OPPOSITE = "shown", "not shown", "opposite shown"
NONE = "no verdict"  # the run was not made to tell
SIDE = 0.025  # level of a one-sided test: what a 95 % interval leaves out on either side
POWER = 2.8  # standard errors: an effect of that size is shown with probability .8
WIDTH = 3.92  # standard errors of a 95 % interval


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


def beyond(estimate: dict, random: dict) -> str:
    """The whole interval beyond 0 and, on the same side, beyond everything that random directions did."""
    return overall([word(estimate), above(estimate, random)])


def mirrored(estimate: dict) -> dict:
    """As seen from the other side of 0."""
    low, high = (None if estimate[end] is None else -estimate[end] for end in ("high", "low"))
    return {**estimate, "low": low, "high": high}


def within(value: float) -> dict:
    """The range of one number."""
    return {"low": value, "high": value}


def few(estimate: dict) -> bool:
    """A bootstrap of two questions is no interval: all its draws lie between the two."""
    return estimate.get("n", FEWEST) < FEWEST


def ranged(estimate: dict, digits: int = 3) -> str:
    """With its interval, where that is one."""
    return number(estimate["value"], digits, "+") if few(estimate) else interval(estimate, digits)


def measured(estimate: dict, things: str = "questions", unit: str = "nats per token") -> str:
    """With its interval; where that shows nothing, with the effect that four of five such runs would have shown."""
    if few(estimate):
        return f"{ranged(estimate)} {unit}, too few {things} for an interval"
    said = f"{interval(estimate)} {unit}"
    if None in (estimate["low"], estimate["high"]) or word(estimate) != OPEN:
        return said
    return f"{said} ({power('an effect', estimate['high'] - estimate['low'])})"


def power(what: str, width: float) -> str:
    """The least that a run would show with probability .8, where chance alone has this 95 % range."""
    return f"{what} of {number(POWER / WIDTH * width)} would have been shown in 4 of 5 such runs"


def law_word(law: dict) -> str:
    """Beyond chance and beyond random targets, 5 % two-sided, and better than no law at all."""
    if None in (law["p"], law["p_target"], law["r2"], law["pearson"]):
        return OPEN
    if max(law["p"], law["p_target"]) > 2 * SIDE or law["r2"] <= 0:
        return OPEN
    return SHOWN if law["pearson"] > 0 else OPPOSITE


def overall(words: list[str]) -> str:
    """What needs several tests is shown when every one shows it. No test shows nothing."""
    return words[0] if len(set(words)) == 1 else OPEN


def counted(words: list[str], things: str) -> str:
    shown, opposite = words.count(SHOWN), words.count(OPPOSITE)
    found = f"shown in {shown}" if shown else "not shown in any"
    return f"{found} of {len(words)} {things}" + (f", the opposite in {opposite}" if opposite else "")
