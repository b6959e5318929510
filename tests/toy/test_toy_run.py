"""`python -m toy` end to end: its summary, its figures, its refusals."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from strategies import SEEDS

from shared import records
from toy import __main__, equal_loss, rescaling, run, superposition, superposition_figure
from toy.model import Toy, ToySettings
from toy.run import RunSettings

FIGURES = ["law.png", "misalignment.png", "optimisers.png", "rescaling.png", "superposition.png"]
EXACT = ("E1", "E2", "E3", "E4", "E5", "E6", "E8")
ROOT = Path(__file__).parents[2]
SMALL = ToySettings(n_instances=2, steps=20, batch_size=32)
PROBABILITIES, IMPORTANCES = superposition.PROBABILITIES[::5], superposition.IMPORTANCES[::5]


@pytest.fixture
def few(monkeypatch):
    """Of what no setting makes smaller the ends and, of the phases, the middle."""
    for module in (superposition, superposition_figure):
        monkeypatch.setattr(module, "PROBABILITIES", PROBABILITIES)
        monkeypatch.setattr(module, "IMPORTANCES", IMPORTANCES)
    for module in (rescaling, equal_loss):
        monkeypatch.setattr(module, "COUNTS", module.COUNTS[:: len(module.COUNTS) - 1])
    monkeypatch.setattr(rescaling, "WAYS", {name: rescaling.WAYS[name] for name in ("sgd", "lora 4, spectral")})
    rates = {rule: equal_loss.RATES[rule] for rule in ("sgd", "lion", "spectral")}
    monkeypatch.setattr(equal_loss, "RATES", rates)


def test_the_summary_reports_the_worst_instance_and_the_worst_way():
    errors = [{"autograd": 1.0, "step": 2.0}, {"autograd": 3.0, "step": 1.0}]
    assert run._worst(errors) == {"max_relative_error": 3, "autograd": 3, "step": 2}
    errors[1]["step"] = float("nan")
    assert np.isnan(run._worst(errors)["max_relative_error"])


@given(SEEDS)
def test_the_reported_slope_is_least_squares_of_measured_on_predicted(seed):
    """Through the origin; of twice the prediction and noise about 2, not 1/2. Oracle: numpy's."""
    x, noise = torch.randn(2, 50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = run._fit(x, 2 * x + noise)
    slope, rest = np.linalg.lstsq(x[:, None].numpy(), (2 * x + noise).numpy(), rcond=None)[:2]
    assert found["slope"] == pytest.approx(slope[0], rel=1e-5)
    assert found["r2"] == pytest.approx(1 - rest[0] / ((2 * x + noise).numpy().var() * 50), rel=1e-4, abs=1e-5)
    assert found["pairs"] == 50


def test_superposition_tells_an_even_share_from_an_uneven_one():
    """Two antipodal pairs in two dimensions: D = 1/2 each. One feature gone: D = 1/2, 1/2, 1, 0."""
    even = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    uneven = even.clone()
    uneven[3] = 0
    found = superposition.shares(Toy(torch.stack([even, even, uneven]), torch.zeros(3, 4)))
    assert found["dimensionality"] == {"mean": pytest.approx(6 / 12), "low": 0, "high": 1}
    assert (found["even_instances"], found["instances"]) == (2, 3)
    assert found["represented"] == pytest.approx(11 / 12, rel=1e-5)


def test_the_same_settings_give_the_same_summary(few, tmp_path):
    crowd = ToySettings(n_instances=2, n_features=6, d_hidden=3, steps=20, batch_size=32)
    small = RunSettings(SMALL, crowd, replace(superposition.SHARING, steps=20), 20, 20, worlds=1)
    first, again = (run.run(tmp_path / name, small) for name in ("a", "b"))
    assert first | {"seconds": 0} == again | {"seconds": 0}
    for name in FIGURES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_python_m_toy(tmp_path):
    """As a user runs it, in a process without the test's hooks."""
    out = tmp_path / "results" / "toy"
    done = subprocess.run([sys.executable, "-m", "toy", str(out)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == sorted([*FIGURES, "explore.html", "summary.json"])
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in FIGURES)
    summary = records.read_json(out / "summary.json")
    assert all(0 < summary["law"][name]["max_relative_error"] <= 1e-10 for name in EXACT)
    assert summary["law"]["E7"]["slope"] == pytest.approx(2, abs=0.01)
    sgd, sign, adam = (summary["optimisers"][name] for name in ("sgd", "sign", "adam"))
    assert (sgd["slope"], sgd["r2"]) == (1, 1)
    assert sign["r2"] < 0.8 and adam["r2"] < 0.8
    assert summary["superposition"]["pentagon"]["even_instances"] >= 5
    nothing, most = (summary["misalignment"]["alignment"][dose]["effect"] for dose in ("0.0", "1.0"))
    assert nothing["low"] <= 0 <= nothing["high"] < most["low"]
    assert summary["seconds"] > 0 and summary["versions"]["torch"]
    for cell in (f"{summary['law']['E2']['step']:.1e}", f"{adam['r2']:.3f}", "of 8 instances", str(out)):
        assert cell in done.stdout


@pytest.mark.parametrize("argv", [["{file}/below"], ["/proc"], ["{file}"], ["--help"], ["a", "b"], ["SEEDS=0"]])
def test_what_the_user_can_mend_is_one_line_and_status_2_before_any_training(argv, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "train", lambda settings: pytest.fail("trained first"))
    file = tmp_path / "file"
    file.touch()
    assert __main__.main([arg.format(file=file) for arg in argv]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert "python -m toy" in shown.err and (str(file) in shown.err or not argv[0].startswith("{"))


def test_a_folder_that_turns_bad_during_the_run_is_one_line_too(few, tmp_path, capsys, monkeypatch):
    small = RunSettings(SMALL, SMALL, replace(superposition.SHARING, steps=20), 20, 20, worlds=1)
    monkeypatch.setattr(__main__, "run", partial(run.run, settings=small))
    (tmp_path / "law.png").mkdir()  # a folder where the file should go
    assert __main__.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["law.png"]


def test_ctrl_c_is_one_line(tmp_path, capsys, monkeypatch):
    def stopped(out):
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "run", stopped)
    assert __main__.main([str(tmp_path)]) == 130
    assert capsys.readouterr().err == "toy: stopped\n"
