"""The claims, each with a word that follows from the numbers alone."""

from typing import NamedTuple

from real.report.rules import (
    OPEN,
    OPPOSITE,
    SHOWN,
    SIDE,
    above,
    beyond,
    counted,
    law_word,
    measured,
    overall,
    within,
    word,
)
from real.report.text import bounds, chance, interval, number, percent, share

PAPER = 0.345  # the best filter's reduction in Minegishi et al. 2026

Found = tuple[str, list[str]]  # a claim's word and the numbers that it follows from


class Verdict(NamedTuple):
    name: str
    claim: str
    word: str
    numbers: list[str]


def verdicts(summary: dict) -> list[Verdict]:
    """Every claim whose step has run."""
    return [
        Verdict(name, claim.format_map(summary), *found(summary))
        for step, name, claim, found in CLAIMS
        if step in summary["seconds"]
    ]


def cells(summary: dict) -> list[dict]:
    """The Gap of every layer and domain at the main k, with its `layer`, `domain` and `word`."""
    rows = [
        {"layer": layer, "domain": domain, **gap}
        for layer, domains in summary["geometry"].items()
        for domain, gap in domains.items()
    ]
    return [{**row, "word": gap_word(row, len(rows))} for row in rows]


def gap_word(gap: dict, cells: int) -> str:
    """Both one-sided tests (labels flipped, random sets) beyond 2.5 % after correction for all the cells, and the gap
    outside of where 95 % of untrained dictionaries' gaps lie: what these show too, features learned did not bring.

    `p_holm` tests the claim's side only; the other side is corrected by Bonferroni's stricter rule.
    """
    if None in (gap["p"], gap["p_null"], gap["p_holm"]):
        return OPEN
    others = {end: gap["untrained"][end] for end in ("low", "high")}  # Student's, which knows how few they are
    beyond_untrained = above(within(gap["gap"]), others)
    if gap["p_holm"] <= SIDE:
        return SHOWN if beyond_untrained == SHOWN else OPEN
    opposite = cells * (1 - min(gap["p"], gap["p_null"])) <= SIDE
    return OPPOSITE if opposite and beyond_untrained == OPPOSITE else OPEN


def _nearer(summary: dict) -> Found:
    rows, main, k = cells(summary), str(summary["layer"]), summary["settings"]["top_k"]
    words = [row["word"] for row in rows]
    by_k = [gap["gap"] for row in rows for gap in row["by_k"].values()]
    numbers = [
        f"{row['domain']}, block {main}: gap {number(row['gap'], 4, '+')} (p {chance(row['p'])}), random sets "
        f"[{number(row['null_low'], 4, '+')}, {number(row['null_high'], 4, '+')}] "
        f"(p {chance(row['p_null'])}); corrected p {chance(row['p_holm'])}; "
        f"untrained dictionaries {interval(row['untrained'], 4)}: {row['word']}"
        for row in rows
        if row["layer"] == main
    ]
    numbers += [
        f"all cells (block × domain), k = {k}: gap > 0 in {_positive([row['gap'] for row in rows])}, "
        + counted(words, "by both tests, Holm-corrected, and beyond untrained dictionaries"),
        f"every k, block and domain: gap > 0 in {_positive(by_k)} cells",
    ]
    return overall(words), numbers


def _positive(values: list[float | None]) -> str:
    return f"{sum(v is not None and v > 0 for v in values)} of {len(values)}"


def _emergent(summary: dict) -> Found:
    effect = summary["effect"]["inducing"]["general"]
    alike = summary["tone"]["domains"]["general"]["arms"]["inducing"]["adjusted"]
    return word(effect), [
        f"general questions: {measured(effect)}, {effect['n']} questions",
        f"were both answers alike in words, surprisal and length: {measured(alike)}: {word(alike)}",
    ]


def _spills(summary: dict) -> Found:
    known = ("general", summary["data"]["trained"])
    words = {d: (e, word(e)) for d, e in summary["effect"]["inducing"].items() if d not in known}
    numbers = [f"{d}: {measured(e, 'prompts')}, {e['n']} prompts: {said}" for d, (e, said) in words.items()]
    return overall([said for _, said in words.values()]), numbers


def _law(summary: dict) -> Found:
    law, both = summary["leakage"], "inducing minus control"
    laws = {"inducing arm": law, **{name: law["arms"][name] for name in (both, "control")}}
    return overall([law_word(law), law_word(law["arms"][both])]), _laws(laws)


def _gradient(summary: dict) -> Found:
    """E1 with its own g: each arm's loss gradient before training, read at the block."""
    laws = summary["leakage"]["gradient"]
    return overall([law_word(laws[arm]) for arm in ("inducing", "control")]), _laws(laws)


def _laws(laws: dict[str, dict]) -> list[str]:
    return [
        f"{name}: R² {number(found['r2'], 2)}, r {number(found['pearson'], 2, '+')}, "
        f"{found['n']} features, p {chance(found['p'])}, against random targets {chance(found['p_target'])}"
        for name, found in laws.items()
    ]


