"""python -m toy.notebooks [FOLDER]: run every lesson, write a notebook with its outputs to FOLDER (results/lessons)."""

import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

from toy.command import command, ready

LESSONS = Path(__file__).parent / "lessons"


def main(argv: list[str]) -> int:
    """The exit status."""
    return command(argv, "toy.notebooks", "results/lessons", execute)


def execute(out: Path) -> None:
    """A lesson whose check fails ends the run with its traceback: that is what a teacher wants to see."""
    ready(out)
    for path in tqdm(sorted(LESSONS.glob("*.py")), desc="lessons", unit="lesson"):
        notebook = jupytext.read(path)
        where = {"metadata": {"path": LESSONS.parents[1]}}  # so that `import toy` works
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
        nbformat.write(notebook, out / f"{path.stem}.ipynb")
    print(f"wrote {out}/*.ipynb")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
