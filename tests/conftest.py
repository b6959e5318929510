"""Every shape in a signature is checked while the tests run; what is made once serves the whole test run."""

import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # no test needs a hub, and none waits for one
os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # the suite shares the cores out; and hooks and patches are of this process

import pytest
from beartype import BeartypeConf
from beartype.claw import beartype_packages
from hypothesis import settings
from jaxtyping import install_import_hook

gc.set_threshold(700, 10, 1000)  # as the command has it
ROOT = Path(__file__).parents[1]
FOUND = [path for package in ("shared", "real") for path in (ROOT / package).rglob("*.py")]
SHAPED = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FOUND if "jaxtyping" in path.read_text()]
install_import_hook(["toy", *SHAPED], "beartype.beartype")
TYPES = BeartypeConf(claw_is_pep526=False, is_pep484_tower=True, violation_type=TypeError)  # an int may be a float
beartype_packages(("shared", "real"), conf=TYPES)  # of what has no shape: far quicker than the hook
settings.register_profile("project", deadline=None, max_examples=50)
settings.load_profile("project")


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`once(name, make)`: the folder that `make(folder)` has filled, by whoever asked first. Only to be read."""
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def get(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = base / name, base / f"{name}.done"
        with FileLock(base / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                make(folder)
                done.touch()
        return folder

    return get
