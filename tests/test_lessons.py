"""Every lesson runs from top to bottom, its checks and solutions included."""

import runpy
from pathlib import Path

import pytest

LESSONS = sorted((Path(__file__).parent.parent / "toy" / "lessons").glob("*.py"))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_and_its_checks_hold(lesson, capsys):
    runpy.run_path(str(lesson))
    text = lesson.read_text()
    assert capsys.readouterr().out.count("\n") >= 4
    assert text.count("**Exercise") == 2 and text.count("# solution") == 2
    assert "**Predict" in text and "**Question:**" in text