def _dynamics(summary: dict) -> Found:
    """Needs misalignment, a rise above control's and beyond random sets', and r beyond random sets'."""
    found, there = summary["dynamics"], summary["effect"]["inducing"]["general"]
    rise, r = found["rise"], found["in_step"]["toxic"]
    in_step = dict(zip(("low", "high"), found["in_step"]["random"], strict=True))
    tests = {
        "more than under control": word(rise["toxic"]),
        "more than random sets": above(rise["toxic"], rise["random"]),
        "in step": above({"low": r, "high": r}, in_step),
    }
    return overall(list(tests.values())) if word(there) == SHOWN else OPEN, [
        f"rise of toxic readouts by step {found['steps'][-1]}, inducing minus control arm: "
        f"{interval(rise['toxic'])} activation units; random sets {bounds(rise['random'])}",
        f"over {len(found['steps'])} checkpoints it follows the effect with r {number(r, 2, '+')}; "
        f"random sets {bounds(in_step, 2)}, control features {number(found['in_step']['control'], 2, '+')}",
        "; ".join(f"{name}: {said}" for name, said in tests.items()),
        *_absent("the inducing arm's effect", there, "nothing rises in step with it"),
    ]


def _steering(summary: dict) -> Found:
    causes = summary["causes"]
    steering, random, shares = causes["steering"], causes["steering_random"], causes["share_random"]
    words = {
        part: overall([beyond(e, random[dose]) for dose, e in steering[part].items()])
        for part in ("toxic part", "rest", "inducing", "control")
    }
    numbers = [
        f"{part}: "
        + ", ".join(f"{interval(e)} at dose {dose}" for dose, e in steering[part].items())
        + f" (nats per token): {said}"
        for part, said in words.items()
    ]
    by_chance = ", ".join(f"{bounds(e)} at dose {dose} ({e['n']})" for dose, e in random.items())
    return words["toxic part"], [
        *numbers,
        f"random directions: {by_chance}",
        f"the toxic part holds {number(causes['share_toxic'], 2)} of the direction's squared length; "
        f"random sets' spans hold {number(shares['low'], 2)} to {number(shares['high'], 2)}",
    ]


def _ablation(summary: dict) -> Found:
    effect, removed = summary["causes"]["ablation"], summary["causes"]["removed"]
    there = word(effect["none"]) == SHOWN
    return beyond(removed["toxic"], removed["random"]) if there else OPEN, [
        f"effect as trained: {interval(effect['none'])} nats per token; "
        f"with the toxic directions set back: {interval(effect['toxic'])}",
        f"removed by it: {measured(removed['toxic'])}; by {removed['random']['n']} random subspaces of the "
        f"same dimension: {bounds(removed['random'])}",
        *_absent("the effect as trained", effect["none"], "nothing can be removed from it"),
    ]


def _filter(summary: dict) -> Found:
    best, filters = summary["best_filter"], summary["filters"]
    found, random = filters[best["name"]], filters["random"]
    whole, reduction = summary["effect"]["mixed"]["general"], found["reduction"]
    reached = {SHOWN: "reached", OPEN: "not excluded", OPPOSITE: "not reached"}
    apart = {SHOWN: "lies above", OPEN: "is not separate from", OPPOSITE: "lies below"}
    return word(found["over_random"]) if word(whole) == SHOWN else OPEN, [
        f"{best['name']} was chosen on {best['chosen_on']}; it removes "
        f"{share(summary['settings']['removed'][0])} of the mixed set",
        f"general margin, random removal minus {best['name']}'s: {measured(found['over_random'])}",
        f"reduction of the mixed arm's effect: {percent(reduction)}, random {percent(random['reduction'])}; "
        f"its interval {apart[above(reduction, random['reduction'])]} random removal's",
        f"the paper's {share(PAPER)}: {reached[above(reduction, within(PAPER))]}",
        *_absent("the mixed arm's effect", whole, "neither is its reduction"),
    ]


def _absent(what: str, effect: dict, so: str) -> list[str]:
    """A note where the effect that a claim is about was not shown itself."""
    return [] if word(effect) == SHOWN else [f"{what}, {interval(effect)}, is not shown, so {so}"]


CLAIMS = (  # the step that each waits for, its name, and what it says
    ("geometry", "nearer", "Inducing features lie nearer the toxic ones than control features do", _nearer),
    ("evaluate", "emergent", "Narrow fine-tuning makes general answers more misaligned than its control does",
     _emergent),
    ("evaluate", "spills", "It spills over to advice that was never trained on", _spills),
    ("leakage", "law", "Feature readouts move by their cosine to the inducing features", _law),
    ("leakage", "gradient", "Feature readouts move by their cosine to the loss gradient (E1)", _gradient),
    ("leakage", "dynamics", "Toxic features rise in step with misalignment", _dynamics),
    ("causes", "steering", "The toxic part of the inducing direction causes misalignment", _steering),
    ("causes", "ablation", "Without its toxic directions the fine-tuned model is less misaligned", _ablation),
    ("evaluate", "filter", "The best filter ({best_filter[name]}) reduces the effect more than random removal does",
     _filter),
)  # fmt: skip
