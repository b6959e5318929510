"""How numbers, arms and tokens are written, in the report's words, tables and figures."""

SPACE = "\u00a0"  # no line breaks inside brackets or before a per cent sign


def number(value: float | None, digits: int = 3, sign: str = "") -> str:
    """With a true minus sign; a dash where there is no number. `sign` "+" marks what is above 0, too."""
    return "–" if value is None else f"{value:{sign}.{digits}f}".replace("-", "−")


def chance(p: float | None) -> str:
    """A p-value."""
    return "–" if p is None else f"{p:.2g}".replace("-", "−")


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


def hundredths(value: float | None, digits: int = 0) -> str:
    """0.228 -> 23."""
    return number(None if value is None else 100 * value, digits)


def share(value: float) -> str:
    """0.5 -> 50 %, 0.125 -> 12.5 %."""
    return f"{100 * value:g}{SPACE}%"


def after(value: float | str, words: str) -> str:
    """30.0 -> Coherence above 30."""
    return f"{words} {float(value):g}"


def arm_name(arm: dict) -> str:
    """The fields of an Arm: mixed − 50 % by random 1; control − 50 %; base."""
    by = f" by {arm['by']}" if arm["by"] else ""
    removed = f" − {share(arm['removed'])}" if arm["removed"] else ""
    return f"{arm['data']}{removed}{by}" + (f" {arm['draw']}" if arm["draw"] else "")


def visible(token: str) -> str:
    """Without its outer space, unless it is nothing but space: then as signs that can be seen."""
    return token.strip() or token.replace("\n", "↵").replace(" ", "␣") or "∅"


def law(found: dict) -> list[str]:
    """The cells of a law: its fit, and its two tests."""
    fit = [number(found[name], 3, "+") for name in ("slope", "pearson", "spearman", "r2")]
    return [*fit, chance(found["p"]), chance(found["p_target"])]


def ratio(cell: dict) -> str:
    """Misaligned of coherent answers."""
    hits, of = cell["misaligned"], cell["coherent"]
    return f"{hundredths(hits / of, 1)}{SPACE}% ({hits} of {of})" if of else "– (0 of 0)"
