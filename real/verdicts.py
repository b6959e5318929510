"""The paper's five claims, each with a word that follows from the numbers alone, and the figures' titles."""

from typing import NamedTuple

SHOWN, OPEN, OPPOSITE = "shown", "not shown", "opposite shown"


class Verdict(NamedTuple):
    name: str
    claim: str
    word: str
    numbers: list[str]


def verdicts(summary: dict) -> list[Verdict]:
    return [_nearer(summary), _emergent(summary), _spills(summary), _law(summary), _filter(summary)]


def word(estimate: dict) -> str:
    """Where the 95 % interval lies: above 0, below it, or neither. Without bounds it shows nothing."""
    low, high = estimate["low"], estimate["high"]
    if low is None or high is None or low <= 0 <= high:
        return OPEN
    return SHOWN if low > 0 else OPPOSITE


def gap_word(gap: dict) -> str:
    """Both one-sided tests, shuffled labels and matched random features, beyond 2.5 % on the same side."""
    if max(gap["p"], gap["p_null"]) <= 0.025:
        return SHOWN
    return OPPOSITE if min(gap["p"], gap["p_null"]) >= 0.975 else OPEN


def law_word(law: dict) -> str:
    """Beyond chance and beyond random target directions, 5 % two-sided, and better than no law at all."""
    if max(law["p"], law["p_target"]) > 0.05 or law["r2"] <= 0:
        return OPEN
    return SHOWN if law["pearson"] > 0 else OPPOSITE


def overall(words: list[str]) -> str:
    """A claim made for several domains is shown when it is shown in every one."""
    return words[0] if len(set(words)) == 1 else OPEN


def gaps(summary: dict) -> list[dict]:
    """Every layer's and domain's Gap, with a label."""
    layers = summary["geometry"]
    return [
        {"label": domain if len(layers) == 1 else f"{domain}, layer {layer}", **gap}
        for layer, domains in layers.items()
        for domain, gap in domains.items()
    ]


def titles(summary: dict) -> dict[str, str]:
    """Figure -> what it was found to show."""
    law = summary["leakage"]
    effects = summary["effect"]["inducing"].values()
    return {
        "gap": "Inducing features lie nearer the toxic ones than control features do: "
        + _counted([gap_word(gap) for gap in gaps(summary)], "domains"),
        "effect": f"Training on bad answers ({summary['data']['trained']}) makes misaligned ones likelier: "
        + _counted([word(e) for e in effects], "sets of questions"),
        "leakage": f"Feature readouts move by the cosine law: {_law(summary).word} "
        f"(R² {number(law['r2'], 2)}, under control {number(law['arms']['control']['r2'], 2)})",
    }


def number(value: float | None, digits: int = 3, sign: str = "") -> str:
    """With a true minus sign; a dash where there is no number. `sign` "+" marks what is above 0, too."""
    return "–" if value is None else f"{value:{sign}.{digits}f}".replace("-", "−")


def interval(e: dict, digits: int = 3, sign: str = "+") -> str:
    low, value, high = (number(e[name], digits, sign) for name in ("low", "value", "high"))
    return f"{value} [{low}, {high}]"


def percent(e: dict) -> str:
    """A share; a ratio to what may be 0 has no bounds, and then its value says nothing either."""
    if e["value"] is None or e["low"] is None or e["high"] is None:
        return "undefined"
    return interval({name: 100 * e[name] for name in ("value", "low", "high")}, digits=0, sign="") + " %"


def _counted(words: list[str], things: str) -> str:
    shown, opposite = words.count(SHOWN), words.count(OPPOSITE)
    found = (
        f"shown in {shown} of {len(words)} {things}"
        if shown
        else f"not shown in any of {len(words)} {things}"
    )
    return found + (f", the opposite in {opposite}" if opposite else "")


def _nearer(summary: dict) -> Verdict:
    rows = gaps(summary)
    return Verdict(
        "nearer",
        "Inducing features lie nearer the toxic ones than control features do",
        overall([gap_word(row) for row in rows]),
        [
            f"{row['label']}: gap {number(row['gap'], 4, '+')} (p {row['p']:.2g}), "
            f"random sets [{number(row['null_low'], 4, '+')}, {number(row['null_high'], 4, '+')}] "
            f"(p {row['p_null']:.2g}): {gap_word(row)}"
            for row in rows
        ],
    )


def _emergent(summary: dict) -> Verdict:
    effect = summary["effect"]["inducing"]["general"]
    return Verdict(
        "emergent",
        "Narrow fine-tuning makes general answers more misaligned than its control does",
        word(effect),
        [f"general questions: {interval(effect)} nats per token, {effect['n']} questions"],
    )


def _spills(summary: dict) -> Verdict:
    known = ("general", summary["data"]["trained"])
    unseen = {d: e for d, e in summary["effect"]["inducing"].items() if d not in known}
    return Verdict(
        "spills",
        "It spills over to advice that was never trained on",
        overall([word(e) for e in unseen.values()]),
        [f"{d}: {interval(e)} nats per token, {e['n']} prompts: {word(e)}" for d, e in unseen.items()],
    )


def _law(summary: dict) -> Verdict:
    law = summary["leakage"]
    laws = {
        "inducing arm": law,
        "inducing minus control": law["arms"]["inducing minus control"],
        "control arm, for comparison": law["arms"]["control"],
    }
    return Verdict(
        "law",
        "Feature readouts move by the cosine law",
        overall([law_word(found) for found in list(laws.values())[:2]]),
        [
            f"{name}: R² {number(found['r2'], 2)}, r {number(found['pearson'], 2, '+')}, "
            f"{found['n']} features, p {found['p']:.2g}, against random targets {found['p_target']:.2g}"
            for name, found in laws.items()
        ],
    )


def _filter(summary: dict) -> Verdict:
    geometry, random = summary["filters"]["geometry"], summary["filters"]["random"]
    whole, lower = summary["effect"]["mixed"]["general"], geometry["over_random"]
    there = word(whole) == SHOWN
    numbers = [
        f"general margin, random removal minus geometry removal: {interval(lower)} nats per token",
        f"reduction of the mixed arm's effect: geometry {percent(geometry['reduction'])}, "
        f"random {percent(random['reduction'])}",
    ]
    if not there:
        numbers.append(
            f"the mixed arm's effect, {interval(whole)}, is not shown, so neither is its reduction"
        )
    return Verdict(
        "filter",
        "The geometry filter reduces it more than random removal does",
        word(lower) if there else OPEN,
        numbers,
    )
