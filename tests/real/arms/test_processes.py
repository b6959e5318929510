"""Step 6 by two CPU processes (gloo): sharded by fully_shard, the losses of one process, whole again after kill -9."""

import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
import small_run
import standins
import torch
from safetensors.torch import load_file

from real import pipeline
from real.__main__ import main
from real.arms import filters, finetune, launch
from real.data import corpus as data
from real.models import devices
from real.run import Run
from shared.records import read_json, write_json

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A copy of the sources with a handful of texts, which the processes run, and a small Llama in a folder."""
    base = tmp_path_factory.mktemp("together")
    for package in ("real", "shared"):
        shutil.copytree(ROOT / package, base / package)
    small_run.shrink(base / "real" / "data")
    model = standins.random_model("llama-3.1-8b", num_hidden_layers=4, dtype="float32")
    model.save_pretrained(base / "model")
    standins.tokenizer("llama").save_pretrained(base / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "SHIPPED", base / "real" / "data")
        patch.setattr(launch, "ROOT", base)
        patch.chdir(base)
        patch.setattr(pipeline, "run", step_6)
        patch.setenv("OMP_NUM_THREADS", "1")
        yield base


def step_6(settings) -> None:
    run = Run(settings)
    names = filters.mixed(run.corpus.advice["health"].train, seed=0)
    scored = {"scores": {name: {sample: 0.0 for sample in names} for name in filters.AWARE}}
    write_json(run.folder / "5-filters.json", scored)
    run.samples(names[:1])  # harvests, as step 2 has done by now
    write_json(run.folder / "6-finetune.json", finetune.finetune(run, scored))


def command(base: Path, name: str, processes: int, *words: str) -> int:
    """The exit code of the command on two or three samples a step, one a pass."""
    choose = devices.choose
    with pytest.MonkeyPatch.context() as patch:
        plan = lambda *asked: choose(*asked)._replace(processes=processes, micro=1)  # noqa: E731
        patch.setattr(devices, "choose", plan)
        here = [f"MODEL={base / 'model'}", f"RESULTS={base / name}"]
        return main([*here, "SAE=train", "TRAIN=8", "BATCH=3", "RANK=4", "LR=1e-2", *words])


def arms(base: Path, name: str) -> dict:
    return read_json(base / name / "6-finetune.json")["arms"]


def check_same(base: Path, one: str, other: str) -> None:
    """Losses and weights, to rounding that five optimiser steps have carried on."""
    assert list(arms(base, one)) == list(arms(base, other))
    for arm in arms(base, one).values():
        theirs = read_json(base / other / "adapters" / arm["folder"] / "training.json")["loss"]
        assert arm["loss"] == pytest.approx(theirs, rel=1e-5)
    for file in (base / one / "adapters").glob("[a-z]*/**/*.safetensors"):
        mine, other_file = load_file(file), base / other / file.relative_to(base / one)
        torch.testing.assert_close(mine, load_file(other_file), rtol=1e-3, atol=1e-4)


def test_two_processes_hold_half_the_blocks_each_and_have_the_losses_of_one(base, capsys):
    assert command(base, "one", 1) == 0
    assert command(base, "two", 2) == 0, capsys.readouterr().err
    check_same(base, "one", "two")
    losses = arms(base, "one")["inducing-0"]["loss"]
    assert max(losses) - min(losses) > 1e-3  # something was learnt
    log = (base / "two" / "finetune.log").read_text()
    held = {m[1]: int(m[2]) / int(m[3]) for m in re.finditer(r"process (\d) holds (\d+) of (\d+)", log)}
    model = standins.random_model("llama-3.1-8b", num_hidden_layers=4)
    whole = sum(p.numel() for p in model.parameters())
    half = whole - sum(p.numel() for p in model.model.layers.parameters()) / 2
    assert set(held) == {"0", "1"}
    assert all(share == pytest.approx(half / whole, rel=0.02) for share in held.values())


def test_after_kill_9_of_one_of_two_processes_one_line_and_a_rerun_that_ends_as_if_nothing_had_been(
    base, capsys
):
    assert command(base, "whole", 1, "FULL=1") == 0
    folder, stamps = base / "killed" / "adapters", {}

    def kill():
        while not list(folder.glob("[a-z]*")):  # until an arm is finished
            time.sleep(0.02)
        ours = [p for p in psutil.Process().children(recursive=True) if "real.worker" in p.cmdline()]
        (second,) = [p.pid for p in ours if p.environ().get("RANK") == "1"]
        os.kill(second, signal.SIGKILL)
        stamps.update({path: path.stat().st_mtime_ns for path in folder.glob("[a-z]*/training.json")})

    before = psutil.Process().children(recursive=True)  # of other tests
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    capsys.readouterr()
    assert command(base, "killed", 2, "FULL=1") == 2
    killer.join(timeout=10)
    said = capsys.readouterr().err.strip().split("\n")[-1]
    assert re.fullmatch(
        r"error: fine-tune: process 1 ended with code -9, see \S+; finished arms are kept: .*", said
    )
    assert not set(psutil.Process().children(recursive=True)) - set(before)
    assert 0 < len(stamps) < len(arms(base, "whole"))
    assert command(base, "killed", 1, "FULL=1") == 0  # with as many processes as one likes
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    check_same(base, "whole", "killed")
