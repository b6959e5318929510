"""Each docstring of shared/records.py: digests see every byte; files are whole or not there."""

import errno
import json
import math
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
from shared.records import Part, Record, cached, digest, file_digest, read_json, versions, write_json, write_text
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
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
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
            "arrays": [np.float32(0.5), np.arange(2), torch.tensor(1.5), torch.tensor([1, 2]), np.array([np.nan])],
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
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(records.os, step, fail)
    with pytest.raises(OSError, match="No space left") as error:
        write_text(path, "new" * 10_000)
    assert error.value.filename == str(path)  # the disk does not say where
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


class Finding(Part):
    ids: list[int]
    r: float


class Found(Record):
    """All that a record of the project holds: NaN, NamedTuples, parts within parts, numbers as names."""

    x: float = 0.0
    estimate: Estimate | None = None
    layers: dict[int, Finding] = {}


def counting(result: Found) -> tuple[list, Callable[[], Found]]:
    calls = []
    return calls, lambda: (calls.append(1), result)[1]


def test_cached_computes_once_per_key_and_returns_the_same_values(tmp_path):
    about = {"x": 0.1, "layers": {20: Finding(ids=[3, 1], r=-0.5)}}
    calls, compute = counting(Found(estimate=Estimate(1.0, float("nan"), float("inf"), 3), **about))
    first = cached(tmp_path / "x.json", "k1", Found, compute)
    again = cached(tmp_path / "x.json", "k1", Found, compute)
    assert first.model_dump_json() == again.model_dump_json() and len(calls) == 1
    assert {name: getattr(first, name) for name in about} == about
    assert first.estimate[0] == 1 and math.isnan(first.estimate.low) and first.estimate.high == math.inf
    assert first.key == "k1" and 0 <= first.seconds < 5
    assert cached(tmp_path / "x.json", "k2", Found, compute).key == "k2" and len(calls) == 2


BROKEN = [b"", b'{"key": "k"', b"[1]", b"[]", b"null", b"\xff", b'{"key": "k", "x": 1}', b"\0" * 300]


@pytest.mark.parametrize("content", BROKEN)
def test_cached_computes_again_over_a_broken_record_and_says_so_in_one_line(content, tmp_path, capsys):
    """Cut off, of another form, with the right key and without its digest."""
    (tmp_path / "x.json").write_bytes(content)
    calls, compute = counting(Found(x=1))
    assert cached(tmp_path / "x.json", "k", Found, compute).x == 1 and len(calls) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"{tmp_path}/x.json: ") and said.endswith(": made again\n") and said.count("\n") == 1
    assert cached(tmp_path / "x.json", "k", Found, compute).x == 1 and len(calls) == 1


