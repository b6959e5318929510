"""python -m toy.notebooks [FOLDER]: run every lesson, write a notebook with its outputs to FOLDER (results/lessons)."""

import sys
from pathlib import Path
from tempfile import TemporaryFile

import jupytext
import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

from shared.errors import InputError
from toy.run import writing

LESSONS = Path(__file__).parent / "lessons"


def main(argv: list[str]) -> int:
    """The exit status: 2, after one line, for what the user can mend.

    A lesson whose check fails ends the run with its traceback: that is what a teacher wants to see.
    """
    try:
        if len(argv) > 1 or any(arg.startswith("-") for arg in argv):
            raise InputError("usage: python -m toy.notebooks [FOLDER]")
        out = Path(argv[0] if argv else "results/lessons")
        with writing(out):  # tried before the lessons, not only after them
            out.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=out).close()
    except InputError as error:
        print(f"toy: {error}", file=sys.stderr)
        return 2
    for path in tqdm(sorted(LESSONS.glob("*.py")), desc="lessons", unit="lesson"):
        notebook = jupytext.read(path)
        where = {"metadata": {"path": LESSONS.parents[1]}}  # so that `import toy` works
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
        nbformat.write(notebook, out / f"{path.stem}.ipynb")
    print(f"wrote {out}/*.ipynb")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
