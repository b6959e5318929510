"""report.html: a template filled with the summary and its figures, which are titled by what was found.

Whatever the template did not write itself is escaped: what a model says is untrusted.
"""

from base64 import b64encode
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from real.models.registry import TRAIN
from real.report import text
from real.report.text import number, percent
from real.report.verdicts import CLAIMS, cells, counted, verdicts, word

NUMBERS = ("number", "chance", "interval", "bounds", "percent", "hundredths", "share", "after", "law", "ratio")
FILTERS = {name: getattr(text, name) for name in (*NUMBERS, "arm_name", "visible")}


def render(summary: dict, images: dict[str, bytes], sampled: dict[str, list[dict]]) -> str:
    """`images`: figure -> PNG. `sampled`: job -> its questions and answers.

    Of a summary that lacks parts, the sections that wait for them say so.
    """
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            summary=summary,
            samples=sampled,
            images={name: b64encode(png).decode() for name, png in images.items()},
            titles=titles(summary),
            claims=len(CLAIMS),
            cells=cells(summary) if "geometry" in summary else [],
            trained_here=summary["spec"]["sae"] == TRAIN,
        )
    )


@cache
def templates(*folders: Path) -> Environment:
    """Those of some folders and of this one, compiled once: a report that grows is written after every step."""
    found = Environment(
        loader=FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update({name: getattr(text, name) for name in FILTERS})
    return found


def titles(summary: dict) -> dict[str, str]:
    """Figure -> what it was found to show; only the figures that this run has, so far."""
    found, said = {v.name: v for v in verdicts(summary)}, {}
    if "nearer" in found:
        said["gap"] = f"{found['nearer'].claim}: " + counted([row["word"] for row in cells(summary)], "cells")
    if "emergent" in found:
        effects, filters = summary["effect"]["inducing"].values(), summary["filters"]
        best = summary["best_filter"]["name"]
        said["effect"] = f"Training on bad answers ({summary['data']['trained']}) makes misaligned ones likelier: "
        said["effect"] += counted([word(e) for e in effects], "sets of questions")
        helps = f"Removing by {best} helps more than at random: "
        said["filters"] = f"{helps}{found['filter'].word} (reduction {percent(filters[best]['reduction'])})"
        over = [word(at["over_random"]) for at in filters[best]["sweep"].values()]
        if len(over) > 1:
            said["sweep"] = helps + counted(over, "removed shares")
    if "law" in found:
        law, r = summary["leakage"], summary["dynamics"]["in_step"]["toxic"]
        said["leakage"] = (
            "Feature readouts move by their cosine to the inducing features: "
            f"{found['law'].word} (R² {number(law['r2'], 2)}); to the loss gradient: {found['gradient'].word} "
            f"(R² {number(law['gradient']['inducing']['r2'], 2)})"
        )
        rise = found["dynamics"]
        said["dynamics"] = f"{rise.claim}: {rise.word} (r {number(r, 2, '+')} over the checkpoints)"
    if "steering" in found:
        said["causes"] = (
            f"Steering along the toxic part misaligns: {found['steering'].word}; "
            f"setting toxic directions back realigns: {found['ablation'].word}"
        )
    if judged := summary.get("judged"):
        arms = ", ".join(f"{arm} {percent(judged[arm]['em'], 1)}" for arm in ("base", "inducing", "control"))
        said["judged"] = f"EM by the judge: {arms}"
    return said
