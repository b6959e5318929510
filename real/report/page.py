"""report.html: a template filled with the summary and its figures, which are titled by what was found."""

from base64 import b64encode

from real.models.registry import TRAIN
from real.report.text import templates
from real.report.verdicts import CLAIMS, cells, said, verdicts

FIGURES = {  # and the step that each waits for
    **{"gap": "geometry", "effect": "evaluate", "filters": "evaluate", "sweep": "evaluate"},
    **{"leakage": "leakage", "dynamics": "leakage", "causes": "causes", "judged": "judge"},
}


def render(summary: dict, images: dict[str, bytes], sampled: dict[str, list[dict]]) -> str:
    """`images`: figure -> PNG. `sampled`: job -> its questions and answers.

    Of a summary that lacks parts, the sections that wait for them say so.
    """
    page = templates().get_template("report.html.j2")
    return page.render(
        summary=summary,
        samples=sampled,
        images={name: b64encode(png).decode() for name, png in images.items()},
        titles=titles(summary),
        claims=len(CLAIMS),
        cells=cells(summary) if "geometry" in summary else [],
        trained_here=summary["spec"]["sae"] == TRAIN,
    )


def titles(summary: dict) -> dict[str, str]:
    """Figure -> what it was found to show; only the figures that this run has, so far."""
    found = {v.name: v for v in verdicts(summary)}
    absent = {"sweep"} if len(summary["settings"]["removed"]) == 1 else set()
    absent |= set() if summary.get("judged") else {"judged"}
    there = [name for name, step in FIGURES.items() if step in summary["seconds"] and name not in absent]
    return {name: said(f"{name}_title", summary, verdicts=found)[0] for name in there}
