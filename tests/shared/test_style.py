"""Pictures are drawn by the project's own settings: the user's are neither used nor changed."""

import matplotlib
import pytest
from matplotlib.figure import Figure

from shared.style import LOOK, STYLE, look
from toy import figures


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


def test_no_two_kinds_look_alike():
    assert len({marker for _, marker in STYLE.values()} | set()) >= len(STYLE) - 4
    assert len(set(STYLE.values())) == len(STYLE)
