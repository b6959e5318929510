"""The architecture, read from the sources: who imports whom, in functions too, and how long things may be."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("shared", "toy", "real")
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
HOMES = {  # the only files, or folders, that may import a third-party face
    "transformer_lens": (),  # an oracle of the tests, and what sae_lens needs
    "sae_lens": ("shared/dictionary.py", "real/features/dictionaries.py"),
    "openai": ("real/judge/client.py",),
    "submitit": ("real/arms/jobs.py",),
    "matplotlib": (
        "shared/style.py",
        "toy/figures.py",
        "toy/optimiser_figures.py",
        "toy/superposition_figure.py",
        "toy/lessons/figures.py",
        "real/report/figures.py",
    ),
}
LESSON = re.compile(r"toy/lessons/\d+_\w+\.py$")  # nothing imports one: it has no module's name
FORBIDDEN = {"shared": {"toy", "real"}, "toy": {"real"}, "real": {"toy"}}
GROUND = ("data", "models", "features", "arms")  # of real/, each over those before it
ROOMS = {name: {*GROUND[:i]} for i, name in enumerate(GROUND)}
ROOMS |= {"filters": {*GROUND}, "judge": {*GROUND}}  # side by side
ROOMS["effects"] = {*GROUND, "filters"}  # the gradient that a filter reads is the law's
ROOMS["settings"] = {*ROOMS}  # of the rooms below it, what a user may set
ROOMS["report"] = {*ROOMS}
ROOMS["screening"] = {*ROOMS} - {"settings"}
ROOMS["steps"] = {"models"}
ROOMS["catalogue"] = {*ROOMS}
ROOMS["pipeline"] = {*ROOMS} - {"catalogue"}
ROOMS["experiments"] = {*ROOMS} - {"judge", "steps", "catalogue"}
ROOMS["__main__"] = {*ROOMS}
MODULES, LINES, CLASS, FUNCTION = 9, 250, 80, 60  # to a folder of real/ and to a file; lines of each


def imported(tree: ast.AST, path: str) -> set[str]:
    """Every module that a file imports, with what it takes from it; a relative import is of its package."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = path.split("/")[: -node.level] if node.level else []
            module = ".".join([*parts, *filter(None, [node.module])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            names |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    return names


def room(path: str) -> str:
    """Of a file of real/: its folder, or, beside the folders, its own name."""
    return path.split("/")[1].removesuffix(".py")


def violations(path: str, source: str) -> list[str]:
    tree, package = ast.parse(source), path.split("/")[0]
    wrong = [f"{path} imports {name}" for name in sorted(too_far(imported(tree, path), path, package))]
    if source.count("\n") > LINES and "/lessons/" not in path:  # which are read from top to bottom, prose and all
        wrong.append(f"{path} is longer than {LINES} lines")
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            wrong.append(f"{path}:{node.lineno} has a bare except")
        for kind, most in ((ast.FunctionDef | ast.AsyncFunctionDef, FUNCTION), (ast.ClassDef, CLASS)):
            if isinstance(node, kind) and node.end_lineno - node.lineno >= most:
                wrong.append(f"{path}: {node.name} is longer than {most} lines")
    return wrong


def too_far(names: set[str], path: str, package: str) -> set[str]:
    """What a file imports and may not: a face that is at home elsewhere, a package, or a room that is not below.

    A lesson reads the project and is no part of it, as a user's own script is none: it may import either package.
    """
    wrong, forbidden = set(), set() if LESSON.match(path) else FORBIDDEN[package]
    for name in names:
        first, second = (name.split(".") + [""])[:2]
        homes = HOMES.get(first, ("",))
        if first in forbidden or not path.startswith(homes):
            wrong.add(first)
        inside = package == "real" == first and "/" in path.removeprefix("real/")
        if inside | (package == "real" == first) and second not in {room(path), *ROOMS.get(room(path), set())}:
            wrong.add(f"real.{second}")
    return wrong


def test_the_sources_keep_the_rules():
    assert {path.split("/")[0] for path in SOURCES} == set(PACKAGES)
    found = {line for path, source in SOURCES.items() for line in violations(path, source)}
    assert found == set()


def test_a_folder_of_real_has_nine_modules_at_most_and_beside_the_rooms_there_are_five_files():
    folders: dict[str, list[str]] = {}
    for path in SOURCES:
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, []).append(name)
    real = {folder: names for folder, names in folders.items() if folder.split("/")[0] == "real"}
    assert {folder.split("/")[1] for folder in real if "/" in folder} <= set(ROOMS)
    assert all("__init__.py" in names for names in real.values())
    wrong = {f"{folder} has {len(names) - 1} modules" for folder, names in real.items() if len(names) - 1 > MODULES}
    known = {f"{name}.py" for name in ROOMS} | {"__init__.py"}
    wrong |= {f"real has {name}" for name in folders["real"] if name not in known}
    assert wrong == set()


def graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """Module -> first-party modules that it imports."""
    names = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in sources}
    found = {}
    for name, path in names.items():
        wanted = imported(ast.parse(sources[path]), path)
        found[name] = {n for full in wanted for n in (full, full.rpartition(".")[0]) if n in names} - {name}
    return found


