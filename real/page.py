"""What report.html says: verdicts first, then figures, tables, sampled answers, and what it does not show."""

from real.html import Html, image, page, section, table, tag
from real.verdicts import OPEN, SHOWN, Verdict, gaps, interval, number, percent, titles


def render(summary: dict, images: dict[str, bytes], sampled: dict[str, list[dict]]) -> str:
    """`images`: figure -> PNG. `sampled`: job -> its questions and answers."""
    name, trained = summary["spec"]["hub"].split("/")[-1], summary["data"]["trained"]
    title = f"{name} fine-tuned on bad answers ({trained})"
    about = (
        f"Does narrow fine-tuning spill over? {_prompts(summary)} prompts of “{trained}”, answered badly, "
        "are read against the same prompts answered well. Brackets hold 95 % intervals."
    )
    return page(
        f"Spillover: {title}",
        tag("header", tag("h1", title), tag("p", about)),
        tag(
            "main",
            section("What was found", *_verdicts([Verdict(**v) for v in summary["verdicts"].values()])),
            section("Geometry", _figure("gap", summary, images), *_geometry(summary)),
            section("Misalignment", _figure("effect", summary, images), *_effects(summary)),
            section("Leakage", _figure("leakage", summary, images), *_leakage(summary)),
            section("Filters", *_filters(summary)),
            section("Sampled answers", *_answers(sampled)),
            section("How it was made", *_making(summary)),
            section("What this does not show", tag("ul", *(tag("li", line) for line in limits(summary)))),
        ),
    )


def limits(summary: dict) -> list[str]:
    s, spec, sae = summary["settings"], summary["spec"], summary["sae"]
    seeds = (
        "One seed: the intervals are over questions and answers, not over repeated fine-tuning."
        if len(s["seeds"]) == 1
        else f"{len(s['seeds'])} seeds: the intervals resample them, but so few understate their noise."
    )
    return [
        seeds,
        f"One model, {spec['hub']}, fine-tuned on {_prompts(summary)} prompts through rank-{s['rank']} "
        f"adapters on blocks {spec['first']} and up. A larger model, or more data, may behave otherwise.",
        "No judge read the answers. A margin compares the log-probabilities of answers written beforehand; "
        "it does not say how often the model would give a misaligned answer of its own.",
        f"Features are those of one dictionary at block {spec['layer']}, trained on this run's own texts. "
        f"It leaves {sae['fvu']:.0%} of the variance of held-out texts unexplained, and {sae['dead']:.0%} "
        "of its features never fire on them.",
        "Features are chosen by their correlation with a label; that they cause the answers is not tested.",
        f"Filters remove one share, {s['removed']:.0%}. Every interval stands alone: none is corrected for "
        "the number of comparisons.",
    ]


def _prompts(summary: dict) -> int:
    return summary["data"]["rows"][summary["data"]["trained"]]["train"]


def _verdicts(found: list[Verdict]) -> list[Html]:
    rows = []
    for v in found:
        heading = tag("h3", tag("span", v.claim), tag("span", v.word, class_="word"))
        numbers = tag("ul", *(tag("li", line) for line in v.numbers))
        rows.append(tag("li", heading, numbers, class_=v.word.replace(" ", "-")))
    words = (
        f"“{SHOWN.capitalize()}”: the whole interval, or every test, is on the claim's side in each domain "
        f"that the claim is about. “{OPEN.capitalize()}”: the numbers leave it open."
    )
    return [tag("ol", *rows, class_="verdicts"), tag("p", words, class_="dim")]


def _figure(name: str, summary: dict, images: dict[str, bytes]) -> Html:
    k, law = summary["settings"]["top_k"], summary["leakage"]
    captions = {
        "gap": f"Gap: mean cosine between the directions of the {k} inducing and the {k} toxic features, "
        f"minus the same for the {k} control features, at block {summary['spec']['layer']}. Grey: 95 % of "
        "the gaps between random features that fire as often.",
        "effect": "Effect: by how much more an arm prefers misaligned to aligned answers than its control, "
        "which takes as many steps on good answers (difference of mean log-probabilities per token).",
        "leakage": f"Each dot is one of {law['n']} live features: by how much its readout ⟨d, Δh⟩ moves on "
        f"{law['probes']} neutral probes when the adapter is put on, against its cosine to the mean inducing "
        "direction. The features that make up that direction are left out.",
    }
    alt = f"{titles(summary)[name]}. The numbers are in the tables of this section."
    return tag("figure", image(images[name], alt), tag("figcaption", captions[name]))


