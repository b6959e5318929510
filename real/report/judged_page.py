"""The report's section of the judge: EM by arm, how it hangs on the edges and on the judge, or why there is none."""

from real.report.html import Html, folded, table, tag
from real.report.text import SPACE, arm_name, number, percent

FORMS = {
    "number": "for a number in one token, and read as the mean of the numbers it might have said",
    "digit": "for one digit, and read as the mean of the digits it might have said",
    "text": "for text, and the number in it was read",
    "reasoning": "for text after its own reasoning, and the number in it was read",
}


def judged(summary: dict) -> list[Html]:
    found, about = summary["judged"], summary["judging"]
    if found is None:
        return [tag("p", why_not(about))]
    forms = [
        tag(
            "li",
            f"{model} {asked(judge)}{' Its scores are shown.' * (model == about['main'])}",
        )
        for model, judge in about["judges"].items()
    ]
    low, high = about["edges"]
    how = (
        f"Every arm answered {about['questions']} questions ({about['answers']} answers for each seed) at "
        "temperature 1, and the judge gave each answer "
        f"two scores from 0 to 100. Coherent: above {high:g}. EM: the share of coherent answers whose alignment is "
        f"below {low:g}. An answer that lacks a number is in no share; it is counted."
    )
    return [
        tag("p", how),
        tag("ul", *forms),
        _by_arm(found),
        *_sensitivity(about["grid"], high),
        *_agreement(about),
        *_worst(about["worst"]),
    ]


def asked(judge: dict) -> str:
    """The form that a judge was asked in, or why it gave no scores."""
    if judge["failed"]:
        return f"gave no scores: {judge['failed']}."
    return "was asked " + "; or ".join(FORMS[form] for form in judge["forms"]) + "."


def why_not(about: dict) -> str:
    """Why no judged score exists."""
    if about["failed"]:
        return (
            f"No judged score exists: {about['failed']}. All else in this report stands without a judge; "
            "the same command, run again, tries the judge again."
        )
    given = f" {about['answers']} answers of every arm are in the folder answers." if about["answers"] else ""
    return f"No judged score exists: no judge was configured. JUDGE=… names one.{given}"


def filter_note(summary: dict) -> list[Html]:
    """How the judge filter came by its scores, or why there is none; nothing where no judge was configured."""
    about = summary["judging"]["filter"]
    if "failed" in about:
        return [tag("p", f"There is no filter by the judge: {about['failed']}.", class_="dim")]
    if "median" not in about:
        return []
    said = (
        "The judge filter scores a training sample by its harm, 100 − alignment. "
        f"{about['unscored']} samples got no number and were given the median, {number(about['median'], 1)}."
    )
    return [tag("p", said, class_="dim")]


def title(found: dict) -> str:
    arms = ", ".join(f"{arm} {percent(found[arm]['em'], 1)}" for arm in ("base", "inducing", "control"))
    return f"EM by the judge: {arms}"


def _by_arm(found: dict) -> Html:
    kinds = ("refused", "code", "unclear")
    rows = [
        [
            arm_name(arm),
            percent(of["em"], 1),
            f"{of['counts']['misaligned']} of {of['counts']['coherent']}",
            percent(of["coherent"]),
            f"{of['counts']['coherent']} of {of['counts']['scored']}",
            *(str(of["counts"][kind]) for kind in kinds),
            str(of["counts"]["answers"]),
        ]
        for arm, of in found.items()
    ]
    head = ["Arm", "EM", "Misaligned", "Coherence", "Coherent", "Refused", "Code"]
    return table(
        "Judged answers: misaligned of coherent, coherent of scored. Intervals resample seeds, questions, and "
        "answers within a question; where all answers agree, they are Wilson's",
        [*head, "No number", "Answers"],
        rows,
    )


def _sensitivity(grid: dict, edge: float) -> list[Html]:
    """EM at other edges, of the inducing arm and, folded, of the others."""

    def of(arm: str) -> Html:
        rows = [
            [f"below {low:g}", *(_ratio(cell) for cell in cells)]
            for low, cells in zip(grid["aligned"], grid["arms"][arm], strict=True)
        ]
        return table(
            f"EM of {arm_name(arm)} at other edges: misaligned of coherent",
            ["Alignment", *(f"Coherence above {high:g}" for high in grid["coherent"])],
            rows,
        )

    others = [of(arm) for arm in grid["arms"] if arm != "inducing"]
    return [of("inducing"), folded("The same for every other arm", *others)]


def _ratio(cell: dict) -> str:
    hits, of = cell["misaligned"], cell["coherent"]
    return f"{number(100 * hits / of, 1)}{SPACE}% ({hits} of {of})" if of else "– (0 of 0)"


def _agreement(about: dict) -> list[Html]:
    parts = [tag("p", _margin(about["margin"]))]
    rows = [
        [f"{about['main']} and {model}", str(of["n"]), number(of["kappa"], 2, "+")]
        + [number(of["spearman"][prompt], 2, "+") for prompt in ("aligned", "coherent")]
        for model, of in about["agreement"].items()
    ]
    if rows:
        head = ["Judges", "Answers", "κ, EM or not", "ρ of alignment", "ρ of coherence"]
        parts.append(
            table("Do two judges agree? On the answers that both scored: Cohen's κ, Spearman's ρ", head, rows)
        )
    return parts


def _margin(found: dict) -> str:
    if found["spearman"] is None:
        return f"Over the {found['n']} arms with an EM, its rank correlation with the margin is not defined."
    return (
        f"Across {found['n']} arms, the margin and the judged EM have the rank correlation "
        f"{number(found['spearman'], 2, '+')}. So few arms, many of them alike, say little."
    )


def _worst(worst: dict[str, list[dict]]) -> list[Html]:
    note = "The coherent answers of each arm and seed that the judge finds least aligned. Quoted, not meant."
    blocks = [tag("p", note, class_="dim")]
    for job, rows in worst.items():
        said = [part for row in rows for part in (tag("dt", _asked(row)), tag("dd", row["answer"]))]
        blocks += [folded(job, tag("dl", *said))] if said else []
    silent = [job for job, rows in worst.items() if not rows]
    return [*blocks, *([tag("p", f"No coherent answer: {', '.join(silent)}.")] if silent else [])]


def _asked(row: dict) -> str:
    return f"{row['question']} (alignment {row['aligned']:.0f}, coherence {row['coherent']:.0f})"
