"""report.html: a template filled with the summary, its tables and its figures.

Whatever the template did not write itself is escaped: what a model says is untrusted.
"""

from base64 import b64encode
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from real.models.registry import TRAIN
from real.report import tables, text, verdicts

FILTERS = ("number", "chance", "interval", "bounds", "percent", "hundredths", "share", "arm_name", "visible")


def render(summary: dict, images: dict[str, bytes], sampled: dict[str, list[dict]]) -> str:
    """`images`: figure -> PNG. `sampled`: job -> its questions and answers. A section whose step has not run says so."""
    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update({name: getattr(text, name) for name in FILTERS})
    return env.get_template("report.html.j2").render(
        summary=summary,
        samples=sampled,
        images={name: b64encode(png).decode() for name, png in images.items()},
        titles=verdicts.titles(summary),
        waiting=len(verdicts.CLAIMS) - len(summary["verdicts"]),
        tables=tables,
        trained_here=summary["spec"]["sae"] == TRAIN,
    )
