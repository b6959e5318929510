"""An SAE on the toy's hidden layer: the score of the truth is 1, of noise 0, and training is what earns the rest."""

from pathlib import Path
from types import SimpleNamespace

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
    assert found["per_dimension"] == N / 20
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


def test_the_table_that_lesson_8_reads_is_of_this_sweep(monkeypatch):
    """Its widths, its features; and in 8 dimensions the untrained dictionaries again, for training takes minutes."""
    stored = read_json(ROOT / "toy/lessons/dictionaries.json")
    assert (stored["features"], tuple(map(int, stored["widths"]))) == (N, saes.WIDTHS)
    monkeypatch.setattr(sae_lens.SAETrainer, "fit", lambda self: self.sae)
    found = saes.sweep(widths=(8,))[8]
    pairs = [(stored["widths"]["8"]["per_dimension"], found["per_dimension"])]
    pairs += [(stored["widths"]["8"]["untrained"][what], found["untrained"][what]) for what in ("r2", "cosine")]
    for one, other in pairs:
        assert list(one.values()) == pytest.approx(other[:3], abs=0.002)


def test_features_that_the_toy_leaves_out_and_samples_that_train_are_not_judged(monkeypatch):
    """Ten rows of W are nearly 0. Latents are chosen on samples that the dictionaries do not see."""
    W = torch.nn.functional.normalize(torch.randn(N, 12, generator=torch.Generator().manual_seed(0)), dim=-1)
    W[30:] *= 0.01
    seen, judged = [], []
    monkeypatch.setattr(saes, "latents", lambda acts, x: (judged.append(x), torch.arange(N))[1])
    monkeypatch.setattr(saes, "agreement", lambda W, D: {"features": len(W), "latents": len(D)})
    monkeypatch.setattr(saes, "dictionaries", lambda W, seed, steps: (seen.append(seed), made(W))[1])
    found = licence(W, seed=3)
    assert found["per_dimension"] == 30 / 12
    assert (found["trained"]["features"], found["trained"]["latents"]) == (30, 30)
    stream = next(saes._samples(W, saes.HELD, seen[0]))
    assert all(x.shape == stream.shape and not torch.equal(x, stream) for x in judged)


def made(W: torch.Tensor) -> list:
    """Two dictionaries that know W."""
    sae = SimpleNamespace(W_dec=W, encode=lambda h: torch.relu(h @ W.mT), decode=lambda acts: acts @ W)
    return [sae, sae]


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
