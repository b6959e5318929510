"""An SAE on the toy's hidden layer: the score of the truth is 1, of noise 0, and training is what earns the rest."""

from pathlib import Path

import pytest
import sae_lens
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS

from shared.records import read_json
from toy import saes
from toy.model import ToySettings, train
from toy.saes import PROBABILITY, N, agreement, latents, licence

ROOT = Path(__file__).parents[2]


@given(SEEDS, st.integers(3, 12), st.integers(2, 6))
@settings(deadline=None)
def test_the_true_directions_predict_leakage_exactly_whatever_their_lengths(seed, n, d):
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(n, d, generator=generator, dtype=torch.float64)
    found = agreement(W, W * torch.rand(n, 1, generator=generator, dtype=torch.float64).add(0.1))
    assert found["r2"] == pytest.approx(1, abs=1e-8) and found["cosine"] == pytest.approx(1, abs=1e-8)
    assert found["slope"] == pytest.approx(1, abs=1e-8)


def test_strange_directions_predict_nothing():
    W, strange = torch.randn(2, 40, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert abs(agreement(W, strange)["r2"]) < 0.05


def test_a_latent_is_found_by_when_it_fires():
    """Latents are the features in another order, one of them mixed with noise, beside latents that say nothing."""
    x = torch.rand(500, 4, generator=torch.Generator().manual_seed(0))
    x *= torch.rand(500, 4, generator=torch.Generator().manual_seed(1)) < 0.3
    order = torch.tensor([2, 0, 3, 1])
    acts = torch.cat([x[:, order], torch.rand(500, 3, generator=torch.Generator().manual_seed(2))], 1)
    assert order[latents(acts, x)].tolist() == [0, 1, 2, 3]


def test_a_trained_dictionary_knows_more_of_the_leakage_than_an_untrained_one():
    W = train(ToySettings(1, N, 20, PROBABILITY, steps=600)).W[0]
    found = licence(W, seed=0, steps=600)
    assert found["represented"] == 1
    assert found["trained"]["fvu"] < 0.1 < 0.9 < found["untrained"]["fvu"]
    assert found["trained"]["r2"] > 0.3 > found["untrained"]["r2"] + 0.2


def test_training_a_dictionary_says_nothing_and_takes_one_thread(capfd, monkeypatch):
    """Called by itself too, as the lessons do."""
    threads = []
    fit = sae_lens.SAETrainer.fit
    monkeypatch.setattr(
        sae_lens.SAETrainer, "fit", lambda self: (threads.append(torch.get_num_threads()), fit(self))[1]
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        licence(torch.nn.functional.normalize(torch.randn(N, 12), dim=-1), seed=0, steps=20)
    finally:
        torch.set_num_threads(before)
    shown = capfd.readouterr()
    assert (threads, shown.out, shown.err) == ([1], "", "")


def test_the_attenuation_is_the_square_of_the_cosine():
    """Every direction at cosine c to the truth, errors independent: between two of them c^2 is left."""
    generator = torch.Generator().manual_seed(0)
    W, noise = torch.nn.functional.normalize(torch.randn(2, 60, 400, generator=generator, dtype=torch.float64), dim=-1)
    W = torch.nn.functional.normalize(W + 0.4 * W.mean(0) * 60**0.5, dim=-1)  # so that there is leakage to predict
    for c in (0.9, 0.7, 0.5):
        D = c * W + (1 - c**2) ** 0.5 * noise
        kept = ((D @ D.T) * (W @ W.T)).sum() - 60, ((W @ W.T).square()).sum() - 60
        assert (kept[0] / kept[1]).item() == pytest.approx(c**2, abs=0.05)


def test_the_table_that_lesson_8_reads_is_of_this_sweep():
    """Its widths, its features, and every estimate inside its interval; its numbers take the sweep's five minutes."""
    stored = read_json(ROOT / "toy/lessons/dictionaries.json")
    assert (stored["features"], tuple(map(int, stored["widths"]))) == (N, saes.WIDTHS)
    for row in stored["widths"].values():
        for e in (row[kind][what] for kind in ("trained", "untrained") for what in ("r2", "cosine")):
            assert e["low"] <= e["value"] <= e["high"]


def test_what_the_user_can_mend_is_one_line_and_status_2_before_any_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(saes, "sweep", lambda: pytest.fail("trained first"))
    file = tmp_path / "file"
    file.touch()
    for argv in ([str(file)], ["--help"], ["a", "b"]):
        assert saes.main(argv) == 2
        shown = capsys.readouterr()
        assert shown.out == "" and shown.err.count("\n") == 1


def test_the_sweep_as_a_table_a_record_and_a_figure(tmp_path, capsys, monkeypatch):
    small = saes.sweep(widths=(12,), seeds=2, steps=40)
    monkeypatch.setattr(saes, "sweep", lambda: small)
    assert saes.main([str(tmp_path)]) == 0
    r2 = small[12]["trained"]["r2"]
    assert f"{r2.value:+.2f} [{r2.low:+.2f}, {r2.high:+.2f}]" in capsys.readouterr().out
    assert read_json(tmp_path / "saes.json")["12"]["trained"]["r2"]["n"] == 2
    assert (tmp_path / "saes.png").read_bytes().startswith(b"\x89PNG")
