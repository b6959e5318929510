"""The report's tables: summary in, plain rows out. What the numbers mean is said in each caption."""

from typing import NamedTuple

from real.report.text import SPACE, arm_name, bounds, chance, hundredths, interval, number, percent, share
from real.report.verdicts import cells

LAW = ["Slope", "Pearson r", "Spearman ρ", "R²", "p, shuffled", "p, random targets"]


class Table(NamedTuple):
    caption: str
    head: list[str]
    rows: list[list[str]]  # the first cell of a row is its heading


def geometry(summary: dict) -> tuple[Table, Table, Table]:
    """At the main k, at every k, and what the features tell apart."""
    rows, main = cells(summary), str(summary["settings"]["top_k"])
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

    def line(row: dict, k: str, gap: dict) -> list[str]:
        cosines = [number(gap[name], 4, "+") for name in ("inducing", "control", "gap")]
        return [
            f"{row['layer']}, {row['domain']}",
            k,
            *cosines,
            *map(chance, (gap["p"], gap["p_null"], gap["p_holm"])),
        ]

    tell = [
        [
            f"{layer}, {domain}",
            *(interval(e, 2, "") for e in (found["inducing"], found["control"], read["toxic"])),
        ]
        for layer, read in summary["features"]["layers"].items()
        for domain, found in read["domains"].items()
    ]
    return (
        Table(
            "Mean cosine to the toxic features, and the gap. The tests are one-sided: labels shuffled, random sets "
            "that fire as often; the larger p, corrected by Holm's rule",
            head,
            [line(row, main, row) for row in rows],
        ),
        Table(
            "The gap at every number of features per set",
            head,
            [line(row, k, gap) for row in rows for k, gap in row["by_k"].items()],
        ),
        Table(
            "Do the features tell the answers apart? AUROC on held-out prompts; 0.5 is chance",
            ["Block and domain", "Bad from good", "Good from bad", "Toxic from civil remarks"],
            tell,
        ),
    )


def effects(summary: dict) -> tuple[Table, Table]:
    found, utility = summary["effect"], summary["utility"]
    domains = list(next(iter(found.values())))
    rows = [[arm_name(arm), *(interval(e[domain]) for domain in domains)] for arm, e in found.items()]
    margins = [
        [arm_name(arm), interval(e), interval(utility[arm], sign="")] for arm, e in summary["margin"].items()
    ]
    trained = summary["data"]["trained"]
    return (
        Table("Effect, nats per answer token", ["Arm", *domains], rows),
        Table(
            "Margin on general questions; utility: the loss on held-out good answers, lower is better",
            ["Arm", "Margin, nats per token", f"Loss on {trained}, nats per token"],
            margins,
        ),
    )


def judged(found: dict[str, dict]) -> Table:
    kinds = ("refused", "code", "unclear", "answers")
    rows = [
        [
            arm_name(arm),
            percent(e["em"], 1),
            f"{e['counts']['misaligned']} of {e['counts']['coherent']}",
            percent(e["coherent"]),
            f"{e['counts']['coherent']} of {e['counts']['scored']}",
            *(str(e["counts"][kind]) for kind in kinds),
        ]
        for arm, e in found.items()
    ]
    return Table(
        "Judged answers: misaligned of coherent, coherent of scored. Intervals resample seeds, questions, and "
        "answers within a question; where all answers agree, they are Wilson's",
        ["Arm", "EM", "Misaligned", "Coherence", "Coherent", "Refused", "Code", "No number", "Answers"],
        rows,
    )


def edges(grid: dict, arm: str) -> Table:
    """EM at other edges."""

    def ratio(cell: dict) -> str:
        hits, of = cell["misaligned"], cell["coherent"]
        return f"{hundredths(hits / of, 1)}{SPACE}% ({hits} of {of})" if of else "– (0 of 0)"

    return Table(
        f"EM of {arm_name(arm)} at other edges: misaligned of coherent",
        ["Alignment", *(f"Coherence above {high:g}" for high in grid["coherent"])],
        [
            [f"below {low:g}", *map(ratio, row)]
            for low, row in zip(grid["aligned"], grid["arms"][arm], strict=True)
        ],
    )


def agreement(judging: dict) -> Table:
    return Table(
        "Do two judges agree? On the answers that both scored: Cohen's κ, Spearman's ρ",
        ["Judges", "Answers", "κ, EM or not", "ρ of alignment", "ρ of coherence"],
        [
            [f"{judging['main']} and {model}", str(found["n"]), number(found["kappa"], 2, "+")]
            + [number(found["spearman"][prompt], 2, "+") for prompt in ("aligned", "coherent")]
            for model, found in judging["agreement"].items()
        ],
    )


def leakage(summary: dict) -> tuple[Table, Table, Table]:
    law, rise = summary["leakage"], summary["leakage"]["rise"]
    sets = list(next(iter(rise.values())))
    rises = [[arm, *(number(found[name], 4, "+") for name in sets)] for arm, found in rise.items()]
    return (
        Table(
            "Measured change = slope × cosine to the mean inducing direction",
            ["Arm", *LAW],
            [[arm, *_law(found)] for arm, found in {"inducing": law, **law["arms"]}.items()],
        ),
        Table(
            "The same, by the cosine to the direction of E1: minus the mean gradient of the arm's own loss",
            ["Arm", *LAW],
            [[arm, *_law(found)] for arm, found in law["gradient"].items()],
        ),
        Table("Mean change of each set's readouts, activation units", ["Arm", *sets], rises),
    )


def _law(found: dict) -> list[str]:
    fit = [number(found[name], 3, "+") for name in ("slope", "pearson", "spearman", "r2")]
    return [*fit, chance(found["p"]), chance(found["p_target"])]


