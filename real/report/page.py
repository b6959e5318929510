"""What report.html says: verdicts first, then figures, tables, sampled answers, and what it does not show."""

from typing import Any

from real.models.registry import TRAIN
from real.report import appendix, figures, judged_page, tables
from real.report.html import Html, contents, folded, image, page, section, tag
from real.report.rules import OPEN, SHOWN, gap_word
from real.report.text import SPACE, arm_name, chance, number, share
from real.report.verdicts import PAPER, Verdict, cells, titles

FIGURES = {  # section -> its figures
    "Geometry": ("gap",),
    "Misalignment": ("effect",),
    "Judged answers": ("judged",),
    "Leakage": ("leakage",),
    "Dynamics": ("dynamics",),
    "Cause": ("causes",),
    "Filters": ("filters", "sweep"),
}


def figures_of(summary: dict, moved: dict) -> dict[str, Any]:
    """Name -> Figure; `moved`: the readouts behind the leakage figure. A judge and a sweep have one figure more."""
    title = titles(summary)
    drawn = {
        "gap": figures.gap(_layers(summary), str(summary["settings"]["top_k"]), title["gap"]),
        "effect": _effect(summary, title["effect"]),
        "leakage": figures.leakage(_moved(summary, moved), title["leakage"]),
        "dynamics": figures.dynamics(
            summary["dynamics"]["steps"], summary["dynamics"]["arms"], title["dynamics"]
        ),
        "causes": figures.causes(_causes(summary["causes"]), title["causes"]),
        "filters": figures.filters(
            {name: found["reduction"] for name, found in summary["filters"].items()},
            summary["filters"]["random"]["draws"],
            PAPER,
            title["filters"],
        ),
    }
    if summary["judged"]:
        drawn["judged"] = _judged(summary["judged"], title["judged"])
    if len(summary["settings"]["removed"]) > 1:
        swept = {
            name: {float(removed): at["reduction"] for removed, at in tables.by_share(found)}
            for name, found in summary["filters"].items()
        }
        drawn["sweep"] = figures.sweep(swept, PAPER, title["sweep"])
    return drawn


def render(summary: dict, images: dict[str, bytes], sampled: dict[str, list[dict]]) -> str:
    """`images`: figure -> PNG. `sampled`: job -> its questions and answers."""
    name, trained = summary["spec"]["hub"].split("/")[-1], summary["data"]["trained"]
    title = f"{name} fine-tuned on bad answers ({trained})"
    about = (
        f"Does narrow fine-tuning spill over? {_prompts(summary)} prompts of “{trained}”, answered badly, "
        "are read against the same prompts answered well. Brackets hold 95 % intervals."
    )
    made = {
        "Geometry": tables.geometry,
        "Misalignment": tables.effects,
        "Judged answers": judged_page.judged,
        "Leakage": tables.leakage,
        "Dynamics": tables.dynamics,
        "Cause": tables.causes,
        "Filters": tables.filters,
    }
    sections = {
        "What was found": _verdicts([Verdict(**v) for v in summary["verdicts"].values()]),
        **{part: [*_figures(part, summary, images), *make(summary)] for part, make in made.items()},
        "What the features are": [tag("p", _meaning(summary), class_="dim"), *appendix.meaning(summary)],
        "Sampled answers": _answers(sampled),
        "How it was made": appendix.making(summary),
        "What this does not show": [tag("ul", *(tag("li", line) for line in limits(summary)))],
    }
    return page(
        f"Spillover: {title}",
        tag("header", tag("h1", title), tag("p", about), contents(list(sections))),
        tag("main", *(section(part, *children) for part, children in sections.items())),
    )


