"""Jobs in other processes, of this machine and of a Slurm of two nodes: each done once, whoever dies meanwhile."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from real.arms import jobs
from shared.errors import InputError
from shared.records import read_json

ROOT = Path(__file__).parents[3]
HERE = f"{Path(__file__).parent}:{ROOT / 'tests'}"  # where jobs find this file and what it imports
NAMES = ["a", "b", "c@0.5"]


def leave(folder: Path, seconds: float, name: str) -> None:
    """A job that takes its time, and then leaves a record.

    "killed" is, at its first try, and "doomed" at every one; "lost" loses a process of its own at the first. Of
    "halved" one machine dies at the first try, for which the other waits.
    """
    (folder / f"{name}.pid").write_text(str(os.getpid()))
    if name == "halved" and jobs.machine():
        wait_for(folder / name, seconds=1200)
    elif name == "halved" and (folder / "jobs" / "halved.began").stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(seconds)
    if name == "wrong":
        raise InputError("LR=9 is too much")
    if name == "lost" and (folder / "jobs" / "lost.began").stat().st_size == 1:
        raise jobs.Lost("process 1 ended with code -15")
    if name == "doomed" or name == "killed" and (folder / "jobs" / "killed.began").stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / name).write_text("done")


def is_there(folder: Path, name: str) -> bool:
    return (folder / name).exists()


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A Slurm of two nodes of one core each."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install -r requirements-cluster.txt")
    folder, script = tmp_path_factory.mktemp("slurm"), str(ROOT / "tests" / "slurm.sh")
    begun = subprocess.run([script, str(folder), "start"], capture_output=True, text=True)
    if begun.returncode:
        pytest.skip((begun.stdout + begun.stderr).strip().split("\n")[-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield
    subprocess.run([script, str(folder), "stop"], check=True)


@pytest.fixture(params=["local", "slurm"])
def queue(request, tmp_path, monkeypatch):
    """What makes a queue of tmp_path/jobs: anew, as each run does."""
    if request.param == "slurm":
        request.getfixturevalue("slurm")
    monkeypatch.setenv("PYTHONPATH", HERE)
    (tmp_path / "jobs").mkdir()
    return partial(make, request.param, tmp_path / "jobs")


def make(kind: str, folder: Path, nodes: int = 1) -> "jobs.Local | jobs.Slurm":
    return jobs.Local(folder, 0, 2) if kind == "local" else jobs.Slurm(folder, "partition=test,timeout_min=5", nodes)


def fan_out(queue, folder: Path, names: list[str], seconds: float = 0.0) -> None:
    jobs.fan_out(queue, partial(leave, folder, seconds), partial(is_there, folder), names)


def begun(folder: Path) -> dict[str, int]:
    """How often each job began."""
    return {path.stem: path.stat().st_size for path in (folder / "jobs").glob("*.began")}


def test_every_job_is_done_once_and_what_is_done_is_never_begun(queue, tmp_path, capsys):
    (tmp_path / "a").write_text("done before")
    fan_out(queue(), tmp_path, NAMES)
    assert all(is_there(tmp_path, name) for name in NAMES) and (tmp_path / "a").read_text() == "done before"
    assert begun(tmp_path) == {"b": 1, "c@0.5": 1}
    assert "running=" in capsys.readouterr().err
    fan_out(queue(), tmp_path, NAMES)
    assert begun(tmp_path) == {"b": 1, "c@0.5": 1}


def test_one_that_is_killed_is_begun_again_and_one_that_always_is_ends_the_run_in_a_line(queue, tmp_path):
    fan_out(queue(), tmp_path, ["killed", "lost", "b"])
    assert begun(tmp_path) == {"killed": 2, "lost": 2, "b": 1}
    with pytest.raises(InputError, match=r"^doomed began 4 times and left no records: see (\S+)$") as line:
        fan_out(queue(), tmp_path, ["doomed"])
    assert Path(str(line.value).split()[-1]).is_file()
    with pytest.raises(InputError, match="^wrong: LR=9 is too much$"):
        fan_out(queue(), tmp_path, ["wrong"])


HEAD = """
import sys
from pathlib import Path
import test_jobs
kind, folder = sys.argv[1], Path(sys.argv[2])
test_jobs.fan_out(test_jobs.make(kind, folder / "jobs"), folder, test_jobs.NAMES, 6.0)
"""


def test_when_the_run_is_killed_its_jobs_go_on_and_the_next_run_finds_them(queue, tmp_path):
    (tmp_path / "a").write_text("done before")
    head = subprocess.Popen([sys.executable, "-c", HEAD, queue.args[0], str(tmp_path)], cwd=ROOT, env=here())
    wait_for(tmp_path / "b.pid", tmp_path / "c@0.5.pid")
    head.kill()
    head.wait()
    assert not is_there(tmp_path, "b") and jobs.at_work(tmp_path / "jobs")
    fan_out(queue(), tmp_path, NAMES)
    assert begun(tmp_path) == {"b": 1, "c@0.5": 1}


def test_a_job_that_slurm_cancels_is_begun_again(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", HERE)
    head = subprocess.Popen([sys.executable, "-c", HEAD, "slurm", str(tmp_path)], cwd=ROOT, env=here())
    wait_for(tmp_path / "a.pid")
    (tmp_path / "a.pid").unlink()
    subprocess.run(["scancel", make("slurm", tmp_path / "jobs").ids["a"]], check=True)
    assert head.wait(timeout=120) == 0
    assert begun(tmp_path) == {"a": 2, "b": 1, "c@0.5": 1} and is_there(tmp_path, "a")
    scripts = [path.read_text() for path in (tmp_path / "jobs" / "slurm").glob("*_submission.sh")]
    assert len(scripts) == 2 and all("#SBATCH --time=5\n" in script for script in scripts)  # as SLURM= has it


def test_when_one_machine_of_a_job_dies_the_others_do_not_wait_for_it(slurm, tmp_path, monkeypatch):
    """They would until it is found missing, a quarter of an hour; timeout_min ends this job after 5 minutes."""
    monkeypatch.setenv("PYTHONPATH", HERE)
    (tmp_path / "jobs").mkdir()
    start = time.monotonic()
    fan_out(make("slurm", tmp_path / "jobs", nodes=2), tmp_path, ["halved"])
    assert is_there(tmp_path, "halved") and begun(tmp_path) == {"halved": 2}
    assert time.monotonic() - start < 240


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("unshare"), reason="takes root, to hide a folder")
def test_a_folder_that_the_nodes_do_not_see_is_one_line(slurm, tmp_path, monkeypatch):
    """Of this process, and not of Slurm's, there is another file system at the folder."""
    script = f'mount -t tmpfs none {tmp_path} && exec {sys.executable} -c "$0" slurm {tmp_path}'
    monkeypatch.setenv("PYTHONPATH", HERE)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, HEAD], cwd=ROOT, env=here(), capture_output=True, text=True
    )
    said = done.stderr.strip().split("\n")[-1]
    assert done.returncode and "has written nothing in" in said and "is it on every node?" in said


