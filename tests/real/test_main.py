"""The program's own door: one line for whatever it is given, its exit codes, and a reader or a person who goes away."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from real.__main__ import STOPPED, _importing, main
from real.pipeline import reading_of
from real.settings import flat, of, parse
from shared.errors import InputError

ROOT = Path(__file__).parents[2]
REFUSED = {
    "SEEDS=" + "9" * 25: "SEEDS=",
    "SEEDS=" + "9" * 5000: "must be whole numbers",
    "SEEDS=0,0": "must be distinct",
    "SEEDS=0.5": "must be whole numbers",
    "TOP_K=1153": "TOP_K=1153 is more than half of the dictionary, which has 2304",
    "TOP_K=0": "TOP_K=0 must lie between 1",
    "RANK=577": "RANK=577 is more than the model's width, 576",
    "EPOCHS=" + "9" * 25: "must lie between 1 and 1000",
    "BATCH=" + "9" * 25: "must lie between 1 and",
    "TRAIN=" + "9" * 25: "must lie between 1 and",
    "LR=1e-320": "LR=1e-320 must lie between",
    "LR=nan": "LR=nan must lie between",
    "LR=inf": "LR=inf must lie between",
    "REMOVED=nan": "must be distinct shares",
    "REMOVED=0.3333333,0.3333334": "must be distinct shares between 0 and 1, to six digits",
    "SAMPLES=" + "9" * 25: "must lie between 0 and",
    "MAX_USD=nan": "MAX_USD=nan must lie between 0",
    "GPUS=" + "9" * 25: "must lie between 0 and",
    "JUDGE=,": "JUDGE=, must be the name of a model, or two",
    "JUDGE=a,": "must be the name of a model, or two",
    "SAE=rel:layer_{l}/x": "{layer} for the block",
    "SAE=rel:{}": "{layer} for the block",
    "SAE=rel:{layer": "{layer} for the block",
    "SAE=rel:{layer.__class__}": "{layer} for the block",
    "MODEL=a\nb": "holds a character that no setting has",
    "RESULTS=a\x1b[31mb": "holds a character that no setting has",
    "DATA=\udcff": "holds a character that no setting has",
    "a\nb": "is not a setting",
    "SEED=0": "'SEED=0' is not a setting",
    "seeds=0": "'seeds=0' is not a setting",
    "": "'' is not a setting",
}


@pytest.mark.parametrize("word", REFUSED, ids=lambda word: ascii(word)[:30])
def test_a_setting_that_makes_no_sense_is_one_line_and_exit_2(word, capsys):
    assert main([word]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and REFUSED[word] in said.err
    assert len(said.err.splitlines()) == 1 and said.err.isprintable() is False  # but for its end
    assert said.err[:-1].isprintable()


def test_a_home_is_a_home_wherever_a_path_may_stand(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    found = parse(["DATA=~/a.jsonl", "CONTROL=~/b.jsonl", "RESULTS=~/out", "TOXIC=~/t", "QUESTIONS=~/q.yaml"])
    values = flat(found)
    assert {values[name] for name in ("data", "control", "results", "toxic", "questions")} == {
        f"/somewhere/{name}" for name in ("a.jsonl", "b.jsonl", "out", "t", "q.yaml")
    }
    with pytest.raises(InputError, match="^MODEL=/somewhere/m is unknown"):
        parse(["MODEL=~/m"])


def test_the_smallest_arm_has_two_batches_or_the_run_is_refused(tmp_path, capsys):
    """TRAIN says how many, and the shipped advice has no more than it has; no arm, no need."""
    reading_of(of(train=16, batch=4, removed=(0.5,)))
    refused = {"REMOVED=0.999": 8000, "TRAIN=15": 16, "TRAIN=31 REMOVED=0.25,0.75": 32, "TRAIN=10000 REMOVED=0.98": 400}
    for words, needed in refused.items():
        assert main([*words.split(), f"RESULTS={tmp_path}"]) == 2
        assert capsys.readouterr().err.endswith(f"to train on; BATCH and REMOVED need {needed}\n")
    assert parse(["REMOVED=0.95"]).sweep.removed == (0.95,)


def run(*words: str, **how) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "real", *words]
    return subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=300, **how)


def test_a_reader_that_goes_away_ends_it_quietly():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        done = run("models", stdout=gone)
    assert done.stderr == "" and done.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_output_is_one_line():
    with open("/dev/full", "w") as full:
        done = run("models", stdout=full)
    assert done.stderr == "error: standard output: No space left on device\n" and done.returncode == 2


def test_a_path_that_the_terminal_cannot_show_is_shown_in_ascii(tmp_path):
    path = tmp_path / "é" / "a.jsonl"
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = run(f"DATA={path}", f"CONTROL={path}", stdout=subprocess.PIPE, env=env)
    assert done.stderr == f"error: {tmp_path}/\\xe9/a.jsonl: No such file or directory\n" and done.returncode == 2


@pytest.mark.parametrize("moment", ["1-data ...", "HuggingFaceTB/SmolLM2"])
def test_ctrl_c_is_one_line_that_says_how_to_go_on(moment, tmp_path):
    """As a step begins, and as the model is loaded."""
    command = [sys.executable, "-u", "-m", "real", f"RESULTS={tmp_path / 'out'}"]
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # a shell's background job ignores it
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    going = subprocess.Popen(command, cwd=ROOT, **pipes, **heard)
    while not going.stdout.readline().startswith(moment):
        assert going.poll() is None
    going.send_signal(signal.SIGINT)
    assert going.communicate(timeout=300)[1].splitlines()[-1:] == [STOPPED]
    assert going.returncode == 130


def test_ctrl_c_that_comes_through_c_code_is_exit_130_too(tmp_path):
    """Python remembers one that ended what C code ran, and would die of it at its exit, though it was caught."""
    lines = [
        "import ctypes, sys",
        "from real import __main__ as real",
        "run = ctypes.pythonapi.PyRun_String",
        "run.restype, run.argtypes = ctypes.py_object, [ctypes.c_char_p, ctypes.c_int, *[ctypes.py_object] * 2]",
        "real._do = lambda words: run(b'raise KeyboardInterrupt', 257, {}, {})",
        "sys.exit(real.main([]))",
    ]
    (tmp_path / "stopped.py").write_text("\n".join(lines))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "stopped"], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (130, STOPPED + "\n")


def test_ctrl_c_that_a_half_imported_module_turns_into_another_error_or_into_nothing_is_still_one():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job starts without
    for turned in (RecursionError, None):
        with pytest.raises(KeyboardInterrupt), _importing():
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                if turned:
                    raise turned from None
    with pytest.raises(RecursionError), _importing():
        raise RecursionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
