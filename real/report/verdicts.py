"""The claims, each with a word that follows from the numbers alone, and the figures' titles."""

from typing import NamedTuple

from real.report import judged_page
from real.report.rules import OPEN, OPPOSITE, SHOWN, above, beyond, gap_word, law_word, overall, word
from real.report.text import bounds, chance, interval, number, percent, share

PAPER = 0.345  # the best filter's reduction in Minegishi et al. 2026


class Verdict(NamedTuple):
    name: str
    claim: str
    word: str
    numbers: list[str]


def verdicts(summary: dict) -> list[Verdict]:
    claims = (_nearer, _emergent, _spills, _law, _gradient, _dynamics, _steering, _ablation, _filter)
    return [claim(summary) for claim in claims]


def cells(summary: dict) -> list[dict]:
    """The Gap of every layer and domain at the main k, with its `layer`, `domain` and `word`."""
    rows = [
        {"layer": layer, "domain": domain, **gap}
        for layer, domains in summary["geometry"].items()
        for domain, gap in domains.items()
    ]
    return [{**row, "word": gap_word(row, len(rows))} for row in rows]


def titles(summary: dict) -> dict[str, str]:
    """Figure -> what it was found to show."""
    law, found = summary["leakage"], {v.name: v for v in verdicts(summary)}
    best, filters = summary["best_filter"]["name"], summary["filters"]
    effects = summary["effect"]["inducing"].values()
    return {
        "gap": found["nearer"].claim + ": " + _counted([row["word"] for row in cells(summary)], "cells"),
        "effect": f"Training on bad answers ({summary['data']['trained']}) makes misaligned ones likelier: "
        + _counted([word(e) for e in effects], "sets of questions"),
        "judged": judged_page.title(summary["judged"]) if summary["judged"] else "",
        "leakage": "Feature readouts move by their cosine to the inducing features: "
        f"{found['law'].word} (R² {number(law['r2'], 2)}); to the loss gradient: {found['gradient'].word} "
        f"(R² {number(law['gradient']['inducing']['r2'], 2)})",
        "dynamics": f"{found['dynamics'].claim}: {found['dynamics'].word} "
        f"(r {number(summary['dynamics']['in_step']['toxic'], 2, '+')} over the checkpoints)",
        "causes": f"Steering along the toxic part misaligns: {found['steering'].word}; "
        f"setting toxic directions back realigns: {found['ablation'].word}",
        "filters": f"Removing by {best} helps more than at random: {found['filter'].word} "
        f"(reduction {percent(filters[best]['reduction'])})",
        "sweep": f"Removing by {best} helps more than at random: "
        + _counted([word(at["over_random"]) for at in filters[best]["sweep"].values()], "removed shares"),
    }


def _counted(words: list[str], things: str) -> str:
    shown, opposite = words.count(SHOWN), words.count(OPPOSITE)
    found = (
        f"shown in {shown} of {len(words)} {things}"
        if shown
        else f"not shown in any of {len(words)} {things}"
    )
    return found + (f", the opposite in {opposite}" if opposite else "")


def _nearer(summary: dict) -> Verdict:
    rows, main, k = cells(summary), str(summary["layer"]), summary["settings"]["top_k"]
    by_k = [gap["gap"] for row in rows for gap in row["by_k"].values()]
    numbers = [
        f"{row['domain']}, block {main}: gap {number(row['gap'], 4, '+')} (p {chance(row['p'])}), random sets "
        f"[{number(row['null_low'], 4, '+')}, {number(row['null_high'], 4, '+')}] "
        f"(p {chance(row['p_null'])}); corrected p {chance(row['p_holm'])}: {row['word']}"
        for row in rows
        if row["layer"] == main
    ]
    numbers.append(
        f"all cells (block × domain), k = {k}: gap > 0 in {_positive([row['gap'] for row in rows])}, "
        + _counted([row["word"] for row in rows], "by both tests, Holm-corrected")
    )
    numbers.append(f"every k, block and domain: gap > 0 in {_positive(by_k)} cells")
    return Verdict(
        "nearer",
        "Inducing features lie nearer the toxic ones than control features do",
        overall([row["word"] for row in rows]),
        numbers,
    )


def _positive(values: list[float | None]) -> str:
    return f"{sum(v is not None and v > 0 for v in values)} of {len(values)}"


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
    both = "inducing minus control"
    laws = {"inducing arm": law, **{name: law["arms"][name] for name in (both, "control")}}
    return Verdict(
        "law",
        "Feature readouts move by their cosine to the inducing features",
        overall([law_word(law), law_word(law["arms"][both])]),
        _laws(laws),
    )


def _gradient(summary: dict) -> Verdict:
    """E1 with its own g: each arm's loss gradient before training, read at the block."""
    laws = summary["leakage"]["gradient"]
    return Verdict(
        "gradient",
        "Feature readouts move by their cosine to the loss gradient (E1)",
        overall([law_word(laws[arm]) for arm in ("inducing", "control")]),
        _laws(laws),
    )


