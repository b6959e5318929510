"""The report's tables: summary in, HTML out. What the numbers mean is said in each caption."""

from real.report.html import Html, folded, table
from real.report.judged_page import filter_note
from real.report.text import arm_name, bounds, chance, interval, number, percent, share
from real.report.verdicts import cells

LAW = ["Slope", "Pearson r", "Spearman ρ", "R²", "p, shuffled", "p, random targets"]


def geometry(summary: dict) -> list[Html]:
    head = [
        "Block and domain",
        "k",
        "Inducing",
        "Control",
        "Gap",
        "p, labels",
        "p, random sets",
        "p, corrected",
    ]
    rows = [_gap(row, str(summary["settings"]["top_k"]), row) for row in cells(summary)]
    by_k = [_gap(row, k, gap) for row in cells(summary) for k, gap in row["by_k"].items()]
    tell = [
        [f"{layer}, {domain}", *(interval(found[side], 2, "") for side in ("inducing", "control"))]
        + [interval(read["toxic"], 2, "")]
        for layer, read in summary["features"]["layers"].items()
        for domain, found in read["domains"].items()
    ]
    caption = (
        "Mean cosine to the toxic features, and the gap. The tests are one-sided: labels shuffled, random sets "
        "that fire as often; the larger p, corrected by Holm's rule"
    )
    return [
        table(caption, head, rows),
        folded("The same for every k", table("The gap at every number of features per set", head, by_k)),
        table(
            "Do the features tell the answers apart? AUROC on held-out prompts; 0.5 is chance",
            ["Block and domain", "Bad from good", "Good from bad", "Toxic from civil remarks"],
            tell,
        ),
    ]


def _gap(cell: dict, k: str, gap: dict) -> list[str]:
    cosines = [number(gap[name], 4, "+") for name in ("inducing", "control", "gap")]
    return [
        f"{cell['layer']}, {cell['domain']}",
        k,
        *cosines,
        *(chance(gap[p]) for p in ("p", "p_null", "p_holm")),
    ]


def effects(summary: dict) -> list[Html]:
    found, utility = summary["effect"], summary["utility"]
    domains = list(next(iter(found.values())))
    rows = [[arm_name(arm), *(interval(e[domain]) for domain in domains)] for arm, e in found.items()]
    margins = [
        [arm_name(arm), interval(e), interval(utility[arm], sign="")] for arm, e in summary["margin"].items()
    ]
    return [
        table("Effect, nats per answer token", ["Arm", *domains], rows),
        table(
            "Margin on general questions; utility: the loss on held-out good answers, lower is better",
            ["Arm", "Margin, nats per token", f"Loss on {summary['data']['trained']}, nats per token"],
            margins,
        ),
    ]


def leakage(summary: dict) -> list[Html]:
    law, rise = summary["leakage"], summary["leakage"]["rise"]
    cosine = [[arm, *_law(found)] for arm, found in {"inducing": law, **law["arms"]}.items()]
    gradient = [[arm, *_law(found)] for arm, found in law["gradient"].items()]
    sets = list(next(iter(rise.values())))
    rises = [[arm, *(number(found[name], 4, "+") for name in sets)] for arm, found in rise.items()]
    return [
        table("Measured change = slope × cosine to the mean inducing direction", ["Arm", *LAW], cosine),
        table(
            "The same, by the cosine to the direction of E1: minus the mean gradient of the arm's own loss",
            ["Arm", *LAW],
            gradient,
        ),
        table("Mean change of each set's readouts, activation units", ["Arm", *sets], rises),
    ]


def _law(found: dict) -> list[str]:
    fit = [number(found[name], 3, "+") for name in ("slope", "pearson", "spearman", "r2")]
    return [*fit, chance(found["p"]), chance(found["p_target"])]


