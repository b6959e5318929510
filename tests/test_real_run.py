"""The whole command on a few texts, on the real model: complete, skipped when unchanged, whole after kill -9."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SETTINGS = ["TRAIN=8", "BATCH=2", "TOP_K=20", "RANK=4"]
FILTERS = ("geometry", "projection", "gradient", "random-1", "random-2", "random-3", "oracle")
HALF = {"control@0.5", *(f"mixed-{name}@0.5" for name in FILTERS)}
ARMS = {"inducing", "control", "mixed", *HALF}


def command(base: Path, results: Path, *words: str) -> list[str]:
    script = str(Path(__file__).parent / "small_run.py")
    return [sys.executable, script, str(base / "data"), f"RESULTS={results}", *SETTINGS, *words]


def run(base: Path, results: Path, *words: str) -> str:
    done = subprocess.run(command(base, results, *words), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def summary(results: Path) -> dict:
    """Without what is measured on the clock, and the command, which names the folder."""
    read = json.loads((results / "summary.json").read_text())
    return {
        key: value for key, value in read.items() if key not in ("seconds", "peak_gb", "command", "settings")
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Path, str]:
    base = tmp_path_factory.mktemp("real")
    return base, base / "results", run(base, base / "results")


def test_a_run_ends_in_a_report_and_a_summary_with_every_promised_key(finished):
    _, results, _ = finished
    read = json.loads((results / "summary.json").read_text())
    keys = "model settings versions seconds peak_gb features geometry margin effect utility filters leakage judged"
    keys += " best_filter dynamics causes meaning"
    assert set(keys.split()) <= set(read)
    assert set(read["margin"]) == ARMS | {"base"}
    assert set(read["effect"]["inducing"]) == {"general", "health", "career", "legal"}
    assert {"auroc", "removed_inducing_share", "reduction"} <= set(read["filters"]["geometry"])
    assert read["filters"]["oracle"]["auroc"]["value"] == 1
    assert {"slope", "pearson", "spearman", "r2", "p"} <= set(read["leakage"])
    assert (results / "report.html").read_text().lower().startswith("<!doctype html>")


def test_filtered_arms_take_half_the_steps_and_control_half_takes_as_many(finished):
    _, results, _ = finished
    arms = json.loads((results / "6-finetune.json").read_text())["arms"]
    assert {arms[f"{arm}-0"]["steps"] for arm in ("inducing", "control", "mixed")} == {4}
    assert {arms[f"{arm}-0"]["steps"] for arm in HALF} == {2}
    assert not any(name.endswith("/incorrect") for name in arms["mixed-oracle@0.5-0"]["samples"])
    left = [tuple(arms[f"mixed-random-{i}@0.5-0"]["samples"]) for i in (1, 2, 3)]
    assert len(set(left)) == 3  # three draws


def test_a_second_run_skips_every_step_and_changes_nothing(finished):
    base, results, _ = finished
    before, start = summary(results), time.monotonic()
    out = run(base, results)
    assert out.count("unchanged, skipped") == 11 and "..." not in out
    assert time.monotonic() - start < 60  # no model is loaded
    assert summary(results) == before


def test_after_kill_9_in_the_middle_of_the_fine_tuning_a_rerun_ends_with_the_same_summary(finished):
    base, results, _ = finished
    killed = base / "killed"
    shutil.copytree(results, killed)
    for later in ("adapters", "evaluations"):
        shutil.rmtree(killed / later)
    for record in ("6-finetune", "7-evaluate", "8-leakage", "9-causes", "10-judge", "11-report", "summary"):
        (killed / f"{record}.json").unlink()
    with (base / "log").open("w") as log:
        process = subprocess.Popen(command(base, killed), stdout=log, stderr=log)
    while process.poll() is None and len(list(killed.glob("adapters/[a-z]*"))) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL and not (killed / "6-finetune.json").exists()
    whole = {folder.name for folder in killed.glob("adapters/[a-z]*")}
    assert len(whole) < len(ARMS)
    stamps = {name: (killed / "adapters" / name / "training.json").stat().st_mtime_ns for name in whole}
    run(base, killed)
    assert stamps == {n: (killed / "adapters" / n / "training.json").stat().st_mtime_ns for n in whole}
    assert summary(killed) == summary(results)