@SHARED_TMP
@given(st.data())
def test_a_record_with_any_byte_changed_or_any_tail_gone_is_computed_again(tmp_path, data):
    """Unless what it says is the same: white space at its end."""
    path = tmp_path / "x.json"
    calls, compute = counting(Found(x=0.125, layers={20: Finding(ids=[3, 1], r=-0.5)}, made={}))
    path.unlink(missing_ok=True)
    wanted = cached(path, "k", Found, compute)
    content = path.read_bytes()
    where = data.draw(st.integers(0, len(content.rstrip()) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(content[:where])
    else:
        flipped = content[where] ^ data.draw(st.integers(1, 255))
        path.write_bytes(content[:where] + bytes([flipped]) + content[where + 1 :])
    again = cached(path, "k", Found, compute)
    assert again.content == wanted.content
    assert len(calls) == 2 and again == records.read(path, Found)


def test_a_record_of_another_kind_or_another_version_is_computed_again(tmp_path):
    class Older(Record):
        x: int
        gone: str

    cached(tmp_path / "x.json", "k", Older, lambda: Older(x=1, gone="?"))
    calls, compute = counting(Found(x=2))
    assert cached(tmp_path / "x.json", "k", Found, compute).x == 2 and len(calls) == 1


def test_cached_keeps_the_old_record_when_the_computation_fails(tmp_path):
    cached(tmp_path / "x.json", "old", Found, lambda: Found(x=1))
    with pytest.raises(ZeroDivisionError):
        cached(tmp_path / "x.json", "new", Found, lambda: Found(x=1 / 0))
    assert read_json(tmp_path / "x.json")["key"] == "old"


def test_what_failed_can_be_used_and_is_tried_again(tmp_path):
    calls, compute = counting(Found(x=1, failed="no judge"))
    for n in (1, 2):
        assert cached(tmp_path / "x.json", "k", Found, compute).failed == "no judge" and len(calls) == n
    mended, compute = counting(Found(x=2))
    assert cached(tmp_path / "x.json", "k", Found, compute).x == 2
    assert cached(tmp_path / "x.json", "k", Found, compute).failed is None and len(mended) == 1


def writing(folder: Path) -> tuple[list, Callable[[], Found]]:
    calls = []

    def compute() -> Found:
        calls.append(1)
        for name in ("weights/one.bin", "two.npy"):
            records.write_bytes(folder / name, b"0123456789")
        return Found(x=1, made={"weights/one.bin": "", "two.npy": ""})

    return calls, compute


FAULTS = {
    "deleted": (Path.unlink, "is gone"),
    "flipped": (lambda path: path.write_bytes(b"0123456780"), "has changed since it was written"),
    "cut off": (lambda path: path.write_bytes(b"01234"), "has changed since it was written"),
    "emptied": (lambda path: path.write_bytes(b""), "has changed since it was written"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is gone"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["weights/one.bin", "two.npy"])
def test_a_record_whose_file_is_not_as_it_was_is_computed_again_with_one_line(name, fault, tmp_path, capsys):
    calls, compute = writing(tmp_path)
    record = cached(tmp_path / "x.json", "k", Found, compute)
    assert record.made == {n: file_digest(tmp_path / n) for n in ("weights/one.bin", "two.npy")}
    assert cached(tmp_path / "x.json", "k", Found, compute) == record and len(calls) == 1
    assert capsys.readouterr().out == ""
    harm, why = FAULTS[fault]
    harm(tmp_path / name)
    if fault == "a folder":
        with pytest.raises(OSError, match=name.split("/")[-1]):  # in the way: said, not overwritten
            cached(tmp_path / "x.json", "k", Found, compute)
        (tmp_path / name).rmdir()
    again = cached(tmp_path / "x.json", "k", Found, compute)
    assert again.made == record.made and len(calls) >= 2
    assert capsys.readouterr().out.splitlines()[0] == f"{tmp_path / name} {why}: made again"


def test_a_record_stands_in_a_digest_for_what_it_found_not_for_how_long_it_took():
    one = Found(x=1, made={"a": "1"}, key="k", seconds=3.0, peak_gb=1.0)
    same, other = Found(x=1, made={"a": "2"}, key="j", seconds=5.0), Found(x=2, key="k")
    assert digest(one) == digest(same) == digest({"x": [one]}["x"][0])
    assert digest([one]) != digest([other]) != digest([Found(x=1, failed="?")]) != digest([one])
    parts = [Finding(ids=[1], r=r) for r in (0.5, 0.25, float("nan"))]
    assert len({digest(parts[:1]), digest(parts[1]), digest({"of": parts[1:]}), digest(parts[2])}) == 4
    assert digest(parts[0]) == digest(Finding(ids=[1], r=0.5))
    nested = [Found(layers={20: Finding(ids=ids, r=0.0)}) for ids in ([1, 2], [2, 1])]
    assert digest(nested[0]) != digest(nested[1])


def test_versions_name_python_and_the_pinned_packages_without_importing_them():
    assert versions()["python"] == sys.version.split()[0] and versions()["torch"] == torch.__version__
    code = "import sys; from shared.records import versions; versions(); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(records, "PINNED", ("no-such-package",))
    assert versions()["no-such-package"] is None
