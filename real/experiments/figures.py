"""An experiment's figure: its claim and what became of it in the title, every estimate with its interval below."""

import io
import textwrap

from matplotlib.figure import Figure

from shared.stats import Estimate
from shared.style import BLUE, VERMILLION, look

WIDTH = 7.2  # inches


@look()
def forest(title: str, rows: dict[str, Estimate], main: str) -> bytes:
    """PNG. One row an estimate, 0 marked; `main` is the outcome that was fixed before."""
    title = textwrap.fill(title, 78)
    fig = Figure(figsize=(WIDTH, 0.9 + 0.27 * len(rows) + 0.2 * title.count("\n")), layout="constrained")
    panel = fig.subplots()
    panel.axvline(0, color="0.4", lw=0.8, zorder=1)
    for y, (name, e) in enumerate(rows.items()):
        colour, marker = (VERMILLION, "D") if name == main else (BLUE, "o")
        panel.plot([e.low, e.high], [y, y], color=colour, lw=2, zorder=2)
        panel.plot(e.value, y, marker, color=colour, ms=6, zorder=3)
    panel.set(yticks=range(len(rows)), ylim=(len(rows) - 0.4, -0.6), xlabel="nats per answer token, 95 % intervals")
    panel.set_yticklabels(rows, fontsize=8)
    fig.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=150, facecolor="white", metadata={"Software": None})
    return file.getvalue()
