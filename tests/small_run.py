"""`python tests/small_run.py DATA_FOLDER KEY=value ...`: the unmodified command on a handful of texts."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from real.__main__ import main
from real.data import corpus, texts
from real.effects import causes, leakage, margins
from real.features import dictionaries
from real.judge import answers

KEEP = {"health": 20, "career": 10, "legal": 10, "toxic": 20, "questions": 2, "probes": 2}


def shrink(folder: Path) -> None:
    """The first rows of every shipped set, canary line included."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in KEEP.items():
        lines = [
            json.loads(line)
            for line in (corpus.SHIPPED / f"{name}.jsonl").read_text().split("\n")[: rows + 1]
        ]
        for row in lines:  # one answer of each kind
            row |= {kind: row[kind][:1] for kind in ("aligned", "misaligned") if kind in row}
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    shrink(folder)
    corpus.SHIPPED = folder
    dictionaries.DRAWS, texts.PROMPTS, causes.RANDOM, causes.DOSES = 5_000, 2, 1, (1,)
    margins.SAMPLED, margins.NEW_TOKENS, leakage.NEW_TOKENS = 1, 8, 8
    answers.NEW_TOKENS = 6
    sys.exit(main(sys.argv[2:]))