def limits(summary: dict) -> list[str]:
    s, spec, sae = summary["settings"], summary["spec"], summary["sae"][str(summary["layer"])]
    causes = summary["causes"]
    source = "trained on this run's own texts" if spec["sae"] == TRAIN else f"published ({spec['sae']})"
    seeds = (
        "One seed: the intervals are over questions and answers, not over repeated fine-tuning."
        if len(s["seeds"]) == 1
        else f"{len(s['seeds'])} seeds: the intervals resample them, but so few understate their noise."
    )
    shares = ", ".join(share(removed) for removed in s["removed"])
    return [
        seeds,
        f"One model, {spec['hub']}, fine-tuned on {_prompts(summary)} prompts through rank-{s['rank']} "
        f"adapters on blocks {spec['first']} and up. A larger model, or more data, may behave otherwise.",
        *_margins(summary),
        f"Features are those of dictionaries that were {source}. The one at block "
        f"{summary['layer']} leaves {number(_hundred(sae['fvu']), 0)} % of the variance of held-out texts "
        f"unexplained, and {number(_hundred(sae['dead']), 0)} % of its features never fire on them.",
        "Features are chosen by their correlation with a label; what one of them means is read off its tokens "
        "and texts, not tested.",
        f"Steering and ablation act at one block, {causes['layer']}, are read as margins of answers written "
        f"beforehand, and are compared with few random directions ({_counts(causes)}). A direction that "
        "steers is a cause of the margin; it need not be what fine-tuning uses.",
        f"Dynamics: {len(summary['dynamics']['steps'])} checkpoints of one course of training. Two things that "
        "grow with the number of steps correlate, whatever links them; random sets show how much.",
        f"Filters remove {shares}, and the best is chosen among several. The gaps are corrected for their "
        "number; every other interval stands alone.",
    ]


def _margins(summary: dict) -> list[str]:
    """What a margin leaves out, and what a judge does."""
    said = (
        "A margin compares the log-probabilities of answers written beforehand; it does not say how often the "
        "model would give a misaligned answer of its own."
    )
    if summary["judged"] is None:
        return [f"No judge read the answers. {said}"]
    return [
        said,
        "The judge is a language model: its scores have errors of their own, which no interval holds.",
    ]


