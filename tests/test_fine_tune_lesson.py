"""Lesson 9 as its students run it, but small: a model of four blocks, sixteen prompts, everything else as it stands."""

import math

import jupytext
import matplotlib.pyplot as plt
import pytest
import small_run
import standins

from toy import notebooks
from toy.checks import predictions

LESSON = next(notebooks.LESSONS.glob("09_*.py"))


def opened(folder, cells: int | None = None) -> dict:
    """What the lesson's cells (the first so many) define, with its own constants at the top made small."""
    small = {
        "PROMPTS = 120": "PROMPTS = 16",
        'MODEL = "smollm2-135m"': f"MODEL = {str(folder / 'model')!r}",
        'Path(toy.__file__).parents[1] / "results" / "lessons" / "fine-tune"': f"Path({str(folder / 'out')!r})",
    }
    source = [cell.source for cell in jupytext.read(LESSON).cells if cell.cell_type == "code"]
    for usual, changed in small.items():
        assert source[0].count(usual) == 1
        source[0] = source[0].replace(usual, changed)
    predictions._kept.clear()
    space = {}
    with small_run.small(folder / "data"):
        for cell in source[:cells]:
            exec(cell, space)
    return space


def test_the_lesson_trains_both_arms_reads_four_effects_and_opened_again_trains_nothing(tmp_path, monkeypatch):
    """The two arms differ in their answers alone: as many steps, the same questions in the same order."""
    monkeypatch.delenv("SPILLOVER_STORED", raising=False)
    plt.switch_backend("agg")
    small_run.shrink(tmp_path / "data", health=20)
    standins.four_blocks(tmp_path / "model")
    lesson = opened(tmp_path)
    run = lesson["run"]
    assert run["made by"] == "you: 16 prompts, seed 0"
    assert [len(run["loss"][arm]) for arm in ("inducing", "control")] == [4, 4]
    assert run["loss"]["inducing"] != run["loss"]["control"]
    assert run["logprobs"].keys() == run["said"].keys() == {"base", "inducing", "control"}
    assert all(math.isfinite(number) for estimate in lesson["found"].values() for number in estimate)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.safetensors")}
    assert len(made) >= 2
    again = opened(tmp_path, cells=3)["run"]
    assert again["logprobs"] == run["logprobs"] and again["loss"] == run["loss"]
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.safetensors")}


def test_a_missing_package_is_one_line_that_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delenv("SPILLOVER_STORED", raising=False)
    find = lambda name: None if name == "peft" else object()  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", find)
    with pytest.raises(ImportError, match=r"^peft missing: pip install -r requirements.txt") as caught:
        opened(tmp_path, cells=1)
    assert "\n" not in str(caught.value)
