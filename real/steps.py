"""Steps: each makes one record, and is passed over while nothing that decides it has changed. One run to a folder."""

import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

from filelock import FileLock, Timeout

from real.models.lm import LM
from shared.code import code
from shared.errors import InputError
from shared.records import Record, cached, digest, versions


class Steps:
    """`step(name, function, *inputs)`: the record that `function(*inputs)` returns, kept in the results folder.

    What decides a step is the content of its inputs, the code that the function reaches, and the versions. After each
    that has run, `grown` is given all records so far.
    """

    def __init__(self, folder: Path, lm: LM, grown: Callable[[dict[str, Record]], Any]):
        self.folder, self.lm, self.grown = folder, lm, grown
        self.records: dict[str, Record] = {}

    def __call__(self, name: str, function: Callable[..., Record], *inputs: Any) -> Any:
        ran = []

        def announced() -> Record:
            ran.append(name)
            print(f"{name} ...", flush=True)
            with self.lm.memory():
                return function(*inputs).model_copy(update={"peak_gb": peak_gb()})

        key = digest(name, inputs, code(function), versions())
        kind = get_type_hints(function)["return"]
        record = self.records[name] = cached(self.folder / f"{name}.json", key, kind, announced)
        done = f"done in {record.seconds:.1f} s" if ran else "unchanged, skipped"
        print(f"{name} " + (f"failed: {record.failed}" if record.failed else done), flush=True)
        if ran:
            self.grown(self.records)
        return record


@contextmanager
def alone(folder: Path, tidy: bool = True) -> Iterator[None]:
    """Within, this process has the folder to itself, but for jobs of its own; `tidy`: what dead ones left is gone.

    The lock goes with its process, however that ends. Raises InputError while another has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / ".owner"
    try:
        lock = FileLock(folder / ".lock").acquire(blocking=False)
    except Timeout:
        who = owner.read_text() if owner.exists() else "?"
        raise InputError(f"{folder} is in use by process {who}: wait for it, or set another RESULTS") from None
    with lock:
        owner.write_text(str(os.getpid()))
        if tidy:
            clean(folder)
        yield


def clean(folder: Path) -> None:
    """Of what is written under a temporary name and then renamed, what never was."""
    for pattern in (".*.tmp", "*.part", ".base-*"):
        for left in folder.rglob(pattern):
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def peak_gb() -> float:
    """Largest resident memory of this process so far, GB."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 2)
