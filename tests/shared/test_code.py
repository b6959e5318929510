"""Which steps an edit runs again: a copy of the sources, every first-party file of it edited in turn.

Oracle of who reaches whom: Python's own modulefinder, which reads byte code.
"""

import ast
import shutil
from modulefinder import ModuleFinder
from pathlib import Path

import pytest

from shared import code

ROOT = Path(__file__).parents[2]
PACKAGES = ("shared", "real", "toy")


@pytest.fixture
def copy(tmp_path):
    """The sources, without the texts."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.jsonl"))
    return tmp_path


def steps(root: Path) -> dict[str, str]:
    """Step -> module of its function, as real/pipeline.py has them."""
    tree = ast.parse((root / "real" / "pipeline.py").read_text())
    modules = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    made = [call.args for call in calls if isinstance(call.func, ast.Name) and call.func.id == "step"]
    return {name.value: modules[function.value.id] for name, function, *_ in made}


def keys(root: Path) -> dict[str, str]:
    return {step: code.of(file(root, module), root) for step, module in steps(root).items()}


def file(root: Path, module: str) -> Path:
    return root.joinpath(*module.split(".")).with_suffix(".py")


def reached(root: Path, module: str) -> set[Path]:
    finder = ModuleFinder([str(root)])
    finder.import_hook(module)
    found = {Path(m.__file__) for m in finder.modules.values() if m.__file__}
    return found | {beside for path in found for beside in path.parent.iterdir() if beside.suffix in code.BESIDE}


def test_an_edit_changes_the_keys_of_the_steps_that_reach_it_and_of_no_others(copy):
    """Every first-party file in turn: a constant more, or, in a template, a space."""
    before = keys(copy)
    assert len(before) == 12
    reaching = {step: reached(copy, module) for step, module in steps(copy).items()}
    files = [path for path in sorted(copy.rglob("*")) if path.suffix in (".py", *code.BESIDE)]
    assert len(files) > 60 and len(set().union(*reaching.values())) > 40
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content + (b"\nEDITED = 1\n" if path.suffix == ".py" else b" "))
        changed = {step for step, key in keys(copy).items() if key != before[step]}
        path.write_bytes(content)
        assert changed == {step for step, found in reaching.items() if path in found}, path
    assert keys(copy) == before


def test_comments_docstrings_and_layout_change_no_key(copy):
    """Of all files at once, so of each."""
    before = keys(copy)
    for path in copy.rglob("*.py"):
        path.write_text(f"# a comment\n\n{otherwise_said(path.read_text())}\n\n\n# another\n")
    assert keys(copy) == before


def otherwise_said(source: str) -> str:
    """With another docstring in the place of each, and none where it stood alone in its module."""
    lines = source.splitlines()
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    tree = ast.parse(source)
    found = [node.body[0] for node in ast.walk(tree) if isinstance(node, kinds) and ast.get_docstring(node) is not None]
    for text in sorted(found, key=lambda text: text.lineno, reverse=True):
        lines[text.lineno - 1 : text.end_lineno] = ["", " " * text.col_offset + '"""Said otherwise."""', ""]
    return "\n".join(lines)


def test_an_import_within_a_function_is_followed_and_what_it_brings_counts(copy):
    edited, new = copy / "shared" / "filtering.py", copy / "shared" / "new.py"
    new.write_text("X = 1\n")
    before = keys(copy)
    edited.write_text(edited.read_text() + "\n\ndef _late():\n    from shared import new\n")
    code._imports.cache_clear()
    after = keys(copy)
    new.write_text("X = 2\n")
    last = keys(copy)
    code._imports.cache_clear()
    reaching = {step for step in before if after[step] != before[step]}
    assert reaching == {step for step in before if last[step] != after[step]}
    assert "5-filters" in reaching and "1-data" not in reaching


def test_the_key_of_a_function_is_that_of_its_module_wherever_the_sources_lie(copy):
    from shared import geometry

    assert code.code(geometry.gap) == code.of(copy / "shared" / "geometry.py", copy)
