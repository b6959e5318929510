"""Pictures are drawn by the project's own settings: the user's are neither used nor changed."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

from shared.style import LOOK, STYLE, look
from toy import figures

ROOT = Path(__file__).parents[2]


@pytest.fixture
def users_own():
    """What a matplotlibrc, a style sheet or a notebook may have set: LaTeX that is not installed, dark paper."""
    with matplotlib.rc_context({"text.usetex": True, "figure.facecolor": "black", "savefig.bbox": "tight"}):
        yield


def picture(path) -> bytes:
    @look()
    def draw() -> Figure:
        figure = Figure(figsize=(2, 2))
        figure.subplots().set(title="a claim", xlabel="cosine")
        return figure

    figures.save(draw(), path)
    return path.read_bytes()


def test_the_user_s_settings_do_not_change_a_picture(tmp_path, request):
    plain = picture(tmp_path / "plain.png")
    request.getfixturevalue("users_own")
    assert picture(tmp_path / "theirs.png") == plain


def test_the_user_s_settings_are_theirs_again_afterwards(users_own):
    with look(**{"font.size": 7}):
        assert matplotlib.rcParams["font.size"] == 7 and not matplotlib.rcParams["text.usetex"]
        assert all(matplotlib.rcParams[name] == value for name, value in LOOK.items())
    assert matplotlib.rcParams["text.usetex"] and matplotlib.rcParams["figure.facecolor"] == "black"


def test_a_notebooks_backend_and_matplotlibrc_do_not_break_a_figure(tmp_path):
    """As inherited by a process that a notebook starts: a backend that is not here, and LaTeX that is not either."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    draw = f"""
from pathlib import Path
from shared.stats import Estimate
from toy import figures
half = Estimate(0.5, 0.4, 0.6, 3)
at = {{"per_dimension": half, **dict.fromkeys(("trained", "untrained"), {{"r2": half, "cosine": half}})}}
figures.save(figures.dictionary_figure({{20: at, 10: at}}), Path({str(tmp_path / "here.png")!r}))
"""
    theirs = {"MPLBACKEND": "module://a_notebook.backend", "MATPLOTLIBRC": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", draw], cwd=ROOT, env=os.environ | theirs, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "here.png").read_bytes().startswith(b"\x89PNG")


def test_no_two_kinds_look_alike():
    """In print a marker tells them apart, or else they never meet in a panel: a filter and an arm, say."""
    assert len(set(STYLE.values())) == len(STYLE)
    filters = ("geometry", "projection", "gradient", "judge", "random", "oracle")
    arms = ("inducing", "control", "toxic", "background", "mixed")
    for group in (filters, arms):
        assert len({STYLE[kind][1] for kind in group}) == len(group)
