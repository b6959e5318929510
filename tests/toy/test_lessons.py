"""The course as its readers meet it: teachers' notebooks run in their own folder, students' stop at every exercise."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import traceback
from importlib import import_module
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch

from toy import notebooks
from toy.checks import predictions

LESSONS = sorted(notebooks.LESSONS.glob(notebooks.SOURCES))
NUMBERS = [path.stem[:2].lstrip("0") for path in LESSONS]
WRONG = {number: import_module(f"wrong_answers.lesson{number}").WRONG for number in NUMBERS}
CHECKS = {number: import_module(f"toy.checks.lesson{number}") for number in NUMBERS}
EXERCISES = [(number, name) for number in NUMBERS for name in WRONG[number]]
PARTS = ("**Objective.**", "**Before this.**", "**Minutes.** ", "## Derivation", "**Further reading.**")
LIMIT = "**What this does not show.**"


@pytest.fixture(scope="session")
def written():
    """The folder of `make lessons`, somewhere below the project, where another kernel calls itself python3."""
    out = notebooks.ROOT / "results" / f"lessons-test-{os.getpid()}"
    decoy = out / "jupyter" / "kernels" / "python3"
    decoy.mkdir(parents=True)
    (decoy / "kernel.json").write_text('{"argv": ["false"], "display_name": "Python 3", "language": "python"}')
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = str(out / "jupyter")
    try:
        assert notebooks.main([str(out)]) == 0
        yield out
    finally:
        os.environ.pop("JUPYTER_PATH") if before is None else os.environ.update(JUPYTER_PATH=before)
        shutil.rmtree(out)


def opened(written: Path, kind: str, lesson: Path):
    return nbformat.read(written / kind / f"{lesson.stem}.ipynb", as_version=4)


def headings(cells) -> dict[str, str]:
    """Exercise "1.2" -> its stars."""
    return {found[1]: found[2] for cell in cells if (found := notebooks.HEADING.search(cell.source))}


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_has_all_its_parts_and_every_figure_says_what_it_does_not_show(written, lesson):
    solved, given = (opened(written, kind, lesson) for kind in ("teacher", "student"))
    nbformat.validate(solved), nbformat.validate(given)
    text = "\n".join(cell.source for cell in given.cells)
    assert [part for part in PARTS if part not in text] == []
    number = lesson.stem[:2].lstrip("0")
    assert len(set(re.findall(rf"\\tag\{{({number}\.\d+)\}}", text))) >= 2 and text.count("](http") >= 1
    figures = [place for place, cell in enumerate(solved.cells) if "image/png" in str(cell.get("outputs", ""))]
    assert figures and [place for place in figures if LIMIT not in solved.cells[place + 1].source] == []
    assert text.index("# your prediction") < text.index("reveal(")
    assert notebooks.SPOKEN not in text
    asked, marked = text.count("# your prediction"), "\n".join(cell.source for cell in solved.cells)
    assert marked.count("# your prediction: a sample") == marked.count("# your prediction") == asked
    stars = headings(given.cells)
    assert len(stars) >= 4 and set(stars.values()) == {"★", "★★", "★★★"}
    assert {name.replace(".", "_") for name in stars} == set(WRONG[number])
    graded = [cell.metadata.nbgrader for cell in solved.cells if "nbgrader" in cell.metadata]
    assert len({cell.grade_id for cell in graded}) == len(graded) == 2 * len(stars)
    assert [cell.points for cell in graded if cell.grade] == [len(level) for level in stars.values()]
    for exercise in stars:
        part = text.split(f"### Exercise {exercise} ")[1].split("### Exercise")[0]
        assert part.count("<details><summary>Hint") >= 2, exercise
        assert part.count(f"<details><summary>Solution {exercise}</summary>") == 1, exercise


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_the_students_notebook_holds_no_output_and_no_answer_and_stops_at_every_exercise(written, lesson, monkeypatch):
    """Run as a student would who has only written down a prediction; what the exercises need comes from there."""
    given = opened(written, "student", lesson)
    monkeypatch.chdir(written / "student")
    for name, value in notebooks.STORED.items():
        monkeypatch.setenv(name, value)
    plt.switch_backend("agg")
    cells = [cell for cell in given.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and "SOLUTION" not in cell.source for cell in cells)
    predictions._kept.clear()
    space, failures = {}, []
    for cell in cells:
        try:
            exec(compile(cell.source, cell.id, "exec"), space)
        except Exception as error:
            failures.append((type(error), str(error)))
    stops = {text[:40].split(":")[0].split()[-1] for kind, text in failures if kind is NotImplementedError}
    assert stops == set(headings(given.cells))
    asked = sum("# your prediction" in cell.source for cell in cells)
    assert sum(text.startswith("prediction") and "Write a number" in text for _, text in failures) == asked >= 1


@pytest.mark.parametrize(("number", "name"), EXERCISES)
def test_a_wrong_answer_is_told_what_is_wrong_with_it(number, name):
    """At least two for every exercise, each with a sentence of its own."""
    said = set()
    for kind, (answer, *given, words) in WRONG[number][name].items():
        with pytest.raises(AssertionError, match=re.escape(words)) as caught:
            getattr(CHECKS[number], f"check_{name}")(answer, *given)
        said.add(str(caught.value))
        assert str(caught.value).startswith(name.replace("_", ".") + ": "), kind
    assert len(said) == len(WRONG[number][name]) >= 2


@pytest.mark.parametrize(("number", "name"), EXERCISES)
def test_an_error_in_a_students_code_shows_no_line_of_the_check(number, name):
    """Its lines hold the answer. A notebook leaves out a frame that says __tracebackhide__."""
    check = getattr(CHECKS[number], f"check_{name}")
    assert "__tracebackhide__" in check.__code__.co_varnames

    def broken(*_):
        raise KeyError("mine")

    if name in ("2_4", "2_5"):  # these ask for a value
        return
    with pytest.raises(KeyError, match="mine") as caught:
        check(broken)
    frames = [frame for frame, _ in traceback.walk_tb(caught.tb) if "toy/checks" in frame.f_code.co_filename]
    assert frames and all(frame.f_locals.get("__tracebackhide__") for frame in frames)


def test_an_answer_of_lists_or_arrays_is_right_and_told_that_cells_below_want_a_tensor(capsys):
    for of, says in ((lambda x: x, False), (lambda x: x.tolist(), True), (lambda x: x.numpy(), True), (list, True)):
        CHECKS["1"].check_1_1(lambda W, h, of=of: of(W @ h))
        CHECKS["3"].check_3_4(lambda W, t, k, of=of: of(W[k] * (W[t] @ W[k]) / (W[k] @ W[k]) - W[t]))
        assert capsys.readouterr().out.count("go on with a tensor") == 2 * says
    CHECKS["1"].check_1_3(lambda n, d: (n - d) / (d * (n - 1)))
    assert capsys.readouterr().out == "1.3: right\n"


@pytest.mark.parametrize("method", ["linear", "lower", "higher", "nearest", "weibull", "median_unbiased"])
def test_any_definition_of_a_percentile_is_right(method, capsys):
    ends = lambda means: torch.tensor(np.percentile(means, [2.5, 97.5], method=method))  # noqa: E731
    CHECKS["9"].check_9_4(lambda effects, picks: ends(effects[picks].mean(1)))
    CHECKS["9"].check_9_5(lambda a, b, i, j: ends(a[i].mean(1) - b[j].mean(1)))
    assert capsys.readouterr().out == "9.4: right\n9.5: right\n"


def test_a_prediction_comes_before_the_number_and_stays(capsys):
    predictions._kept.clear()
    for say in (lambda: predictions.predict("a", ..., "how many"), lambda: predictions.reveal("a", 3)):
        with pytest.raises(AssertionError, match="prediction a"):
            say()
    predictions.predict("a", 5, "how many")
    predictions.reveal("a", 3)
    predictions.predict("a", 3, "how many")
    assert "your first prediction stays: 5" in capsys.readouterr().out
    predictions.predictions()
    assert re.search(r"said +5 +found +3", capsys.readouterr().out)


def test_a_folder_that_cannot_hold_notebooks_is_one_line_before_any_lesson(tmp_path, capsys):
    (file := notebooks.ROOT / "results" / f"file-{os.getpid()}").parent.mkdir(exist_ok=True)
    file.touch()
    try:
        for argv in ([str(file)], [str(tmp_path)], ["--help"]):
            assert notebooks.main(argv) == 2
            assert capsys.readouterr().err.count("\n") == 1
    finally:
        file.unlink()


def first_cell(folder: Path, repo: str = "") -> dict:
    """Runs it in `folder`; what it defines."""
    source = (notebooks.LESSONS / "first_cell.py").read_text().replace('REPO = ""', f"REPO = {repo!r}")
    space = {"__vsc_ipynb_file__": str(folder / "lesson.ipynb")}
    exec(source, space)
    return space


def test_the_first_cell_finds_the_project_above_or_fetches_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert first_cell(notebooks.LESSONS / "deeper" / "still")["root"] == notebooks.ROOT
    with pytest.raises(RuntimeError, match="set REPO"):
        first_cell(tmp_path)
    with monkeypatch.context() as another, pytest.raises(ModuleNotFoundError, match="^missing: torch; open .* .venv"):
        find = importlib.util.find_spec
        another.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else find(name))
        first_cell(notebooks.LESSONS)
    project = tmp_path / "project"
    (project / "toy").mkdir(parents=True)
    (project / "toy" / "law.py").touch()
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "toy"]):
        subprocess.run([*git, *arguments], cwd=project, check=True)
    for _ in range(2):  # the second time it is there
        fetched = first_cell(tmp_path / "elsewhere", f"file://{project}")["root"]
        assert fetched == tmp_path / "elsewhere" / "spillover" and (fetched / "toy" / "law.py").exists()
        assert sys.path[0] == str(fetched)
