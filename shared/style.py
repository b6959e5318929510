"""How every figure looks: one look, one table of colours. Only this file and those called figures know matplotlib."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib

# Okabe and Ito's colours, told apart by the colour-blind; the markers tell them apart in grey.
BLUE, VERMILLION, SKY, GREY = "#0072B2", "#D55E00", "#56B4E9", "0.45"
STYLE = {  # what is drawn -> colour and marker
    "inducing": (VERMILLION, "o"),
    "control": (BLUE, "s"),
    "toxic": ("#000000", "X"),
    "background": ("#9A9A9A", "."),
    "mixed": ("#000000", "D"),
    "geometry": ("#009E73", "^"),
    "projection": ("#3D9BD9", "p"),
    "gradient": ("#B07C00", "v"),
    "judge": ("#5D3A9B", "h"),
    "random": ("#6F6F6F", "X"),
    "oracle": ("#9C4F7F", "P"),
}
LOOK = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


@contextmanager
def look(**settings: object) -> Iterator[None]:
    """Within, and in what it decorates, figures are made and saved by matplotlib's defaults, LOOK and `settings`.

    Nothing of the user's own (a matplotlibrc that asks for LaTeX, a notebook's dark theme) gets into a picture.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(LOOK | settings)
        yield
