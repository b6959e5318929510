"""The claims, each with a word that follows from the numbers alone."""

from typing import NamedTuple

from real.report.rules import (
    NONE,
    OPEN,
    OPPOSITE,
    SHOWN,
    SIDE,
    above,
    beyond,
    counted,
    law_word,
    measured,
    mirrored,
    overall,
    power,
    ranged,
    within,
    word,
)
from real.report.text import bounds, chance, interval, number, percent, share

CHECKPOINTS = 20  # that a test of what goes in step takes
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
    """E1 with its own g, the loss gradient before training at the block: of what the arms do not share."""
    laws = summary["leakage"]["gradient"]
    return law_word(laws["inducing minus control"]), _laws(laws)


def _laws(laws: dict[str, dict]) -> list[str]:
    return [
        f"{name}: R² {number(found['r2'], 2)}, r {number(found['pearson'], 2, '+')}, "
        f"{found['n']} features, p {chance(found['p'])}; against random differences of the texts "
        f"p {chance(found['p_target'])}, 5 % of which reach {number(found['r_target'], 2)}"
        + (f" ({power('an r', 2 * found['r_target'])})" if found["r_target"] and law_word(found) == OPEN else "")
        for name, found in laws.items()
    ]


def _dynamics(summary: dict) -> Found:
    """Needs misalignment, a rise, above control's and beyond random sets', and r beyond random sets'."""
    found, there = summary["dynamics"], summary["effect"]["inducing"]["general"]
    rise, r, steps, arms = found["rise"], found["in_step"]["toxic"], found["steps"][1:], found["arms"]
    in_step = dict(zip(("low", "high"), found["in_step"]["random"], strict=True))
    tests = {
        "a rise": word(arms["inducing"]["rise"]["toxic"][-1]),
        "more than under control": word(rise["toxic"]),
        "more than random sets": above(rise["toxic"], rise["random"]),
        "in step": above({"low": r, "high": r}, in_step),
    }
    said = overall(list(tests.values())) if word(there) == SHOWN else OPEN
    few = [f"{len(steps)} checkpoints are too few for a test, which takes {CHECKPOINTS}: no verdict"]
    return said if len(steps) >= CHECKPOINTS else NONE, [
        *([] if len(steps) >= CHECKPOINTS else few),
        *(f"{arm} arm, step {steps[-1]}: " + _rises(course["rise"]) for arm, course in arms.items()),
        f"rise of toxic readouts, inducing minus control arm: {measured(rise['toxic'], 'probes', 'activation units')}; "
        f"random sets {bounds(rise['random'])}",
        f"from each of {len(steps)} checkpoints to the next, gains go with the effect's with r {number(r, 2, '+')}; "
        f"random sets {bounds(in_step, 2)}, control features {number(found['in_step']['control'], 2, '+')}",
        "; ".join(f"{name}: {said}" for name, said in tests.items()),
        *_absent("the inducing arm's effect", there, "nothing rises in step with it"),
    ]


def _rises(sets: dict[str, list[dict]]) -> str:
    """What the readouts of every set did by the last step, in words."""
    words = {SHOWN: "rose", OPPOSITE: "fell", OPEN: "neither rose nor fell"}
    lasts = {name: course[-1] for name, course in sets.items()}
    return ", ".join(f"{name} readouts {words[word(e)]} ({ranged(e, 2)})" for name, e in lasts.items())


def _steering(summary: dict) -> Found:
    causes = summary["causes"]
    steering, random, shares = causes["steering"], causes["steering_random"], causes["share_random"]
    words = {part: _steered(doses, random) for part, doses in steering.items()}
    numbers = [
        f"{part}: "
        + ", ".join(f"{ranged(e)} at dose {number(float(dose), 0)}" for dose, e in steering[part].items())
        + f" (nats per token): {said}"
        for part, said in words.items()
    ]
    return words["toxic part"], [
        f"toxic part at dose 1: {measured(steering['toxic part']['1'])}",
        *numbers,
        f"{random['n']} random directions at dose 1 or −1: {bounds(random)}",
        f"the toxic part holds {number(causes['share_toxic'], 2)} of the direction's squared length; "
        f"random sets' spans hold {number(shares['low'], 2)} to {number(shares['high'], 2)}",
    ]


def _steered(doses: dict[str, dict], random: dict) -> str:
    """At every dose beyond 0, and at the smallest beyond random directions: up where added, down where taken away."""
    words = []
    for dose, e in doses.items():
        one, *others = [e, within(0.0), *([random] if abs(float(dose)) == 1 else [])]
        if float(dose) < 0:
            one, *others = map(mirrored, [one, *others])
        words += [above(one, other) for other in others]
    return overall(words)


def _ablation(summary: dict) -> Found:
    effect, removed = summary["causes"]["ablation"], summary["causes"]["removed"]
    there = word(effect["none"]) == SHOWN
    return beyond(removed["toxic"], removed["random"]) if there else OPEN, [
        f"effect as trained: {ranged(effect['none'])} nats per token; with the shift in the toxic span set back "
        f"{ranged(effect['toxic'])}, doubled {ranged(effect['doubled'])}, with all of the shift set back "
        f"{ranged(effect['whole'])}",
        f"removed by setting back the toxic span: {measured(removed['toxic'])}; by {removed['random']['n']} random "
        f"spans of the same dimension: {bounds(removed['random'])}; by doubling it: {ranged(removed['doubled'])}",
        f"the most that can be removed at this block, by all of the shift: {measured(removed['whole'])}",
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
    return [] if word(effect) == SHOWN else [f"{what}, {ranged(effect)}, is not shown, so {so}"]


CLAIMS = (  # the step that each waits for, its name, and what it says
    ("geometry", "nearer", "Inducing features lie nearer the toxic ones than control features do", _nearer),
    ("evaluate", "emergent", "Narrow fine-tuning makes general answers more misaligned than its control does",
     _emergent),
    ("evaluate", "spills", "It spills over to advice that was never trained on", _spills),
    ("leakage", "law", "Feature readouts move by their cosine to the inducing features", _law),
    ("leakage", "gradient", "What differs between the arms moves readouts by their cosine to the loss gradient (E1)",
     _gradient),
    ("leakage", "dynamics", "Toxic features rise in step with misalignment", _dynamics),
    ("causes", "steering", "The toxic part of the inducing direction causes misalignment", _steering),
    ("causes", "ablation", "Without its toxic directions the fine-tuned model is less misaligned", _ablation),
    ("evaluate", "filter", "The best filter ({best_filter[name]}) reduces the effect more than random removal does",
     _filter),
)  # fmt: skip
