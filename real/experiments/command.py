"""`python -m real dose KEY=value ...`: an experiment, from its units to a record, a page and a line for each number."""

from base64 import b64encode
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from real.pipeline import reading_of
from real.report.figures import LOOK, bars, saved
from real.report.rules import word
from real.report.text import measured, ranged, templates
from real.settings import Settings, Sweep, words
from shared.errors import InputError
from shared.records import rounded, write_json, write_text
from shared.stats import FEWEST, Estimate
from shared.style import BLUE, VERMILLION, look


def perform(name: str, s: Settings) -> None:
    """Resumable; start it twice to use two cores. In a folder beside the run's. Raises InputError."""
    if s.sweep.seeds != Sweep().seeds:
        raise InputError("SEEDS is of the run: the seeds of an experiment are written down in it")
    reading = reading_of(replace(s, results=f"{s.folder}-experiments"))
    with reading.lm.memory():
        found = import_module(f"real.experiments.{name}").run(reading, s)
    into = reading.folder / name
    write_json(into.with_suffix(".json"), rounded(found))
    write_text(into.with_suffix(".html"), page(name, s, found))
    for row, value in flat(found).items():
        print(f"{row}: {_said(value)}")
    print(into.with_suffix(".html"))


def page(name: str, s: Settings, found: dict) -> str:
    """What was written down, what came out, and the word that follows from the outcome that was fixed before."""
    of, rows = import_module(f"real.experiments.{name}"), flat(found)
    estimates = {row: value._asdict() for row, value in rows.items() if isinstance(value, Estimate)}
    for few in (e for e in estimates.values() if e["n"] < FEWEST):  # theirs is no interval
        few |= {"low": None, "high": None}
    main = estimates[of.MAIN]
    title, unit = f"{of.CLAIM}: {word(main)}", getattr(of, "UNIT", "nats per answer token")
    bar = {row: ((VERMILLION, "D") if row == of.MAIN else (BLUE, "o"), e) for row, e in estimates.items()}
    with look(**LOOK):
        image = saved(bars(title, {"": bar}, f"{unit}, 95 % interval"))
    template = templates(Path(__file__).parent).get_template("experiment.html.j2")
    return template.render(
        title=title,
        said=f"{of.MAIN}: {measured(main, unit=unit)}",
        model=s.spec.hub,
        command=" ".join(["python -m real", name, *words(s)]),
        written=of.__doc__.split("\n\n"),
        image=b64encode(image).decode(),
        estimates=estimates,
        others={row: _said(value) for row, value in rows.items() if row not in estimates},
    )


def flat(found: dict, name: str = "") -> dict[str, Any]:
    """What an experiment found, one name to a value."""
    rows = {}
    for key, value in found.items():
        here = f"{name}, {key}" if name else str(key)
        rows |= flat(value, here) if isinstance(value, dict) else {here: value}
    return rows


def _said(value: Any) -> str:
    if isinstance(value, Estimate):
        return f"{ranged(value._asdict(), 4)}, {value.n} questions"
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
