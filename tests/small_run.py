"""`python tests/small_run.py DATA_FOLDER KEY=value ...`: the unmodified command on a handful of texts."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from real import causes, data, evaluate, run, saes, spill
from real.__main__ import main

KEEP = {"health": 20, "career": 10, "legal": 10, "toxic": 20, "questions": 2, "probes": 2}


def shrink(folder: Path) -> None:
    """The first rows of every shipped set, canary line included."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in KEEP.items():
        lines = (data.SHIPPED / f"{name}.jsonl").read_text().split("\n")[: rows + 1]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    shrink(folder)
    data.SHIPPED = folder
    saes.DRAWS, run.ROWS, run.ANSWERS, causes.RANDOM, causes.DOSES = 5_000, 2, 1, 1, (1,)
    evaluate.SAMPLED, evaluate.NEW_TOKENS, spill.NEW_TOKENS = 1, 8, 8
    sys.exit(main(sys.argv[2:]))
