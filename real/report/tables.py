"""The report's tables: summary in, plain rows out. What the numbers mean is said in each caption."""

from typing import NamedTuple

from real.report.text import SPACE, arm_name, bounds, chance, hundredths, interval, number, percent, share
from real.report.verdicts import cells

LAW = ["Slope", "Pearson r", "Spearman ρ", "R²", "p, shuffled", "p, random targets"]
REMOVAL = ["Reduction", "Margin below random's", "Loss on good answers"]


class Table(NamedTuple):
    caption: str
    head: list[str]
    rows: list[list[str]]  # the first cell of a row is its heading


def geometry(summary: dict) -> tuple[Table, Table, Table]:
    """At the main k, at every k, and what the features tell apart."""
    rows, main = cells(summary), str(summary["settings"]["top_k"])
    caption = (
        "Mean cosine to the toxic features, and the gap. The tests are one-sided: labels shuffled, random sets "
        "that fire as often; the larger p, corrected by Holm's rule"
    )
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
        cosines = (number(gap[name], 4, "+") for name in ("inducing", "control", "gap"))
        tests = (chance(gap[name]) for name in ("p", "p_null", "p_holm"))
        return [f"{row['layer']}, {row['domain']}", k, *cosines, *tests]

    by_k = [line(row, k, gap) for row in rows for k, gap in row["by_k"].items()]
    tell = [
        [f"{layer}, {domain}", *(interval(e, 2, "") for e in (at["inducing"], at["control"], found["toxic"]))]
        for layer, found in summary["features"]["layers"].items()
        for domain, at in found["domains"].items()
    ]
    apart = "Do the features tell the answers apart? AUROC on held-out prompts; 0.5 is chance"
    kinds = ["Bad from good", "Good from bad", "Toxic from civil remarks"]
    return (
        Table(caption, head, [line(row, main, row) for row in rows]),
        Table("The gap at every number of features per set", head, by_k),
        Table(apart, ["Block and domain", *kinds], tell),
    )


def effects(summary: dict) -> tuple[Table, Table]:
    found, utility, names = summary["effect"], summary["utility"], _names(summary)
    domains = list(next(iter(found.values())))
    rows = [[names[arm], *(interval(e[domain]) for domain in domains)] for arm, e in found.items()]
    both = [
        [names[arm], interval(e), interval(utility[arm], sign="")] for arm, e in summary["margin"].items()
    ]
    caption = "Margin on general questions; utility: the loss on held-out good answers, lower is better"
    head = ["Arm", "Margin, nats per token", f"Loss on {summary['data']['trained']}, nats per token"]
    return Table("Effect, nats per answer token", ["Arm", *domains], rows), Table(caption, head, both)


def judged(summary: dict) -> Table:
    names, kinds = _names(summary), ("refused", "code", "unclear", "answers")
    caption = (
        "Judged answers: misaligned of coherent, coherent of scored. Intervals resample seeds, questions, and "
        "answers within a question; where all answers agree, they are Wilson's"
    )
    head = ["Arm", "EM", "Misaligned", "Coherence", "Coherent", "Refused", "Code", "No number", "Answers"]

    def line(arm: str, found: dict) -> list[str]:
        n = found["counts"]
        em = [percent(found["em"], 1), f"{n['misaligned']} of {n['coherent']}"]
        coherence = [percent(found["coherent"]), f"{n['coherent']} of {n['scored']}"]
        return [names[arm], *em, *coherence, *(str(n[kind]) for kind in kinds)]

    return Table(caption, head, [line(arm, found) for arm, found in summary["judged"].items()])


def edges(summary: dict, arm: str) -> Table:
    """EM at other edges."""
    grid = summary["judging"]["grid"]

    def ratio(cell: dict) -> str:
        hits, of = cell["misaligned"], cell["coherent"]
        return f"{hundredths(hits / of, 1)}{SPACE}% ({hits} of {of})" if of else "– (0 of 0)"

    rows = zip(grid["aligned"], grid["arms"][arm], strict=True)
    return Table(
        f"EM of {_names(summary)[arm]} at other edges: misaligned of coherent",
        ["Alignment", *(f"Coherence above {high:g}" for high in grid["coherent"])],
        [[f"below {low:g}", *map(ratio, row)] for low, row in rows],
    )


def agreement(judging: dict) -> Table:
    rows = [
        [f"{judging['main']} and {model}", str(both["n"]), number(both["kappa"], 2, "+")]
        + [number(both["spearman"][prompt], 2, "+") for prompt in ("aligned", "coherent")]
        for model, both in judging["agreement"].items()
    ]
    caption = "Do two judges agree? On the answers that both scored: Cohen's κ, Spearman's ρ"
    return Table(caption, ["Judges", "Answers", "κ, EM or not", "ρ of alignment", "ρ of coherence"], rows)


def leakage(summary: dict) -> list[Table]:
    law, rise = summary["leakage"], summary["leakage"]["rise"]
    sets = list(next(iter(rise.values())))
    cosine = "Measured change = slope × cosine to the mean inducing direction"
    gradient = "The same, by the cosine to the direction of E1: minus the mean gradient of the arm's own loss"
    both = {cosine: {"inducing": law, **law["arms"]}, gradient: law["gradient"]}
    laws = {caption: [[arm, *_law(fit)] for arm, fit in fits.items()] for caption, fits in both.items()}
    rises = [[arm, *(number(found[name], 4, "+") for name in sets)] for arm, found in rise.items()]
    return [
        *(Table(caption, ["Arm", *LAW], rows) for caption, rows in laws.items()),
        Table("Mean change of each set's readouts, activation units", ["Arm", *sets], rises),
    ]