def _hundred(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _counts(causes: dict) -> str:
    steered = next(iter(causes["steering_random"].values()))["n"]
    return f"{steered} for steering, {causes['removed']['random']['n']} for ablation"


def _prompts(summary: dict) -> int:
    return summary["data"]["rows"][summary["data"]["trained"]]["train"]


def _verdicts(found: list[Verdict]) -> list[Html]:
    rows = []
    for v in found:
        heading = tag("h3", tag("span", v.claim), tag("span", v.word, class_="word"))
        numbers = tag("ul", *(tag("li", line) for line in v.numbers))
        rows.append(tag("li", heading, numbers, class_=v.word.replace(" ", "-")))
    words = (
        f"“{SHOWN.capitalize()}”: the whole interval, or every test, is on the claim's side, in each case "
        f"that the claim is about. “{OPEN.capitalize()}”: the numbers leave it open. The words "
        "follow from the numbers by the rules in real/report/verdicts.py."
    )
    return [tag("ol", *rows, class_="verdicts"), tag("p", words, class_="dim")]


def _figures(part: str, summary: dict, images: dict[str, bytes]) -> list[Html]:
    title, caption = titles(summary), captions(summary)
    return [
        tag(
            "figure",
            image(images[name], f"{title[name]}. The numbers are in the tables of this section."),
            tag("figcaption", caption[name]),
        )
        for name in FIGURES[part]
        if name in images
    ]


def captions(summary: dict) -> dict[str, str]:
    """Figure -> what is drawn."""
    law, causes, best = summary["leakage"], summary["causes"], summary["best_filter"]
    reduction = (
        "Reduction: 1 − effect after filtering / effect of the whole mixed set. "
        f"What lies below −100{SPACE}% or above 200{SPACE}% is cut off."
    )
    return {
        "gap": "Gap: mean cosine between the directions of the k inducing and the k toxic features, minus the "
        "same for the k control features, in every cell (block × domain). Grey: 95 % of the gaps between random "
        "features that fire as often. Filled: both tests hold after correction for the number of cells.",
        "effect": "Effect: by how much more an arm prefers misaligned to aligned answers than its control, "
        "which takes as many steps on good answers (difference of mean log-probabilities per token).",
        "judged": "EM: misaligned of coherent answers; coherence: coherent of scored ones. Where all answers agree, "
        "the interval is Wilson's.",
        "leakage": f"Each ring is one of {law['n']} live features: by how much its readout ⟨d, Δh⟩ moves on "
        f"{law['probes']} neutral probes when the adapter is put on, against its cosine to a target: "
        "above, the mean inducing direction (whose features are left out); below, minus the mean gradient of the "
        "arm's own loss at that block, which is the direction that E1 names.",
        "dynamics": "Left: margin minus the base model's. Right: mean change of the readouts of each set of "
        "features on neutral probes. Grey: 95 % of sets of random features that fire as often as the toxic ones.",
        "causes": "Left: one vector is added to the base model's residual stream; dose 1 is as long as the mean "
        "move by fine-tuning. “Toxic part”: the inducing direction's projection on the span of the toxic "
        "features; “rest”: what is left of it; all at the same length. Right: the fine-tuned models, with the "
        f"stream's part in that span set back to the base model's. Both at block {causes['layer']}.",
        "filters": f"{reduction} Random is the mean of its draws. The best filter, {best['name']}, was chosen on "
        f"{best['chosen_on']}, not on these questions. Dashed: the best reduction that Minegishi et al. (2026) "
        "report, with other models and a judge.",
        "sweep": f"{reduction} Every filter is drawn a little aside, so that none hides another; "
        "what is undefined is left out.",
    }


def _meaning(summary: dict) -> str:
    return (
        f"The features of block {summary['layer']} that correlate most with the label (r). Promotes: the tokens "
        "whose logits its direction raises most. Below: the texts of this run where it fires most, the token "
        "marked. They are quoted, not meant."
    )


def _answers(sampled: dict[str, list[dict]]) -> list[Html]:
    note = "One draw each at temperature 1, unedited, cut off at the token limit. Not advice: many are wrong."
    blocks = [tag("p", note, class_="dim")]
    for job, rows in sampled.items():
        said = [part for row in rows for part in (tag("dt", row["question"]), tag("dd", row["answer"]))]
        blocks.append(folded(job, tag("dl", *said)))
    return blocks


def _layers(summary: dict) -> dict:
    """Block -> domain -> k -> its Gap, marked where both tests are shown."""
    layers: dict = {}
    rows = cells(summary)
    for row in rows:
        by_k = {k: {**gap, "shown": gap_word(gap, len(rows)) == SHOWN} for k, gap in row["by_k"].items()}
        layers.setdefault(f"block {row['layer']}", {})[row["domain"]] = by_k
    return layers


def _effect(summary: dict, title: str):
    """The arms of the main removed share; those of a sweep have a figure of their own."""
    main = summary["settings"]["removed"][0]
    arms = [arm for arm in summary["effect"] if float(arm.partition("@")[2] or main) == main]
    kinds = {arm_name(arm): _kind(arm) for arm in arms}
    return figures.effect({arm_name(arm): summary["effect"][arm] for arm in arms}, kinds, title)


def _judged(judged: dict, title: str):
    kinds = {arm_name(arm): _kind(arm) for arm in judged}
    shares = {
        name: {arm_name(arm): of[key] for arm, of in judged.items()}
        for name, key in {"EM": "em", "coherence": "coherent"}.items()
    }
    return figures.judged(shares, kinds, title)


def _kind(arm: str) -> str:
    """Its name in figures.STYLE: mixed-random-1@0.5 -> random."""
    return arm.partition("@")[0].split("-")[:2][-1]


def _moved(summary: dict, moved: dict) -> dict[str, dict[str, dict]]:
    """Target direction -> arm -> what is drawn."""
    law = summary["leakage"]
    laws = {
        "the mean inducing direction": {"inducing": law, "control": law["arms"]["control"]},
        "minus the mean loss gradient (E1)": law["gradient"],
    }
    predicted = {
        "the mean inducing direction": dict.fromkeys(("inducing", "control"), moved["predicted"]),
        "minus the mean loss gradient (E1)": moved["by_gradient"],
    }
    return {
        target: {
            arm: {
                "predicted": predicted[target][arm],
                "is_toxic": moved["is_toxic"],
                "measured": moved["measured"][arm],
                "slope": laws[target][arm]["slope"],
                "found": f"R² {number(laws[target][arm]['r2'], 2)}, r {number(laws[target][arm]['pearson'], 2)}, "
                f"p against random targets {chance(laws[target][arm]['p_target'])}",
            }
            for arm in ("inducing", "control")
        }
        for target in laws
    }


def _causes(causes: dict) -> dict[str, dict[str, tuple]]:
    kinds = {"toxic part": "toxic"}
    panels: dict = {
        f"steering the base model, dose {dose}": {
            part: (kinds.get(part, part), doses[dose], random) for part, doses in causes["steering"].items()
        }
        for dose, random in causes["steering_random"].items()
    }
    panels["ablation in the fine-tuned model"] = {
        "effect": ("inducing", causes["ablation"]["none"], None),
        "effect,\ntoxic set back": ("inducing", causes["ablation"]["toxic"], None),
        "removed by it": ("toxic", causes["removed"]["toxic"], causes["removed"]["random"]),
    }
    return panels
