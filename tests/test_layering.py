"""The architecture, read from the sources: who imports whom, and how long a function may be."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("shared", "toy", "real")
SOURCES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
HOMES = {  # the only files that may import a third-party face
    "transformer_lens": {"real/models.py"},
    "sae_lens": {"real/saes.py", "toy/saes.py"},
    "openai": {"real/judge.py"},
}
FORBIDDEN = {"shared": {"toy", "real"}, "toy": {"real"}, "real": {"toy"}}


def imported(tree: ast.AST, path: str) -> set[str]:
    """First part of every module a file imports, in functions too; a relative import is of its package."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0] if node.level == 0 else path.split("/")[0])
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            names |= {arg.value.split(".")[0] for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    return names


def violations(path: str, tree: ast.AST) -> list[str]:
    package, name = path.split("/")[0], path.split("/")[-1]
    wrong = []
    for module in imported(tree, path):
        if module in FORBIDDEN[package] or path not in HOMES.get(module, {path}):
            wrong.append(f"{path} imports {module}")
        if module == "matplotlib" and not name.endswith("figures.py"):
            wrong.append(f"{path} imports matplotlib")
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            wrong.append(f"{path}:{node.lineno} has a bare except")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 60:
            wrong.append(f"{path}:{node.lineno} {node.name} is longer than 60 lines")
    return wrong


def test_the_sources_keep_the_rules():
    assert {path.split("/")[0] for path in SOURCES} == set(PACKAGES)
    assert [line for path, tree in SOURCES.items() for line in violations(path, tree)] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("toy/run.py", "from real.data import rows"),
        ("real/run.py", "import toy.model as m"),
        ("shared/stats.py", "def f():\n    from toy import law"),
        ("shared/stats.py", "import importlib\nimportlib.import_module('real.data')"),
        ("real/data.py", "import transformer_lens.utils"),
        ("toy/model.py", "from sae_lens import SAE"),
        ("real/saes.py", "import openai"),
        ("toy/run.py", "from matplotlib import pyplot as plt"),
        ("real/judge.py", "try:\n    pass\nexcept:\n    pass"),
        ("toy/run.py", "def long():\n" + "    x = 1\n" * 60),
    ],
)
def test_each_rule_catches_its_breach(path, source):
    assert len(violations(path, ast.parse(source))) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("toy/saes.py", "import sae_lens\nfrom shared import geometry"),
        ("real/figures.py", "import matplotlib.pyplot as plt"),
        ("toy/run.py", "from . import real\ndef f():\n" + "    x = 1\n" * 59),
        ("real/judge.py", "import openai\ntry:\n    pass\nexcept ValueError:\n    pass"),
    ],
)
def test_what_is_allowed_passes(path, source):
    assert violations(path, ast.parse(source)) == []