def dynamics(summary: dict) -> list[Html]:
    found = summary["dynamics"]
    rows = [
        [f"{arm}, step {step}", interval(row["margin"][i])]
        + [interval(row["rise"][name][i], 2) for name in ("inducing", "control", "toxic")]
        + [bounds(row["random"][i], 2)]
        for arm, row in found["arms"].items()
        for i, step in enumerate(found["steps"])
    ]
    laws = [[str(step), *_law(law)] for step, law in zip(found["steps"], found["law"], strict=True) if law]
    return [
        table(
            "Change since the base model: margin (general questions), nats per token; readouts, activation units",
            [
                "Arm and step",
                "Margin",
                "Inducing features",
                "Control features",
                "Toxic features",
                "Random sets",
            ],
            rows,
        ),
        folded("The law at every checkpoint", table("Inducing minus control, by step", ["Step", *LAW], laws)),
    ]


def causes(summary: dict) -> list[Html]:
    found = summary["causes"]
    random, ablation, removed = found["steering_random"], found["ablation"], found["removed"]
    steering = [[part, *map(interval, doses.values())] for part, doses in found["steering"].items()]
    n = next(iter(random.values()))["n"]
    steering.append([f"random directions: range of {n}", *map(bounds, random.values())])
    undone = [
        ["Effect as trained", interval(ablation["none"])],
        ["Effect with the toxic directions set back", interval(ablation["toxic"])],
        ["Removed by it", interval(removed["toxic"])],
        [f"Removed by random subspaces: range of {removed['random']['n']}", bounds(removed["random"])],
    ]
    return [
        table(
            f"Steering the base model at block {found['layer']}: change of its margin on general questions, nats "
            f"per token. Dose 1 is {number(found['norm'], 2)} long, as far as fine-tuning moves the stream",
            ["Direction", *(f"Dose {dose}" for dose in random)],
            steering,
        ),
        table(
            "Ablation in the fine-tuned models: effect on general questions, nats per token",
            ["What", "Nats per token"],
            undone,
        ),
    ]


def filters(summary: dict) -> list[Html]:
    rows = [
        [name, interval(found["auroc"], 2, ""), percent(found["removed_inducing_share"])]
        + [percent(found["reduction"]), _over_random(found), interval(found["utility"], sign="")]
        for name, found in summary["filters"].items()
    ]
    caption = (
        f"Each filter removes {share(summary['settings']['removed'][0])} of the mixed set. Reduction: 1 − effect "
        "after filtering / effect of the whole set, on general questions; undefined if the latter may be 0"
    )
    quality = ["AUROC for bad answers", "Bad among removed"]
    head = ["Filter", *quality, "Reduction", "Margin below random's", "Loss on good answers"]
    domains = list(next(iter(summary["filters"].values()))["reduction_by_domain"])
    reduced = [
        [name, *(percent(found["reduction_by_domain"][domain]) for domain in domains)]
        for name, found in summary["filters"].items()
    ]
    below = [
        [name, *(interval(found["over_random_by_domain"][domain]) for domain in domains)]
        for name, found in summary["filters"].items()
        if name != "random"
    ]
    tables = [
        table(caption, head, rows),
        folded(
            "Reduction on other questions",
            table("Reduction", ["Filter", *domains], reduced),
            table("Margin below random removal's, nats per token", ["Filter", *domains], below),
        ),
    ]
    swept = [_sweep(summary)] if len(summary["settings"]["removed"]) > 1 else []
    return [*tables, *filter_note(summary), *swept]


def by_share(found: dict) -> list[tuple[str, dict]]:
    """What a filter did at every removed share, the smallest first: the settings begin with the main one."""
    return sorted(found["sweep"].items(), key=lambda item: float(item[0]))


def _sweep(summary: dict) -> Html:
    rows = [
        [
            f"{name}, {share(float(removed))}",
            percent(found["removed_inducing_share"]),
            interval(found["effect"]),
        ]
        + [percent(found["reduction"]), _over_random(found), interval(found["utility"], sign="")]
        for name, shares in summary["filters"].items()
        for removed, found in by_share(shares)
    ]
    head = ["Filter and share removed", "Bad among removed", "Effect left", "Reduction"]
    return table(
        "The same at every removed share; effect and loss in nats per token",
        [*head, "Margin below random's", "Loss on good answers"],
        rows,
    )


def _over_random(found: dict) -> str:
    return interval(found["over_random"]) if "over_random" in found else "–"