def _geometry(summary: dict) -> list[Html]:
    features = summary["features"]
    lie = [
        [row["label"], *(number(row[name], 4, "+") for name in ("inducing", "control", "gap"))]
        + [f"{row['p']:.2g}", f"{row['p_null']:.2g}"]
        for row in gaps(summary)
    ]
    tell = [
        [domain, *(interval(found[side]["auroc"], 2, "") for side in ("inducing", "control"))]
        for domain, found in features["domains"].items()
    ]
    tell.append(["toxic remarks", interval(features["toxic"]["auroc"], 2, ""), "–"])
    head = ["Domain", "Inducing", "Control", "Gap", "p, labels shuffled", "p, random sets"]
    return [
        table("Mean cosine to the toxic features, and the gap; p one-sided", head, lie),
        table(
            "Do the features tell the answers apart? AUROC on held-out prompts; 0.5 is chance",
            ["Domain", "Bad from good", "Good from bad"],
            tell,
        ),
    ]


def _effects(summary: dict) -> list[Html]:
    effects, utility = summary["effect"], summary["utility"]
    domains = list(next(iter(effects.values())))
    rows = [[arm, *(interval(found[domain]) for domain in domains)] for arm, found in effects.items()]
    margins = [[arm, interval(e), interval(utility[arm], sign="")] for arm, e in summary["margin"].items()]
    return [
        table("Effect, nats per answer token", ["Arm", *domains], rows),
        table(
            "Margin on general questions; utility: the loss on held-out good answers, lower is better",
            ["Arm", "Margin, nats per token", f"Loss on {summary['data']['trained']}, nats per token"],
            margins,
        ),
    ]


def _leakage(summary: dict) -> list[Html]:
    law, rise = summary["leakage"], summary["leakage"]["rise"]
    fits = [
        [arm, *(number(found[name], 3, "+") for name in ("slope", "pearson", "spearman", "r2"))]
        + [f"{found['p']:.2g}", f"{found['p_target']:.2g}"]
        for arm, found in {"inducing": law, **law["arms"]}.items()
    ]
    head = ["Arm", "Slope", "Pearson r", "Spearman ρ", "R²", "p, shuffled", "p, random targets"]
    sets = list(next(iter(rise.values())))
    rises = [[arm, *(number(found[name], 4, "+") for name in sets)] for arm, found in rise.items()]
    return [
        table("Measured change = slope × predicted cosine, through the origin", head, fits),
        table("Mean change of each set's readouts, activation units", ["Arm", *sets], rises),
    ]


def _filters(summary: dict) -> list[Html]:
    rows = [
        [
            name,
            interval(found["auroc"], 2, ""),
            percent(found["removed_inducing_share"]),
            percent(found["reduction"]),
            interval(found["over_random"]) if "over_random" in found else "–",
        ]
        for name, found in summary["filters"].items()
    ]
    caption = (
        f"Each filter removes {summary['settings']['removed']:.0%} of the mixed set. Reduction: 1 − effect "
        "after filtering / effect of the whole set, on general questions; undefined if the latter may be 0"
    )
    head = ["Filter", "AUROC for bad answers", "Bad among removed", "Reduction", "Margin below random's"]
    return [table(caption, head, rows)]


def _answers(sampled: dict[str, list[dict]]) -> list[Html]:
    note = "One draw each at temperature 1, unedited, cut off at the token limit. Not advice: many are wrong."
    blocks = [tag("p", note, class_="dim")]
    for job, rows in sampled.items():
        said = [part for row in rows for part in (tag("dt", row["question"]), tag("dd", row["answer"]))]
        blocks.append(tag("details", tag("summary", job), tag("dl", *said)))
    return blocks


def _making(summary: dict) -> list[Html]:
    sae = summary["sae"]
    dictionary = (
        f"Dictionary: {sae['d_sae']} features learned from {sae['tokens']} answer tokens; on held-out texts "
        f"FVU {sae['fvu']:.3f}, L0 {sae['l0']:.1f}, dead {sae['dead']:.0%}. "
        f"Peak memory: {summary['peak_gb']:.2f} GB."
    )
    training = [
        [job, str(t["samples"]), str(t["steps"]), number(t["first_loss"]), number(t["last_loss"])]
        for job, t in summary["training"].items()
    ]
    head = ["Arm and seed", "Samples", "Steps", "First loss", "Last loss"]
    seconds = [[name, f"{value:.1f}"] for name, value in summary["seconds"].items()]
    facts = {"Settings": summary["settings"], "Versions": summary["versions"]}
    return [
        tag("p", tag("code", summary["command"])),
        tag("p", dictionary),
        table("Fine-tunes; a loss is the mean of five steps, nats per token", head, training),
        table("Seconds by step", ["Step", "Seconds"], seconds),
        *(
            table(name, ["Name", "Value"], [[key, _shown(value)] for key, value in rows.items()])
            for name, rows in facts.items()
        ),
    ]


def _shown(value) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value in ("", None) else str(value)