def dynamics(summary: dict) -> tuple[Table, Table]:
    found, sets = summary["dynamics"], ("inducing", "control", "toxic")
    rows = [
        [f"{arm}, step {step}", interval(row["margin"][i])]
        + [*(interval(row["rise"][name][i], 2) for name in sets), bounds(row["random"][i], 2)]
        for arm, row in found["arms"].items()
        for i, step in enumerate(found["steps"])
    ]
    laws = [[str(step), *_law(law)] for step, law in zip(found["steps"], found["law"], strict=True) if law]
    caption = "Change since the base model: margin (general questions), nats per token; readouts, "
    head = ["Arm and step", "Margin", *(f"{name.capitalize()} features" for name in sets), "Random sets"]
    course = Table(f"{caption}activation units", head, rows)
    return course, Table("Inducing minus control, by step", ["Step", *LAW], laws)


def causes(summary: dict) -> tuple[Table, Table]:
    found = summary["causes"]
    random, ablation, removed = found["steering_random"], found["ablation"], found["removed"]
    n = next(iter(random.values()))["n"]
    steering = [[part, *map(interval, doses.values())] for part, doses in found["steering"].items()]
    steering.append([f"random directions: range of {n}", *map(bounds, random.values())])
    undone = [
        ["Effect as trained", interval(ablation["none"])],
        ["Effect with the toxic directions set back", interval(ablation["toxic"])],
        ["Removed by it", interval(removed["toxic"])],
        [f"Removed by random subspaces: range of {removed['random']['n']}", bounds(removed["random"])],
    ]
    caption = (
        f"Steering the base model at block {found['layer']}: change of its margin on general questions, nats "
        f"per token. Dose 1 is {number(found['norm'], 2)} long, as far as fine-tuning moves the stream"
    )
    after = "Ablation in the fine-tuned models: effect on general questions, nats per token"
    return (
        Table(caption, ["Direction", *(f"Dose {dose}" for dose in random)], steering),
        Table(after, ["What", "Nats per token"], undone),
    )


def filters(summary: dict) -> tuple[Table, Table, Table]:
    """At the main share; then, on all questions, the reduction, and the margin below random removal's."""
    found, main = summary["filters"], share(summary["settings"]["removed"][0])
    domains = list(next(iter(found.values()))["reduction_by_domain"])
    caption = (
        f"Each filter removes {main} of the mixed set. Reduction: 1 − effect "
        "after filtering / effect of the whole set, on general questions; undefined if the latter may be 0"
    )
    rows = [
        [name, interval(f["auroc"], 2, ""), percent(f["removed_inducing_share"]), *_removal(f)]
        for name, f in found.items()
    ]
    reduced = [[name, *(percent(f["reduction_by_domain"][d]) for d in domains)] for name, f in found.items()]
    below = {name: f["over_random_by_domain"] for name, f in found.items() if name != "random"}
    lower = [[name, *(interval(over[d]) for d in domains)] for name, over in below.items()]
    return (
        Table(caption, ["Filter", "AUROC for bad answers", "Bad among removed", *REMOVAL], rows),
        Table("Reduction", ["Filter", *domains], reduced),
        Table("Margin below random removal's, nats per token", ["Filter", *domains], lower),
    )


def sweep(summary: dict) -> Table:
    """At every removed share, the smallest first: the settings begin with the main one."""
    rows = [
        [f"{name}, {share(float(at))}", percent(f["removed_inducing_share"]), interval(f["effect"])]
        + _removal(f)
        for name, found in summary["filters"].items()
        for at, f in sorted(found["sweep"].items(), key=lambda item: float(item[0]))
    ]
    caption = "The same at every removed share; effect and loss in nats per token"
    return Table(caption, ["Filter and share removed", "Bad among removed", "Effect left", *REMOVAL], rows)


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
    rows.append(["all", f"{whole:.1f}", f"peak memory {summary['peak_gb']:.2f} GB"])
    return Table("Where the time went", ["Step", "Seconds", "Share"], rows)


def facts(name: str, values: dict) -> Table:
    def shown(value) -> str:
        if isinstance(value, list | tuple):
            return ", ".join(map(str, value))
        return "–" if value in ("", None) else str(value)

    return Table(name, ["Name", "Value"], [[key, shown(value)] for key, value in values.items()])


def _names(summary: dict) -> dict[str, str]:
    return {arm: arm_name(about) for arm, about in summary["arms"].items()}


def _law(found: dict) -> list[str]:
    fit = [number(found[name], 3, "+") for name in ("slope", "pearson", "spearman", "r2")]
    return [*fit, chance(found["p"]), chance(found["p_target"])]


def _removal(found: dict) -> list[str]:
    over = interval(found["over_random"]) if "over_random" in found else "–"
    return [percent(found["reduction"]), over, interval(found["utility"], sign="")]