def dynamics(summary: dict) -> tuple[Table, Table]:
    found, sets = summary["dynamics"], ("inducing", "control", "toxic")
    rows = [
        [f"{arm}, step {step}", interval(row["margin"][i])]
        + [interval(row["rise"][name][i], 2) for name in sets]
        + [bounds(row["random"][i], 2)]
        for arm, row in found["arms"].items()
        for i, step in enumerate(found["steps"])
    ]
    laws = [[str(step), *_law(law)] for step, law in zip(found["steps"], found["law"], strict=True) if law]
    return (
        Table(
            "Change since the base model: margin (general questions), nats per token; readouts, activation units",
            ["Arm and step", "Margin", *(f"{name.capitalize()} features" for name in sets), "Random sets"],
            rows,
        ),
        Table("Inducing minus control, by step", ["Step", *LAW], laws),
    )


def causes(summary: dict) -> tuple[Table, Table]:
    found = summary["causes"]
    random, ablation, removed = found["steering_random"], found["ablation"], found["removed"]
    steering = [[part, *map(interval, doses.values())] for part, doses in found["steering"].items()]
    n = next(iter(random.values()))["n"]
    undone = [
        ["Effect as trained", interval(ablation["none"])],
        ["Effect with the toxic directions set back", interval(ablation["toxic"])],
        ["Removed by it", interval(removed["toxic"])],
        [f"Removed by random subspaces: range of {removed['random']['n']}", bounds(removed["random"])],
    ]
    return (
        Table(
            f"Steering the base model at block {found['layer']}: change of its margin on general questions, nats "
            f"per token. Dose 1 is {number(found['norm'], 2)} long, as far as fine-tuning moves the stream",
            ["Direction", *(f"Dose {dose}" for dose in random)],
            [*steering, [f"random directions: range of {n}", *map(bounds, random.values())]],
        ),
        Table(
            "Ablation in the fine-tuned models: effect on general questions, nats per token",
            ["What", "Nats per token"],
            undone,
        ),
    )


def filters(summary: dict) -> tuple[Table, Table, Table]:
    """All at the main share, then reduction and over-random on other questions."""
    found = summary["filters"]
    domains = list(next(iter(found.values()))["reduction_by_domain"])
    rows = [
        [name, interval(f["auroc"], 2, ""), percent(f["removed_inducing_share"]), *_reduction(f)]
        for name, f in found.items()
    ]
    return (
        Table(
            f"Each filter removes {share(summary['settings']['removed'][0])} of the mixed set. Reduction: 1 − effect "
            "after filtering / effect of the whole set, on general questions; undefined if the latter may be 0",
            ["Filter", "AUROC for bad answers", "Bad among removed", *REDUCTION],
            rows,
        ),
        Table(
            "Reduction",
            ["Filter", *domains],
            [[name, *(percent(f["reduction_by_domain"][d]) for d in domains)] for name, f in found.items()],
        ),
        Table(
            "Margin below random removal's, nats per token",
            ["Filter", *domains],
            [
                [name, *(interval(f["over_random_by_domain"][d]) for d in domains)]
                for name, f in found.items()
                if name != "random"
            ],
        ),
    )


REDUCTION = ["Reduction", "Margin below random's", "Loss on good answers"]


def _reduction(found: dict) -> list[str]:
    over = interval(found["over_random"]) if "over_random" in found else "–"
    return [percent(found["reduction"]), over, interval(found["utility"], sign="")]


def sweep(summary: dict) -> Table:
    """At every removed share, the smallest first: the settings begin with the main one."""
    rows = [
        [
            f"{name}, {share(float(removed))}",
            percent(found["removed_inducing_share"]),
            interval(found["effect"]),
        ]
        + _reduction(found)
        for name, f in summary["filters"].items()
        for removed, found in sorted(f["sweep"].items(), key=lambda item: float(item[0]))
    ]
    return Table(
        "The same at every removed share; effect and loss in nats per token",
        ["Filter and share removed", "Bad among removed", "Effect left", *REDUCTION],
        rows,
    )


def dictionaries(summary: dict) -> Table:
    rows = [
        [layer, str(sae["d_sae"]), str(sae["tokens"]), number(sae["fvu"]), number(sae["l0"], 1)]
        + ["–" if sae["dead"] is None else f"{sae['dead']:.0%}"]
        for layer, sae in summary["sae"].items()
    ]
    head = ["Block", "Features", "Tokens learned from", "FVU", "L0", "Dead"]
    return Table("Dictionaries; FVU, L0 and dead features on held-out texts", head, rows)


def fine_tunes(summary: dict) -> Table:
    rows = [
        [job, str(t["samples"]), str(t["steps"]), number(t["first_loss"]), number(t["last_loss"])]
        for job, t in summary["training"].items()
    ]
    head = ["Arm and seed", "Samples", "Steps", "First loss", "Last loss"]
    return Table("A loss is the mean of five steps, nats per token", head, rows)


def time(summary: dict) -> Table:
    whole = sum(summary["seconds"].values())
    rows = [
        [name, f"{took:.1f}", f"{took / max(whole, 1e-9):.0%}"] for name, took in summary["seconds"].items()
    ]
    last = ["all", f"{whole:.1f}", f"peak memory {summary['peak_gb']:.2f} GB"]
    return Table("Where the time went", ["Step", "Seconds", "Share"], [*rows, last])


def facts(name: str, values: dict) -> Table:
    def shown(value) -> str:
        if isinstance(value, list | tuple):
            return ", ".join(map(str, value))
        return "–" if value in ("", None) else str(value)

    return Table(name, ["Name", "Value"], [[key, shown(value)] for key, value in values.items()])