def test_without_slurm_and_for_what_it_refuses_there_is_one_line(slurm, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="^SLURM=colour=blue: .*colour"):
        jobs.Slurm(tmp_path, "colour=blue", 1)
    with pytest.raises(InputError, match="^Slurm: .*[Ii]nvalid partition"):
        fan_out(jobs.Slurm(tmp_path, "partition=nowhere", 1), tmp_path, ["a"])
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="srun"):
        jobs.Slurm(tmp_path, "", 1)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match="pip install -r requirements-cluster.txt"):
        jobs.Slurm(tmp_path, "", 1)


def here() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{HERE}:{ROOT}"}


def wait_for(*paths: Path, seconds: int = 120) -> None:
    for _ in range(10 * seconds):
        if all(path.exists() for path in paths):
            return
        time.sleep(0.1)
    raise AssertionError(f"none of {paths} came")


KILLED = ("control-random-3@0.5", "mixed-oracle@0.5", "control-oracle@0.5")  # arms that are there to be trained


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """A copy of the sources with a handful of texts, a small Llama, and the results of a run in one process."""
    base = tmp_path_factory.mktemp("run")
    for package in ("real", "shared"):
        shutil.copytree(ROOT / package, base / package)
    import small_run  # what it imports takes seconds, and jobs import this file
    import standins

    small_run.shrink(base / "real" / "data")
    for module, values in small_run.FEWER.items():  # in the sources: jobs are processes of their own
        path = base / f"{module.__name__.replace('.', '/')}.py"
        for name, value in values.items():
            path.write_text(re.sub(rf"^{name} = .*", f"{name} = {value!r}", path.read_text(), flags=re.MULTILINE))
    path = base / "real" / "pipeline.py"  # a job of so little would be done before it is killed
    source, first = path.read_text(), "    if order and finetune.order("
    assert source.count(first) == 1
    path.write_text(source.replace(first, f"    __import__('time').sleep(5)\n{first}"))
    standins.four_blocks(base / "model")
    assert run(base, "one").wait() == 0
    return base


def run(base: Path, results: str, *words: str) -> subprocess.Popen:
    """The command, of the copy."""
    from small_run import SETTINGS

    given = [f"MODEL={base / 'model'}", f"RESULTS={base / results}", *SETTINGS, *words]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "real", *given], cwd=base, env=env)


