"""python -m toy.notebooks [FOLDER]: write every lesson twice, for students and for teachers (results/lessons).

    student/   a line that fails for every solution, `...` for every prediction; solutions are folded below the checks
    teacher/   solved, with outputs: every lesson is run, in that folder; lesson 9 on a stored fine-tune; predictions
               are marked as samples, and what exercises ask to be said in words is answered

A lesson is a script, lessons/NN_name.py; each notebook finds the project above it by the cell in lessons/first_cell.py.
The markers ### BEGIN SOLUTION and ### END SOLUTION and the cells' metadata are nbgrader's.
"""

import os
import re
import sys
from pathlib import Path
from textwrap import dedent

import jupytext
import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from tqdm import tqdm

from shared.cores import in_parallel
from shared.errors import InputError
from toy.command import command, ready, writing

ROOT = Path(__file__).parents[1]
LESSONS = Path(__file__).parent / "lessons"
SOURCES = "[0-9]*.py"
STORED = {"SPILLOVER_STORED": "1"}  # lesson 9 reads the project's own run: none is fine-tuned here
HEADING = re.compile(r"^### Exercise (\d+\.\d+) (★+)", re.M)
REGION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n(.*?)^[ \t]*### END SOLUTION[ \t]*$", re.M | re.S)
MARKERS = re.compile(r"^[ \t]*### (BEGIN|END) SOLUTION[ \t]*\n?", re.M)
PREDICTION = re.compile(r"^(\w+ = ).*?(  # your prediction)", re.M)
SPOKEN = "**For the teacher.**"  # begins a cell that students do not get
PLACEHOLDER = """\
{indent}# your code here, in place of the next line
{indent}raise NotImplementedError("exercise {exercise}: your code goes here; then run the check below")"""


def main(argv: list[str]) -> int:
    """The exit status."""
    return command(argv, "toy.notebooks", "results/lessons", write)


def write(out: Path) -> None:
    """A lesson whose check fails ends the run with its traceback: that is what a teacher wants to see.

    InputError for a folder outside of the project: a notebook finds the project above itself.
    """
    if not out.resolve().is_relative_to(ROOT):
        raise InputError(f"{out} is outside of the project: the notebooks would not find it; try results/lessons")
    for kind in ("student", "teacher"):
        ready(out / kind)
    paths = sorted(LESSONS.glob(SOURCES))
    with writing(out):
        for path in paths:
            nbformat.write(student(read(path)), out / "student" / f"{path.stem}.ipynb")
        with tqdm(total=len(paths), desc="lessons", unit="lesson") as bar:

            def solve(path: Path) -> None:
                notebook = teacher(read(path))
                run(notebook, out / "teacher")
                nbformat.write(notebook, out / "teacher" / f"{path.stem}.ipynb")
                bar.update()

            in_parallel(solve, paths)
    print(f"wrote {out}/student/*.ipynb and, solved, {out}/teacher/*.ipynb")


def read(path: Path) -> NotebookNode:
    """The lesson as its teacher sees it, not yet run: nbgrader's metadata in place, and the first cell."""
    notebook = jupytext.read(path)
    setup = new_code_cell((LESSONS / "first_cell.py").read_text(encoding="utf-8").rstrip())
    notebook.cells.insert(1, setup)
    exercise = stars = None
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        if cell.cell_type == "markdown" and (found := HEADING.search(cell.source)):
            exercise, stars = found[1], len(found[2])
        elif exercise and REGION.search(cell.source):
            cell.metadata.nbgrader = _graded(f"exercise-{exercise}", solution=True)
        elif exercise and check_of(exercise) in cell.source:
            cell.metadata.nbgrader = _graded(f"check-{exercise}", grade=True, locked=True, points=stars)
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    return notebook


def teacher(notebook: NotebookNode) -> NotebookNode:
    """What `read` returns, with the predictions marked: they are the authors' samples, no answers."""
    for cell in notebook.cells:
        cell.source = PREDICTION.sub(r"\g<0>: a sample, by the authors", cell.source)
    return notebook


def student(notebook: NotebookNode) -> NotebookNode:
    """What `read` returns, without solutions, predictions, spoken answers; each solution is folded below its check."""
    cells, exercise, solved = [], None, ""
    for cell in notebook.cells:
        if cell.source.startswith(SPOKEN):
            continue
        cells.append(cell)
        if cell.cell_type == "markdown":
            exercise = found[1] if (found := HEADING.search(cell.source)) else exercise
            continue
        if REGION.search(cell.source):
            solved = MARKERS.sub("", cell.source).strip()
            cell.source = REGION.sub(
                lambda found, of=exercise: PLACEHOLDER.format(indent=found[1], exercise=of), cell.source
            )
        cell.source = PREDICTION.sub(r"\1...\2", cell.source)
        if solved and check_of(exercise) in cell.source:
            fold = f"<details><summary>Solution {exercise}</summary>\n\n```python\n{dedent(solved)}\n```\n\n</details>"
            cells.append(new_markdown_cell(fold, id=f"solution-{exercise.replace('.', '-')}"))
            solved = ""
    notebook.cells = cells
    return notebook


def check_of(exercise: str) -> str:
    """How a cell calls the check of exercise "1.2"."""
    return f"check_{exercise.replace('.', '_')}("


def run(notebook: NotebookNode, folder: Path) -> None:
    """Fills in the outputs. In `folder`, and by this interpreter, whatever kernel calls itself python3 elsewhere."""
    ours = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    where = {"metadata": {"path": str(folder)}}
    quiet = ["--IPKernelApp.log_level=ERROR"]  # or each lesson is told that its kernel, on this machine, speaks plainly
    client = NotebookClient(notebook, km=ours, timeout=600, resources=where, extra_arguments=quiet)
    client.execute(env=os.environ | STORED)


def _graded(name: str, **given) -> dict:
    usual = {"grade": False, "solution": False, "locked": False, "task": False, "schema_version": 3}
    return usual | {"grade_id": name.replace(".", "-")} | given


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
