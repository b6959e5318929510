"""An SAE on the toy's hidden layer: the score of the truth is 1, of noise 0, and training is what earns the rest."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS

from toy.model import ToySettings, train
from toy.saes import PROBABILITY, N, agreement, latents, licence


@given(SEEDS, st.integers(3, 12), st.integers(2, 6), st.floats(0.1, 10))
@settings(deadline=None)
def test_the_true_directions_predict_leakage_exactly_whatever_their_lengths(seed, n, d, scale):
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(n, d, generator=generator, dtype=torch.float64)
    found = agreement(W, scale * W)
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
