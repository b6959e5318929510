"""What a result's code is: the key of a step holds the code that its function reaches, and no comment of it."""

import ast
import hashlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

BESIDE = (".j2", ".css")  # what a module's folder holds that acts as code does


def code(function: Callable) -> str:
    """Digest of the function's module and of all first-party modules that it imports, directly or not.

    Comments, docstrings and layout do not count: of a module only its syntax tree does.
    """
    module = function.__module__
    source = Path(sys.modules[module].__file__)
    return of(source, source.parents[module.count(".")])


def of(source: Path, root: Path) -> str:
    """Digest of a module and of all below `root` that it reaches."""
    whole = hashlib.sha256()
    for path in sorted(reached(source, root)):
        whole.update(f"{path.relative_to(root)} {_content(path)}\n".encode())
    return whole.hexdigest()[:16]


def reached(source: Path, root: Path) -> set[Path]:
    """The files below `root` that decide what `source` does: itself, the packages that it is in, all that these import
    and so on, and templates beside them."""
    packages = [folder / "__init__.py" for folder in source.parents if root in folder.parents]
    found, waiting = set(), [source, *filter(Path.is_file, packages)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imports(path, root)
    folders = {path.parent for path in found}
    return found | {file for folder in folders for file in folder.iterdir() if file.suffix in BESIDE}


@cache
def _imports(path: Path, root: Path) -> list[Path]:
    """First-party files that a module imports, in functions too; importing a.b.c runs a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = [name.split(".") for name in names]
    above = {tuple(part[:n]) for part in parts for n in range(1, len(part) + 1)}
    files = [file for part in above for file in _files(root.joinpath(*part))]
    return [file for file in files if file.is_file()]


def _files(place: Path) -> tuple[Path, Path]:
    return place.with_suffix(".py"), place / "__init__.py"


def _content(path: Path) -> str:
    content = path.read_bytes()
    return _meaning(content) if path.suffix == ".py" else hashlib.sha256(content).hexdigest()


@cache
def _meaning(source: bytes) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [line for i, line in enumerate(node.body) if i or not _is_text(line)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
