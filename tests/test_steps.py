"""A step is passed over while nothing that decides it has changed; a folder belongs to one process at a time."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny

from real.__main__ import main
from real.steps import Steps, alone
from shared import records
from shared.records import Record, write_bytes

ROOT = Path(__file__).parents[1]
HOLDING = """
import sys, time
from pathlib import Path
from real.steps import alone
from shared import records
with alone(Path(sys.argv[1])):
    (Path(sys.argv[1]) / "adapters" / ".base-0").mkdir(parents=True)
    (Path(sys.argv[1]) / "adapters" / ".base-0" / "block-1.safetensors").touch()
    records.os.replace = lambda *_: print("in", flush=True) or time.sleep(600)
    records.write_text(Path(sys.argv[1]) / "summary.json", "{}")
"""


@contextmanager
def holding(folder: Path) -> Iterator[subprocess.Popen]:
    """Another process, with the folder to itself and in the middle of a write."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout.readline() == "in\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_two_runs_in_one_folder_are_one_line_and_the_lock_goes_with_its_process(tmp_path, capsys):
    """However it ends; what it has left half-written is cleaned by the next, and nothing else is."""
    folder = tmp_path / "results"
    with holding(folder) as other:
        write_bytes(folder / "kept.json", b"{}")
        said = f"error: {folder} is in use by process {other.pid}: wait for it, or set another RESULTS\n"
        assert main([f"RESULTS={folder}"]) == 2
        assert capsys.readouterr().err == said
        halves = {path.name for path in folder.rglob("*")} - {"adapters"}
        assert f".summary.json.{other.pid}.tmp" in halves and "block-1.safetensors" in halves
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    with alone(folder):
        left = {path.name for path in folder.rglob("*")}
        assert left == {".lock", ".owner", "adapters", "kept.json"}
        assert (folder / ".owner").read_text() == str(os.getpid())


def test_a_folder_is_free_again_when_a_run_has_ended_or_failed(tmp_path):
    with pytest.raises(ZeroDivisionError), alone(tmp_path):
        raise ZeroDivisionError
    with alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


class Sum(Record):
    """A step's record."""

    total: float


def total(path: Path, *terms: float) -> Sum:
    """A step: what its file and its terms come to."""
    write_bytes(path.parent / "made.txt", b"made")
    return Sum(total=float(path.read_text()) + sum(terms), made={"made.txt": ""})


@pytest.fixture
def said(tmp_path, capsys):
    """What is printed when the step runs anew, in a process that knows nothing yet."""
    (tmp_path / "input").write_text("1")

    def run(*terms: float) -> tuple[float, list[str]]:
        grown = []
        step = Steps(tmp_path, tiny.lm(), lambda records: grown.append(list(records)))
        found = step("1-sum", total, tmp_path / "input", *terms)
        lines = capsys.readouterr().out.splitlines()
        assert grown == ([["1-sum"]] if "1-sum ..." in lines else []) and list(step.records) == ["1-sum"]
        return found.total, lines

    return run


def test_a_step_runs_once_for_the_content_of_what_it_is_given(said, tmp_path):
    skipped = ["1-sum unchanged, skipped"]
    value, lines = said(2.0)
    assert value == 3 and lines[0] == "1-sum ..." and lines[1].startswith("1-sum done in ")
    assert said(2.0) == (3, skipped)
    assert said(3.0)[0] == 4 and said(3.0) == (4, skipped)
    (tmp_path / "input").write_text("2")
    assert said(3.0)[0] == 5 and said(3.0) == (5, skipped)
    os.utime(tmp_path / "input")
    assert said(3.0) == (5, skipped)  # content, not time


@pytest.mark.parametrize("name", ["made.txt", "1-sum.json"])
@pytest.mark.parametrize("harm", [Path.unlink, Path.touch, lambda p: p.write_bytes(p.read_bytes()[:3])])
def test_a_step_whose_record_or_file_is_not_whole_runs_again(said, tmp_path, name, harm):
    said(2.0)
    before = (tmp_path / name).read_bytes()
    harm(tmp_path / name)
    whole = (tmp_path / name).exists() and (tmp_path / name).read_bytes() == before
    value, lines = said(2.0)
    assert value == 3 and ("1-sum unchanged, skipped" in lines) == whole
    assert said(2.0)[1] == ["1-sum unchanged, skipped"]


def test_the_key_of_a_step_holds_versions_and_its_name(said, tmp_path, monkeypatch):
    said(2.0)
    first = records.read(tmp_path / "1-sum.json", Sum).key
    monkeypatch.setattr("real.steps.versions", lambda: {"torch": "0"})
    assert said(2.0)[1][0] == "1-sum ..."
    assert records.read(tmp_path / "1-sum.json", Sum).key != first
