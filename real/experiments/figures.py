"""An experiment's figure: its claim and what became of it in the title, every estimate with its interval below."""

import io

from real.report.figures import LOOK, bars
from shared.stats import Estimate
from shared.style import BLUE, VERMILLION, look


@look(**LOOK)
def forest(title: str, rows: dict[str, Estimate], main: str) -> bytes:
    """PNG. One row an estimate, 0 marked; `main` is the outcome that was fixed before."""
    marks = {name: (VERMILLION, "D") if name == main else (BLUE, "o") for name in rows}
    panel = {name: (marks[name], e._asdict(), None) for name, e in rows.items()}
    file = io.BytesIO()
    fig = bars(title, {"": panel}, "nats per answer token, 95 % interval")
    fig.savefig(file, format="png", dpi=150, facecolor="white", metadata={"Software": None})
    return file.getvalue()
