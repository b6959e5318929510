"""Step 6 by two CPU processes (gloo): sharded by fully_shard, the losses of one process, whole again after kill -9."""

import os
import re
import signal
import threading
import time
from functools import partial
from multiprocessing import get_context, set_forkserver_preload
from pathlib import Path

import psutil
import pytest
import small_run
import standins
import torch
from safetensors.torch import load_file

from real import pipeline
from real.__main__ import main
from real.arms import finetune
from real.arms.arm import AWARE, CONTROL, INDUCING, JUDGE, MIXED, Arm, Job, Scores, mixed
from real.arms.finetune import Finetuned, Tuned
from real.arms.training import Training
from real.data import corpus
from real.features.reading import Reading, bare
from real.models import devices
from real.settings import Settings
from shared import records


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A handful of texts and a small Llama, each in a folder."""
    base = tmp_path_factory.mktemp("together")
    small_run.shrink(base / "data", health=20)
    standins.four_blocks(base / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "SHIPPED", base / "data")
        patch.setattr(pipeline, "run", step_6)
        patch.setenv("OMP_NUM_THREADS", "1")
        yield base


@pytest.fixture
def forked(monkeypatch):
    """What joins is forked from one process that has imported, and does not import again."""
    from torch.distributed.launcher import api

    set_forkserver_preload(["real.arms.finetune", "accelerate", "peft", "transformers.models.llama.modeling_llama"])
    monkeypatch.setattr(api, "LaunchConfig", partial(api.LaunchConfig, start_method="forkserver"))


@pytest.fixture(scope="module")
def one(base) -> str:
    """Where one process has fine-tuned."""
    assert command(base, "one", 1) == 0
    return "one"


def step_6(settings: Settings) -> None:
    reading, scores = ready(settings)
    tuned = finetune.finetune(reading, scores, settings.recipe, settings.sweep)
    records.write(reading.folder / "6-finetune.json", tuned)


def by_two_machines(settings: Settings) -> None:
    """Which are two processes that meet at a port of this one, each with one process to train with."""
    reading, scores = ready(settings)
    orders = finetune.orders(reading, scores, settings.recipe, settings.sweep)
    reading.lm.nodes = 2
    other = get_context("spawn").Process(
        target=finetune.trained, args=(bare(reading, reading.lm.plan), orders, settings.recipe)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_NODEID", "1")
        other.start()
    finetune.trained(reading, orders, settings.recipe)
    other.join()
    assert other.exitcode == 0
    step_6(settings)


def ready(settings: Settings) -> tuple[Reading, Scores]:
    reading = pipeline.reading_of(settings)
    samples = mixed(reading.texts.corpus.advice["health"].train, seed=0)
    reading.samples(samples[:1])  # harvests, as step 2 has done by now
    return reading, Scores(samples, {name: [0.0] * len(samples) for name in (*AWARE, JUDGE)})


def command(base: Path, name: str, processes: int, *words: str) -> int:
    """The exit code of the command on two or three samples a step, one a pass."""
    choose = devices.choose
    with pytest.MonkeyPatch.context() as patch:
        plan = lambda *asked: choose(*asked)._replace(processes=processes, micro=1)  # noqa: E731
        patch.setattr(devices, "choose", plan)
        here = [f"MODEL={base / 'model'}", f"RESULTS={base / name}"]
        return main([*here, "SAE=train", "TRAIN=13", "BATCH=3", "RANK=4", "LR=1e-2", *words])


def jobs(base: Path, name: str) -> dict[Job, Tuned]:
    return {of.job: of for of in records.read(base / name / "6-finetune.json", Finetuned).jobs}


def check_same(base: Path, one: str, other: str) -> None:
    """Losses and weights, to rounding that five optimiser steps have carried on."""
    assert list(jobs(base, one)) == list(jobs(base, other))
    for arm in jobs(base, one).values():
        theirs = records.read(base / other / "adapters" / arm.folder / "training.json", Training).loss
        assert arm.loss == pytest.approx(theirs, rel=1e-5)
    for file in (base / one / "adapters").glob("[a-z]*/**/*.safetensors"):
        mine, other_file = load_file(file), base / other / file.relative_to(base / one)
        torch.testing.assert_close(mine, load_file(other_file), rtol=1e-3, atol=1e-4)


def test_two_processes_hold_half_the_blocks_each_and_have_the_losses_of_one(base, one, forked, capsys):
    assert command(base, "two", 2) == 0, capsys.readouterr().err
    check_same(base, one, "two")
    trained = {job.arm for job in jobs(base, "two")}
    assert {Arm(INDUCING), Arm(CONTROL), Arm(MIXED), Arm(MIXED, JUDGE, 0.5)} < trained  # the judge's arm, too
    losses = jobs(base, one)[Job(Arm(INDUCING), 0)].loss
    assert max(losses) - min(losses) > 1e-3  # something was learnt
    log = "".join(path.read_text() for path in (base / "two" / "finetune").rglob("stderr.log"))
    held = {m[1]: int(m[2]) / int(m[3]) for m in re.finditer(r"process (\d) holds (\d+) of (\d+)", log)}
    model = standins.random_model("llama-3.1-8b", num_hidden_layers=4)
    whole = sum(p.numel() for p in model.parameters())
    half = whole - sum(p.numel() for p in model.model.layers.parameters()) / 2
    assert set(held) == {"0", "1"}
    assert all(share == pytest.approx(half / whole, rel=0.02) for share in held.values())


def test_two_machines_of_one_process_each_have_the_losses_of_one(base, one, forked, monkeypatch):
    """As two processes that meet on loopback."""
    monkeypatch.setenv("MASTER_PORT", str(20_000 + os.getpid() % 12_000))  # none of outgoing connections
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setattr(pipeline, "run", by_two_machines)
    assert command(base, "machines", 2) == 0
    check_same(base, one, "machines")
    logs = (base / "machines" / "finetune").rglob("stderr.log")
    assert sum("holds" in path.read_text() for path in logs) == 2


def test_after_kill_9_of_one_of_two_processes_one_line_and_a_rerun_that_ends_as_if_nothing_had_been(base, capsys):
    assert command(base, "whole", 1, "FULL=1") == 0
    folder, stamps = base / "killed" / "adapters", {}

    def kill():
        while not list(folder.glob("[a-z]*/training.json")):  # until an arm is finished
            time.sleep(0.02)
        ours = [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
        os.kill(max(p.pid for p in ours), signal.SIGKILL)  # the last to be started
        stamps.update({path: path.stat().st_mtime_ns for path in folder.glob("[a-z]*/training.json")})

    before = psutil.Process().children(recursive=True)  # of other tests
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    capsys.readouterr()
    assert command(base, "killed", 2, "FULL=1") == 2
    killer.join(timeout=10)
    said = capsys.readouterr().err.strip().split("\n")[-1]
    assert re.fullmatch(r"error: fine-tune: process 1 ended with code -9, see \S+; finished arms are kept: .*", said)
    assert not set(psutil.Process().children(recursive=True)) - set(before)
    assert 0 < len(stamps) < len(jobs(base, "whole"))
    assert command(base, "killed", 1, "FULL=1") == 0  # with as many processes as one likes
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    check_same(base, "whole", "killed")
