"""Every lesson runs from top to bottom, its checks and solutions included."""

import runpy
from pathlib import Path

import pytest

from toy import notebooks

LESSONS = sorted((Path(__file__).parents[2] / "toy" / "lessons").glob("*.py"))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_and_its_checks_hold(lesson, capsys):
    runpy.run_path(str(lesson))
    text = lesson.read_text()
    assert capsys.readouterr().out.count("\n") >= 4
    assert text.count("**Exercise") == 2 and text.count("# solution") == 2
    assert "**Predict" in text and "**Question:**" in text


def test_a_folder_that_cannot_be_written_to_is_one_line_before_any_lesson(tmp_path, capsys):
    (tmp_path / "file").touch()
    for argv in ([str(tmp_path / "file")], ["--help"]):
        assert notebooks.main(argv) == 2
        assert capsys.readouterr().err.count("\n") == 1