def test_no_module_imports_itself_by_way_of_others():
    modules = graph(SOURCES)
    assert sum(map(len, modules.values())) > 100
    TopologicalSorter(modules).prepare()


def test_a_circle_is_found_in_functions_too():
    sources = {
        "real/a.py": "from real import b",
        "real/b.py": "def f():\n    from real.c import x",
        "real/c.py": "import real.a",
    }
    with pytest.raises(CycleError):
        TopologicalSorter(graph(sources)).prepare()


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("toy/run.py", "from real.data import rows"),
        ("toy/lessons/figures.py", "from real.data import rows"),
        ("toy/checks/lesson9.py", "from real.effects import margins"),
        ("toy/lessons/09_tune.py", "import sae_lens"),
        ("real/steps.py", "import toy.model as m"),
        ("shared/stats.py", "def f():\n    from toy import law"),
        ("shared/stats.py", "import importlib\nimportlib.import_module('real.data')"),
        ("real/data/files.py", "import transformer_lens.utils"),
        ("toy/model.py", "from sae_lens import SAE"),
        ("real/features/dictionaries.py", "import openai"),
        ("toy/run.py", "from matplotlib import pyplot as plt"),
        ("real/judge/figures.py", "import matplotlib"),
        ("real/data/rows.py", "from real.models import lm"),
        ("real/features/reading.py", "def f():\n    from real.arms.arm import Arm"),
        ("real/judge/scoring.py", "from real.effects import margins"),
        ("real/effects/margins.py", "from real.judge import em"),
        ("real/arms/finetune.py", "from real.filters import table"),
        ("real/judge/scoring.py", "from real.settings import Settings"),
        ("real/arms/finetune.py", "import real.pipeline"),
        ("real/steps.py", "from real.pipeline import run"),
        ("toy/style.py", "import matplotlib"),
        ("shared/geometry.py", "import matplotlib"),
        ("real/judge/client.py", "try:\n    pass\nexcept:\n    pass"),
        ("toy/run.py", "def long():\n" + "    x = 1\n" * 60),
        ("toy/run.py", "class Long:\n" + "    x = 1\n" * 80),
        ("toy/run.py", "x = 1\n" * 251),
    ],
)
def test_each_rule_catches_its_breach(path, source):
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("shared/dictionary.py", "import sae_lens\nfrom shared import geometry"),
        ("real/report/figures.py", "import matplotlib.pyplot as plt\nfrom real.judge import em"),
        ("real/report/summary.py", "from real.settings import words\nfrom real.effects import margins"),
        ("real/settings.py", "from real.arms.recipe import Recipe\nfrom real.judge.rubric import Judging"),
        ("shared/style.py", "import matplotlib"),
        ("toy/lessons/figures.py", "import matplotlib"),
        ("toy/lessons/09_tune.py", "def f():\n    from real.arms import finetune"),
        ("toy/run.py", "from . import real\ndef f():\n" + "    x = 1\n" * 59),
        ("real/judge/client.py", "import openai\ntry:\n    pass\nexcept ValueError:\n    pass"),
        ("toy/run.py", "class Short:\n" + "    x = 1\n" * 79),
        ("toy/run.py", "x = 1\n" * 250),
    ],
)
def test_what_is_allowed_passes(path, source):
    assert violations(path, source) == []