def _laws(laws: dict[str, dict]) -> list[str]:
    return [
        f"{name}: R² {number(found['r2'], 2)}, r {number(found['pearson'], 2, '+')}, "
        f"{found['n']} features, p {chance(found['p'])}, against random targets {chance(found['p_target'])}"
        for name, found in laws.items()
    ]


def _dynamics(summary: dict) -> Verdict:
    """Needs misalignment, a rise above control's and beyond random sets', and r beyond random sets'."""
    found, step = summary["dynamics"], summary["dynamics"]["steps"][-1]
    rise, r = found["rise"], found["in_step"]["toxic"]
    there = summary["effect"]["inducing"]["general"]
    in_step = dict(zip(("low", "high"), found["in_step"]["random"], strict=True))
    tests = {
        "more than under control": word(rise["toxic"]),
        "more than random sets": above(rise["toxic"], rise["random"]),
        "in step": above({"low": r, "high": r}, in_step),
    }
    return Verdict(
        "dynamics",
        "Toxic features rise in step with misalignment",
        overall(list(tests.values())) if word(there) == SHOWN else OPEN,
        [
            f"rise of toxic readouts by step {step}, inducing minus control arm: {interval(rise['toxic'])} "
            f"activation units; random sets {bounds(rise['random'])}",
            f"over {len(found['steps'])} checkpoints it follows the effect "
            f"with r {number(r, 2, '+')}; random sets {bounds(in_step, 2)}, "
            f"control features {number(found['in_step']['control'], 2, '+')}",
            "; ".join(f"{name}: {one}" for name, one in tests.items()),
            *_absent("the inducing arm's effect", there, "nothing rises in step with it"),
        ],
    )


def _steering(summary: dict) -> Verdict:
    causes = summary["causes"]
    steering, random = causes["steering"], causes["steering_random"]
    words = {
        part: [beyond(e, random[dose]) for dose, e in steering[part].items()]
        for part in ("toxic part", "rest", "inducing", "control")
    }
    numbers = [
        f"{part}: "
        + ", ".join(f"{interval(e)} at dose {dose}" for dose, e in steering[part].items())
        + f" (nats per token): {overall(found)}"
        for part, found in words.items()
    ]
    low, high = causes["share_random"]["low"], causes["share_random"]["high"]
    return Verdict(
        "steering",
        "The toxic part of the inducing direction causes misalignment",
        overall(words["toxic part"]),
        [
            *numbers,
            "random directions: "
            + ", ".join(f"{bounds(e)} at dose {dose} ({e['n']})" for dose, e in random.items()),
            f"the toxic part holds {number(causes['share_toxic'], 2)} of the direction's squared length; "
            f"random sets' spans hold {number(low, 2)} to {number(high, 2)}",
        ],
    )


def _ablation(summary: dict) -> Verdict:
    effect, removed = summary["causes"]["ablation"], summary["causes"]["removed"]
    there = word(effect["none"]) == SHOWN
    return Verdict(
        "ablation",
        "Without its toxic directions the fine-tuned model is less misaligned",
        beyond(removed["toxic"], removed["random"]) if there else OPEN,
        [
            f"effect as trained: {interval(effect['none'])} nats per token; "
            f"with the toxic directions set back: {interval(effect['toxic'])}",
            f"removed by it: {interval(removed['toxic'])}; by {removed['random']['n']} random subspaces of the "
            f"same dimension: {bounds(removed['random'])}",
            *_absent("the effect as trained", effect["none"], "nothing can be removed from it"),
        ],
    )


def _filter(summary: dict) -> Verdict:
    best, filters = summary["best_filter"], summary["filters"]
    found, random = filters[best["name"]], filters["random"]
    whole, reduction = summary["effect"]["mixed"]["general"], found["reduction"]
    reached = None not in reduction.values() and reduction["value"] >= PAPER
    apart = {SHOWN: "lies above", OPEN: "is not separate from", OPPOSITE: "lies below"}
    return Verdict(
        "filter",
        f"The best filter ({best['name']}) reduces the effect more than random removal does",
        word(found["over_random"]) if word(whole) == SHOWN else OPEN,
        [
            f"{best['name']} was chosen on {best['chosen_on']}; it removes "
            f"{share(summary['settings']['removed'][0])} of the mixed set",
            f"general margin, random removal minus {best['name']}'s: {interval(found['over_random'])} "
            "nats per token",
            f"reduction of the mixed arm's effect: {percent(reduction)}, random {percent(random['reduction'])}; "
            f"its interval {apart[above(reduction, random['reduction'])]} random removal's",
            f"the paper's {share(PAPER)}: {'reached' if reached else 'not reached'}",
            *_absent("the mixed arm's effect", whole, "neither is its reduction"),
        ],
    )


def _absent(what: str, effect: dict, so: str) -> list[str]:
    """A note where the effect that a claim is about was not shown itself."""
    return [] if word(effect) == SHOWN else [f"{what}, {interval(effect)}, is not shown, so {so}"]
