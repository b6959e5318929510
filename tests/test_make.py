"""The Makefile: every setting arrives as it was written or is refused, and .venv belongs to the Python that made it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORDS = "import json, os; from real.settings import from_make; print(json.dumps(from_make(os.environ)))"
MADE = """#!/bin/sh
case "$1 $2" in
  -c*) echo {version};;
  "-m venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python; echo {version} >> built;;
esac
"""


def make(folder: Path, *words: str, env: dict | None = None) -> subprocess.CompletedProcess:
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    own |= {"PYTHONPATH": str(ROOT), **(env or {})}
    return subprocess.run(["make", *words], cwd=folder, env=own, capture_output=True, text=True, timeout=60)


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("Makefile", "requirements.txt", "requirements-toy.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def installed(folder: Path, script: str) -> None:
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(script)
    python.chmod(0o755)
    for name in ("installed", "installed-toy"):
        (folder / ".venv" / name).touch()


@pytest.mark.parametrize(
    "word",
    [
        "SEEDS=0,1,2",
        "DATA=it's here/a b.jsonl",
        "DATA=a$b$(c)\\d",
        "SEED=0",
        "seeds=1",
        "SEEDS:=1",
        'MODEL="x"',
        "DATA=é#",
    ],
)
def test_a_word_of_makes_command_line_reaches_the_program_as_it_was_written(word, folder):
    """Known, misspelt or lower-case: what is no setting is for the program to refuse, with its list."""
    installed(folder, f"#!/bin/sh\nexec '{sys.executable}' -c '{WORDS}'\n")
    done = make(folder, "-k", "real", word)
    assert json.loads(done.stdout) == [word], done.stderr


@pytest.mark.parametrize(
    ("word", "env", "line"),
    [
        ("SEED=0,1,2", {}, "error: 'SEED=0,1,2' is not a setting; settings: MODEL, "),
        ("seeds=0", {}, "error: 'seeds=0' is not a setting; settings: MODEL, "),
        (
            "TRAIN=80",
            {"SEEDS": "0,1"},
            "error: SEEDS stands in the environment, which is not read: write make real SEEDS=",
        ),
        ("RANK=x", {}, "error: RANK=x must be a whole number"),
    ],
)
def test_what_make_is_given_in_vain_is_refused_in_one_line(word, env, line, folder):
    installed(folder, f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    done = make(folder, "real", word, env=env)
    assert done.returncode == 2 and done.stderr.startswith(line) and "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1 and done.stdout == ""


@pytest.mark.parametrize("target", ["toy", "lessons"])
def test_what_has_no_settings_refuses_them(target, folder):
    installed(folder, "#!/bin/sh\necho began\n")
    refused = make(folder, target, "SEEDS=0 1")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"error: make {target} has no settings\n")
    assert make(folder, target).stdout == "began\n"


def test_the_python_that_is_named_makes_the_venv_and_a_wrong_one_is_told_at_once(folder):
    for version in ("3.9", "3.12", "3.13"):
        (folder / f"py{version}").write_text(MADE.format(version=version))
        (folder / f"py{version}").chmod(0o755)
    refused = make(folder, "toy", "PYTHON=./py3.9")
    assert refused.returncode == 2 and not (folder / ".venv").exists()
    assert refused.stderr.startswith("error: ./py3.9 is Python 3.9, one of 3.11 3.12 3.13 is needed")
    for python in ("PYTHON=./py3.12", "PYTHON=./py3.12", "PYTHON=./py3.13"):
        done = make(folder, "toy", python)
        assert done.returncode == 0, done.stderr
    assert make(folder, "toy").returncode == 0  # none is named: the one that is there
    assert list(dict.fromkeys((folder / "built").read_text().split())) == ["3.12", "3.13"]


def test_the_readme_names_the_same_versions():
    versions = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("PYTHONS :="))
    first, *_, last = versions.split()[2:]
    assert f"Python {first} to {last}" in (ROOT / "README.md").read_text()
