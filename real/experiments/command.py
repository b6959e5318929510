"""`python -m real dose KEY=value ...`: an experiment, from its units to a record and a line for each number."""

from importlib import import_module

from real.pipeline import reading_of
from real.settings import Settings
from shared.records import rounded, write_json


def perform(name: str, s: Settings) -> None:
    """Resumable; start it twice to use two cores. Raises InputError."""
    experiment, reading = import_module(f"real.experiments.{name}"), reading_of(s)
    with reading.lm.memory():
        found = experiment.run(reading, s)
    path = reading.folder / "experiments" / f"{name}.json"
    write_json(path, rounded(found))
    print("\n".join(_lines(found)))
    print(path)


def _lines(found: dict, name: str = "") -> list[str]:
    lines = []
    for key, value in found.items():
        here = f"{name} {key}".strip()
        if isinstance(value, dict):
            lines += _lines(value, here)
        elif hasattr(value, "low"):
            lines.append(f"{here}: {value.value:+.4f} [{value.low:+.4f}, {value.high:+.4f}], n {value.n}")
        else:
            lines.append(f"{here}: {value}")
    return lines