def lacking(base: Path, name: str, arms: tuple[str, ...]) -> Path:
    """A copy of the results, as if these arms had still to be trained."""
    results = base / name
    shutil.copytree(base / "one", results)
    for path in [path for arm in arms for path in results.glob(f"*/{arm}-0-*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for record in ("6-finetune", "7-evaluate", "8-leakage", "9-causes", "10-judge", "11-report", "summary"):
        (results / f"{record}.json").unlink()
    return results


@pytest.mark.parametrize("kind", ["local", "slurm"])
def test_a_run_that_is_killed_with_its_jobs_under_way_ends_with_the_summary_of_one_process(one, kind, request):
    """Under Slurm one of the three jobs is cancelled, too."""
    from small_run import summary

    if kind == "slurm":
        request.getfixturevalue("slurm")
    results = lacking(one, kind, KILLED)
    kept = {path: path.stat().st_mtime_ns for path in results.glob("adapters/*/training.json")}
    head = run(one, kind, f"CLUSTER={kind}")
    while not (began := list(results.glob("jobs/*.began"))):
        assert head.poll() is None
        time.sleep(0.1)
    if kind == "slurm":
        wait_for(results / "jobs" / "submitted.json")
    head.kill()
    head.wait()
    if kind == "slurm":
        ids, cancelled = read_json(results / "jobs" / "submitted.json"), began[0].stem
        subprocess.run(["scancel", ids[cancelled]], check=True)
        while subprocess.run(["squeue", "-h", "-j", ids[cancelled]], capture_output=True).stdout:
            time.sleep(0.1)  # a run that finds it dying would count its beginning
    assert run(one, kind, f"CLUSTER={kind}").wait() == 0
    assert summary(results) == summary(one / "one")
    assert list(begun(results).values()) == [1, 1, 1]  # a run does not count the tries of one before
    if kind == "slurm":
        now = read_json(results / "jobs" / "submitted.json")
        assert {name for name in ids if now[name] != ids[name]} == {cancelled}
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())


def test_two_machines_that_train_an_arm_together_have_the_numbers_of_one_process(one, slurm):
    """Of one process each, over gloo: to rounding that four optimiser steps carry on.

    Of the summary what is in nats: reductions are quotients of effects that are next to nothing here.
    """
    import torch
    from safetensors.torch import load_file
    from small_run import summary

    results = lacking(one, "nodes", ("mixed",))
    assert run(one, "nodes", "CLUSTER=slurm", "NODES=2").wait() == 0
    logs = [path.read_text() for path in (results / "finetune").rglob("stderr.log")]
    assert sorted(re.search(r"process (\d) holds", log)[1] for log in logs) == ["0", "1"]
    ids = read_json(results / "jobs" / "submitted.json")
    tasks = sorted(path.name for path in (results / "jobs" / "slurm").glob("*_log.out"))
    assert tasks == [f"{of}_{machine}_log.out" for of in ids.values() for machine in (0, 1)]
    assert list(begun(results).values()) == [1]
    theirs, ours = (next((one / name / "adapters").glob("mixed-0-*")) for name in ("one", "nodes"))
    losses = [read_json(folder / "training.json")["loss"] for folder in (ours, theirs)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    weights = [load_file(folder / "adapter_model.safetensors") for folder in (ours, theirs)]
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)
    found, known = summary(results), summary(one / "one")
    assert list(found) == list(known)
    for key in ("margin", "effect", "utility"):
        check_close(found[key], known[key], key)


def check_close(found, known, where: str) -> None:
    if isinstance(known, dict):
        assert list(found) == list(known), where
        for key in known:
            check_close(found[key], known[key], f"{where}, {key}")
    else:
        assert found == pytest.approx(known, rel=1e-3, abs=1e-4), where


@pytest.mark.parametrize(
    ("words", "most", "places"), [([], 3, 3), ([], 1, None), (["CLUSTER=local"], 1, 1), (["MODEL=mine"], 3, None)]
)
def test_arms_of_a_known_model_are_made_side_by_side_where_a_cpu_has_room(words, most, places, tmp_path, monkeypatch):
    """Of another only where CLUSTER says so; and the processes share the cores."""
    import standins

    from real import pipeline
    from real.models import devices
    from real.settings import parse

    standins.four_blocks(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "side_by_side", lambda spec, full: most)
    monkeypatch.setattr("shared.cores.cores", lambda: 6)
    s = parse(words)
    queue = pipeline._queue(s, pipeline._lm(s))
    assert (queue and len(queue.places)) == places
    assert not queue or {int(env["OMP_NUM_THREADS"]) for env in queue.places} == {6 // most}


@pytest.mark.parametrize(
    ("here", "visible", "gpus", "places"),
    [(1, None, 0, ["0"]), (1, "3", 1, ["3"]), (4, None, 2, ["0,1", "2,3"]), (3, "5,6,7", 2, ["5,6"])],
)
def test_on_gpus_there_is_one_process_to_as_many_as_were_asked_for(here, visible, gpus, places, tmp_path, monkeypatch):
    """A machine's only GPU is not hidden from its job."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: here)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = jobs.Local(tmp_path, gpus, 1).places
    assert found == [{"CUDA_VISIBLE_DEVICES": devices} for devices in places]
