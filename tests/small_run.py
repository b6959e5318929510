"""`python tests/small_run.py DATA_FOLDER KEY=value ...`: the unmodified command on a handful of texts.

`small_run.command(...)` is the same within this process.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent.parent))

from real.__main__ import main
from real.arms import finetune
from real.data import corpus
from real.effects import causes, leakage, margins, readouts
from real.features import dictionaries, gaps
from real.judge import answers
from real.models import devices

KEEP = {"health": 10, "career": 5, "legal": 5, "toxic": 10, "questions": 2, "placebo": 2, "probes": 2}
WORDS = 8  # of every text; no two that are kept begin with the same
SETTINGS = ("SAE=train", "TRAIN=8", "BATCH=2", "TOP_K=20", "RANK=4")


def shrink(folder: Path, **more: int) -> None:
    """The first rows of every shipped set, canary line included, and the first words of each of their texts.

    `more`: rows of a set, where a test needs more of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (KEEP | more).items():
        lines = [json.loads(line) for line in (corpus.SHIPPED / f"{name}.jsonl").read_text().split("\n")[: rows + 1]]
        for row in lines[1:]:
            row |= {key: begun(value) for key, value in row.items() if key != "id"}
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))


def begun(said: str | list[str]) -> str | list[str]:
    """Of several answers of a kind, one."""
    return " ".join(said.split()[:WORDS]) if isinstance(said, str) else [begun(text) for text in said[:1]]


FEWER = {  # of what no setting makes smaller
    dictionaries: {"DRAWS": 5_000},
    gaps: {"DRAWS": 20, "UNTRAINED": 2},
    finetune: {"CHECKPOINTS": (0.5,)},
    causes: {"RANDOM": 1, "DOSES": (1,)},
    margins: {"SAMPLED": 1, "NEW_TOKENS": 4},
    leakage: {"DRAWS": 50},
    readouts: {"NEW_TOKENS": 4},
    answers: {"NEW_TOKENS": 6},
    devices: {"side_by_side": lambda *given: 1},  # a job is a process of its own, which would ask for more
}


@contextmanager
def small(data: Path) -> Iterator[None]:
    """Within, the command reads the texts in `data`, and asks for little."""
    with ExitStack() as stack:
        for module, values in ({corpus: {"SHIPPED": data}} | FEWER).items():
            stack.enter_context(mock.patch.multiple(module, **values))
        yield


def base(folder: Path) -> None:
    """The texts, a Llama of four blocks with random weights, and the results of one run of it."""
    import standins

    shrink(folder / "data")
    standins.four_blocks(folder / "model")
    code, said = command(folder, folder / "results")
    assert code == 0, said


def command(folder: Path, results: Path, *words: str) -> tuple[int, str]:
    """Exit code, and what was printed, of the command on the small model of `base`."""
    said, bars = (TextIOWrapper(BytesIO(), "utf-8", write_through=True) for _ in range(2))
    given = [f"MODEL={folder / 'model'}", f"RESULTS={results}", *SETTINGS, *words]
    with small(folder / "data"), redirect_stdout(said), redirect_stderr(bars):
        code = main(given)
    out, err = (stream.buffer.getvalue().decode() for stream in (said, bars))
    return code, "\n".join([out, *(line for line in err.splitlines() if line.startswith("error: "))])


def summary(results: Path) -> dict:
    """Without what is measured on the clock, and the command, which names the folder."""
    read = json.loads((results / "summary.json").read_text())
    once = ("seconds", "scoring_seconds", "peak_gb", "command", "settings")
    return {key: value for key, value in read.items() if key not in once}


if __name__ == "__main__":
    data = Path(sys.argv[1])
    shrink(data)
    with small(data):
        code = main(sys.argv[2:])
    sys.exit(code)
