"""The claims, each with a word that follows from the numbers alone; claims.txt.j2 says these numbers."""

import re

from real.effects.leakage import MINUS
from real.report.rules import NONE, OPEN, SHOWN, above, gap_word, law_word, overall, within, word
from real.report.text import templates

CHECKPOINTS = 20  # that a test of what goes in step takes
PAPER = 0.345  # the best filter's reduction in Minegishi et al. 2026
FIGURES = {  # and the step that each waits for
    **{"gap": "geometry", "effect": "evaluate", "filters": "evaluate", "sweep": "evaluate"},
    **{"leakage": "leakage", "dynamics": "leakage", "causes": "causes", "judged": "judge"},
}


def verdicts(summary: dict) -> dict[str, dict]:
    """By name, every claim whose step has run, its word and its numbers."""
    return {
        name: {"name": name, "claim": claim.format_map(summary), "word": rule(summary), "numbers": said(name, summary)}
        for step, name, claim, rule in CLAIMS
        if step in summary["seconds"]
    }


def titles(summary: dict) -> dict[str, str]:
    """Figure -> what it was found to show; only the figures that this run has, so far. Of a summary with verdicts."""
    absent = {"sweep": len(summary["settings"]["removed"]) == 1, "judged": not summary.get("judged")}
    there = [name for name, step in FIGURES.items() if step in summary["seconds"] and not absent.get(name)]
    return {name: said(f"{name}_title", summary)[0] for name in there}


def said(macro: str, summary: dict) -> list[str]:
    """The lines that a macro of claims.txt.j2 makes of a summary."""
    known = {of.__name__: of for of in (cells, unseen, rising, steered)}
    known |= {"MINUS": MINUS, "CHECKPOINTS": CHECKPOINTS, "PAPER": PAPER, "summary": summary}
    text = getattr(templates().get_template("claims.txt.j2").make_module(known), macro)()
    return [re.sub(r" *\n *", " ", line.strip(" \n")) for line in re.split("^- ", text, flags=re.MULTILINE)[1:]]


def cells(summary: dict) -> list[dict]:
    """The Gap of every layer and domain at the main k, with its `layer`, `domain` and `word`."""
    rows = [
        {"layer": layer, "domain": domain, **gap}
        for layer, domains in summary["geometry"].items()
        for domain, gap in domains.items()
    ]
    return [{**row, "word": gap_word(row, tests(rows))} for row in rows]


def tests(rows: list[dict]) -> int:
    """How many gaps `p_holm` is corrected for: of all cells at every k."""
    return sum(len(row["by_k"]) for row in rows)


def unseen(summary: dict) -> dict[str, dict]:
    """The effect on every domain of advice that was not trained on."""
    known = ("general", summary["data"]["trained"])
    return {domain: e for domain, e in summary["effect"]["inducing"].items() if domain not in known}


def rising(summary: dict) -> dict[str, str]:
    """Tests: a rise, above control's and beyond random sets', and r beyond random sets'."""
    found = summary["dynamics"]
    rise, in_step = found["rise"], found["in_step"]
    low, high = in_step["random"]
    return {
        "a rise": word(found["arms"]["inducing"]["rise"]["toxic"][-1]),
        "more than under control": word(rise["toxic"]),
        "more than random sets": above(rise["toxic"], rise["random"]),
        "in step": above(within(in_step["toxic"]), {"low": low, "high": high}),
    }


def _dynamics(summary: dict) -> str:
    if len(summary["dynamics"]["steps"]) <= CHECKPOINTS:
        return NONE
    return _of(summary["effect"]["inducing"]["general"], overall(list(rising(summary).values())))


def steered(doses: dict[str, dict], random: dict) -> str:
    """At every dose beyond 0, and at the smallest beyond random directions: up where added, down where taken away."""
    words = []
    for dose, e in doses.items():
        for other in (within(0.0), random) if abs(float(dose)) == 1 else (within(0.0),):
            words.append(above(e, other) if float(dose) > 0 else above(other, e))
    return overall(words)


def _ablation(summary: dict) -> str:
    """Beyond 0 and, on the same side, beyond everything that random spans did."""
    effect, removed = summary["causes"]["ablation"], summary["causes"]["removed"]
    return _of(effect["none"], overall([word(removed["toxic"]), above(removed["toxic"], removed["random"])]))


def _filter(summary: dict) -> str:
    best = summary["filters"][summary["best_filter"]["name"]]
    return _of(summary["effect"]["mixed"]["general"], word(best["over_random"]))


def _of(effect: dict, found: str) -> str:
    """What is found of an effect, where that was shown itself."""
    return found if word(effect) == SHOWN else OPEN


CLAIMS = (  # the step that each waits for, its name, what it says, and the word for it
    ("geometry", "nearer", "Inducing features lie nearer the toxic ones than control features do",
     lambda summary: overall([row["word"] for row in cells(summary)])),
    ("evaluate", "emergent", "Narrow fine-tuning makes general answers more misaligned than its control does",
     lambda summary: word(summary["effect"]["inducing"]["general"])),
    ("evaluate", "spills", "It spills over to advice that was never trained on",
     lambda summary: overall([word(e) for e in unseen(summary).values()])),
    ("leakage", "law", "Feature readouts move by their cosine to the inducing features",
     lambda summary: overall([law_word(law) for law in (summary["leakage"], summary["leakage"]["arms"][MINUS])])),
    # E1 with its own g, the loss gradient before training at the block: of what the arms do not share
    ("leakage", "gradient", "What differs between the arms moves readouts by their cosine to the loss gradient (E1)",
     lambda summary: law_word(summary["leakage"]["gradient"][MINUS])),
    ("leakage", "dynamics", "Toxic features rise in step with misalignment", _dynamics),
    ("causes", "steering", "The toxic part of the inducing direction causes misalignment",
     lambda summary: steered(summary["causes"]["steering"]["toxic part"], summary["causes"]["steering_random"])),
    ("causes", "ablation", "Without its toxic directions the fine-tuned model is less misaligned", _ablation),
    ("evaluate", "filter", "The best filter ({best_filter[name]}) reduces the effect more than random removal does",
     _filter),
)  # fmt: skip
