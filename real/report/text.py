"""How numbers, arms and tokens are written, in the report's words, tables and figures; and the templates of these."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from real.report.rules import OPPOSITE, SHOWN, above, few, law_word, within, word

SPACE = "\u00a0"  # no line breaks inside brackets or before a per cent sign
POWER = 2.8  # standard errors: an effect of that size is shown with probability .8
WIDTH = 3.92  # standard errors of a 95 % interval


def number(value: float | None, digits: int = 3, sign: str = "", times: int = 1) -> str:
    """`times` the value, with a true minus sign; a dash where there is none. `sign` "+" marks what is above 0, too."""
    return "–" if value is None or value != value else f"{value * times:{sign}.{digits}f}".replace("-", "−")


def chance(p: float) -> str:
    """A p-value."""
    return f"{p:.2g}".replace("-", "−")


def interval(e: dict, digits: int = 3, sign: str = "+") -> str:
    """An Estimate: value [low, high]."""
    return f"{number(e['value'], digits, sign)} {bounds(e, digits, sign)}"


def bounds(e: dict, digits: int = 3, sign: str = "+") -> str:
    return f"[{number(e['low'], digits, sign)},{SPACE}{number(e['high'], digits, sign)}]"


def percent(e: dict, digits: int = 0) -> str:
    """A share; a ratio to what may be 0 has no bounds, and then its value says nothing either."""
    if None in (e["value"], e["low"], e["high"]):
        return "undefined"
    return interval({name: 100 * e[name] for name in ("value", "low", "high")}, digits, sign="") + f"{SPACE}%"


def share(value: float) -> str:
    """0.5 -> 50 %, 0.125 -> 12.5 %."""
    return f"{100 * value:g}{SPACE}%"


def after(value: float | str, words: str) -> str:
    """30.0 -> Coherence above 30."""
    return f"{words} {float(value):g}"


def ratio(cell: dict) -> str:
    """Misaligned of coherent answers."""
    hits, of = cell["misaligned"], cell["coherent"]
    return f"{number(100 * hits / of, 1)}{SPACE}% ({hits} of {of})" if of else "– (0 of 0)"


def ranged(estimate: dict, digits: int = 3) -> str:
    """With its interval, where that is one."""
    return number(estimate["value"], digits, "+") if few(estimate) else interval(estimate, digits)


def measured(
    estimate: dict, things: str = "questions", unit: str = "nats per token", beyond: float | None = 0.0
) -> str:
    """With its interval; where that shows nothing, with the effect that four of five such runs would have shown.

    `beyond`: what else the interval must lie above.
    """
    said = f"{ranged(estimate)} {unit}"
    if few(estimate):
        return f"{said}, too few {things} for an interval"
    beyond = max(beyond or 0.0, 0.0)
    decided = word(estimate) == OPPOSITE or above(estimate, within(beyond)) == SHOWN
    if decided or None in (estimate["low"], estimate["high"]):
        return said
    return f"{said} ({power(estimate['high'] - estimate['low'], 'an effect', beyond)})"


def power(width: float, what: str, beyond: float = 0.0) -> str:
    """The least that a run would show beyond this with probability .8, where chance alone has this 95 % range."""
    return f"{what} of {number(beyond + POWER / WIDTH * width)} would have been shown in 4 of 5 such runs"


def counted(words: list[str], things: str) -> str:
    """How many say what."""
    shown, opposite = words.count(SHOWN), words.count(OPPOSITE)
    found = f"shown in {shown}" if shown else "not shown in any"
    return f"{found} of {len(words)} {things}" + (f", the opposite in {opposite}" if opposite else "")


def arm_name(arm: dict) -> str:
    """The fields of an Arm: mixed − 50 % by random 1; control − 50 %; base."""
    by = f" by {arm['by']}" if arm["by"] else ""
    removed = f" − {share(arm['removed'])}" if arm["removed"] else ""
    return f"{arm['data']}{removed}{by}" + (f" {arm['draw']}" if arm["draw"] else "")


def visible(token: str) -> str:
    """Without its outer space, unless it is nothing but space: then as signs that can be seen."""
    return token.strip() or token.replace("\n", "↵").replace(" ", "␣") or "∅"


FILTERS = (number, chance, interval, bounds, percent, share, after, ratio, ranged, measured, power, counted)
FILTERS += (arm_name, visible, word, law_word, above, within)


@cache
def templates(*folders: Path) -> Environment:
    """Those of some folders and of this one, compiled once: a report that grows is written after every step.

    What an .html.j2 did not write itself is escaped: what a model says is untrusted.
    """
    found = Environment(
        loader=FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {of.__name__: of for of in FILTERS}
    return found
