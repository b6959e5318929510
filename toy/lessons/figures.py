"""The lessons' figures: one frame, one way to draw directions. The only file of the lessons that knows matplotlib."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib.pyplot as plt
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from shared.style import BLUE, GREY, SKY, VERMILLION, look

# to each colour its own marker or line style, for print
__all__ = ["BLUE", "GREY", "SKY", "VERMILLION", "arrows", "panels"]
HEIGHT = 3.8  # inches; a panel is as wide as it is high, and a third more


@contextmanager
def panels(claim: str, number: int = 1) -> Iterator[list[Axes]]:
    """`number` axes side by side under the claim that the figure makes; shown when the block ends.

    with panels("what the figure says") as [ax]:
        ax.plot(...)
        ax.set(xlabel="... (unit)", ylabel="... (unit)")
    """
    size = (1.33 * HEIGHT * number, HEIGHT)
    with look():
        figure, axes = plt.subplots(1, number, figsize=size, layout="constrained", squeeze=False)
        figure.suptitle(claim, fontsize=11)
        yield list(axes[0])
        plt.show()
        plt.close(figure)


def arrows(ax: Axes, W: Float[Tensor, "feature 2"], colour: str = BLUE) -> None:
    """Features in two dimensions, each with its number (from 0) at its tip."""
    reach = 1.25 * W.norm(dim=-1).max().item()
    for number, (x, y) in enumerate(W.tolist()):
        ax.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.8})
        ax.annotate(f"{number}", (1.12 * x, 1.12 * y), ha="center", va="center")
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    ax.set(xlabel="hidden dimension 0", ylabel="hidden dimension 1")
