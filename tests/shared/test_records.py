"""Each docstring of shared/records.py: digests see every byte; files are whole or not there."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import records
from shared.records import cached, digest, folder, read_json, versions, write_json, write_text
from shared.stats import Estimate

SHARED_TMP = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@dataclass(frozen=True)
class Settings:
    rate: float
    data: Path


@SHARED_TMP
@given(st.binary(min_size=1, max_size=64), st.data())
def test_digest_changes_with_any_byte_of_an_input_file(tmp_path, content, data):
    path = tmp_path / "input"
    path.write_bytes(content)
    before = digest("step", path), digest(Settings(0.1, path)), digest({"nested": [path]})
    where = data.draw(st.integers(0, len(content) - 1))
    flipped = content[where] ^ data.draw(st.integers(1, 255))
    path.write_bytes(content[:where] + bytes([flipped]) + content[where + 1 :])
    after = digest("step", path), digest(Settings(0.1, path)), digest({"nested": [path]})
    assert all(a != b for a, b in zip(before, after, strict=True))
    path.write_bytes(content)
    assert before == (digest("step", path), digest(Settings(0.1, path)), digest({"nested": [path]}))


@settings(max_examples=40)
@given(JSON, JSON)
def test_digest_tells_values_apart_and_ignores_the_order_of_keys(a, b):
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (digest(a) == digest(b)) == same
    if isinstance(a, dict):
        assert digest(dict(reversed(a.items()))) == digest(a)


def test_digest_of_parts_does_not_run_them_together():
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest(["ab", "c"]), digest()}) == 5
    assert len({digest(x) for x in (None, float("nan"), float("inf"), -float("inf"), 0, False)}) == 6
    assert len(digest()) == 16 and int(digest(), 16) >= 0


def test_digest_is_the_same_in_another_process():
    code = "from shared.records import digest; print(digest({'b': 1, 'a': [0.1, None]}, 'x'))"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert run.stdout.strip() == digest({"a": [0.1, None], "b": 1}, "x")


def test_digest_of_a_missing_file_or_a_function_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        digest(tmp_path / "absent")
    with pytest.raises(TypeError):
        digest(len)


@SHARED_TMP
@given(obj=JSON)
def test_json_comes_back_as_it_was(tmp_path, obj):
    write_json(tmp_path / "x.json", obj)
    assert read_json(tmp_path / "x.json") == obj


def test_json_of_what_the_project_returns(tmp_path):
    write_json(
        tmp_path / "deep" / "er" / "x.json",
        {
            "estimate": Estimate(0.5, float("nan"), float("inf"), 3),
            "arrays": [
                np.float32(0.5),
                np.arange(2),
                torch.tensor(1.5),
                torch.tensor([1, 2]),
                np.array([np.nan]),
            ],
            "settings": Settings(0.1, Path("a/b")),
            3: "é\ud800",  # a lone surrogate, as a tokenizer or a foreign file may hand over
        },
    )
    assert read_json(tmp_path / "deep" / "er" / "x.json") == {
        "estimate": {"value": 0.5, "low": None, "high": None, "n": 3},
        "arrays": [0.5, [0, 1], 1.5, [1, 2], [None]],
        "settings": {"rate": 0.1, "data": "a/b"},
        "3": "é\ud800",
    }


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "x.txt"
    write_text(path, "old")

    def fail(*_):
        assert path.read_text() == "old"
        raise OSError("no space left on device")

    monkeypatch.setattr(records.os, step, fail)
    with pytest.raises(OSError, match="no space"):
        write_text(path, "new" * 10_000)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x.txt"]


def test_an_object_json_cannot_hold_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "x.json", [1])
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", [1, len])
    assert read_json(tmp_path / "x.json") == [1] and os.listdir(tmp_path) == ["x.json"]


def test_a_written_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "plain").touch()
    write_text(tmp_path / "written", "x")
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "plain").stat().st_mode


def counting(result: dict) -> tuple[list, Callable[[], dict]]:
    calls = []
    return calls, lambda: (calls.append(1), result)[1]


def test_cached_computes_once_per_key_and_returns_the_same_values(tmp_path):
    calls, compute = counting({"x": Estimate(1.0, float("nan"), 2.0, 3), "y": np.float64(0.1)})
    first = cached(tmp_path / "x.json", "k1", compute)
    again = cached(tmp_path / "x.json", "k1", compute)
    assert first == again == read_json(tmp_path / "x.json") and len(calls) == 1
    assert first["x"] == {"value": 1.0, "low": None, "high": 2.0, "n": 3}
    assert first["key"] == "k1" and 0 <= first["seconds"] < 5
    assert cached(tmp_path / "x.json", "k2", compute)["key"] == "k2" and len(calls) == 2


@pytest.mark.parametrize("content", [b"", b'{"key": "k"', b"[1]", b"null", b"\xff"])
def test_cached_computes_again_over_a_broken_record(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    calls, compute = counting({"x": 1})
    assert cached(tmp_path / "x.json", "k", compute)["x"] == 1 and len(calls) == 1


def test_cached_keeps_the_old_record_when_the_computation_fails(tmp_path):
    cached(tmp_path / "x.json", "old", lambda: {"x": 1})
    with pytest.raises(ZeroDivisionError):
        cached(tmp_path / "x.json", "new", lambda: {"x": 1 / 0})
    assert read_json(tmp_path / "x.json")["key"] == "old"


def test_folder_appears_whole_and_replaces_the_older_one(tmp_path):
    target = tmp_path / "deep" / "adapter"
    for content in ("one", "two"):
        with folder(target) as partial:
            assert partial.parent == target.parent and list(partial.iterdir()) == []
            (partial / content).touch()
            assert not target.exists() or os.listdir(target) == ["one"]
        assert os.listdir(target) == [content] and os.listdir(target.parent) == ["adapter"]


def test_folder_that_fails_leaves_the_older_one_and_nothing_else(tmp_path):
    with folder(tmp_path / "adapter") as partial:
        (partial / "one").touch()
    with pytest.raises(KeyboardInterrupt), folder(tmp_path / "adapter") as partial:
        (partial / "two").touch()
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["adapter"] and os.listdir(tmp_path / "adapter") == ["one"]


KILLED = """
import os, pathlib, sys
from shared.records import folder
path, where = pathlib.Path(sys.argv[1]), sys.argv[2]
rename = pathlib.Path.rename
def dying(self, target):
    if self.name.endswith(".partial"): os._exit(9)
    return rename(self, target)
if where == "between the renames": pathlib.Path.rename = dying
with folder(path) as partial:
    (partial / "two").touch()
    if where == "inside": os._exit(9)
"""


@pytest.mark.parametrize("where", ["inside", "between the renames"])
def test_what_a_kill_leaves_is_cleaned_at_the_next_entry_and_the_older_one_is_not_lost(tmp_path, where):
    with folder(tmp_path / "adapter") as partial:
        (partial / "one").touch()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "adapter"), where], check=False)
    assert killed.returncode == 9
    with pytest.raises(ZeroDivisionError), folder(tmp_path / "adapter") as partial:
        assert list(partial.iterdir()) == []
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["adapter"] and os.listdir(tmp_path / "adapter") == ["one"]


def test_versions_name_python_and_the_pinned_packages_without_importing_them():
    assert versions()["python"] == sys.version.split()[0] and versions()["torch"] == torch.__version__
    code = "import sys; from shared.records import versions; versions(); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(records, "PINNED", ("no-such-package",))
    assert versions()["no-such-package"] is None
