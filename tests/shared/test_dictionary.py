"""The one recipe for dictionaries: what it learns does not depend on the unit in which activations come."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import SEEDS

from shared.dictionary import Recipe, threshold, train, untrained


def test_activations_in_another_unit_give_the_same_features_and_an_answer_in_that_unit():
    """Batches are divided by the scale of the peek, and the scale is folded back: to float32's rounding."""
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(64, 6)) + 2).astype(np.float32)
    recipe, found = Recipe(d_sae=12, k=3, steps=20, lr=1e-3, batch=16), []
    for unit in (1, 8):  # a power of two: exact
        batches = (unit * rows[at : at + 16] for _ in range(10) for at in (0, 16, 32, 48))
        found.append(train(batches, unit * rows, recipe, seed=0))
    x = torch.from_numpy(rows)
    for one, other in zip(*found, strict=True):  # before training, and after
        torch.testing.assert_close(other.encode(8 * x), 8 * one.encode(x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(other(8 * x), 8 * one(x), rtol=1e-4, atol=1e-4)
    before, after = found[0]
    torch.testing.assert_close(before.b_dec, x.mean(0))  # the mean is not worth a feature
    assert (before.W_dec - after.W_dec).abs().max() > 1e-4  # something was learnt


def test_random_directions_read_what_rows_have_beyond_their_mean():
    rows = torch.randn(200, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one, other = untrained(12, rows, 3.0, seed=0), untrained(12, rows + 5, 3.0, seed=0)
    torch.testing.assert_close(other.encode(rows + 5), one.encode(rows))


@given(SEEDS, st.integers(1, 30), st.integers(1, 12), st.integers(0, 200), st.integers(1, 9))
def test_above_the_threshold_are_as_many_entries_as_were_asked_for(seed, rows, d, active, chunk):
    """Or all that are positive, where those are fewer; whatever is seen at once."""
    hidden = torch.randn(rows, d, generator=torch.Generator().manual_seed(seed))
    found = threshold(hidden.split(chunk), active)
    assert (hidden > found).sum() == min(active, int((hidden > 0).sum()))


def test_a_saved_sae_and_an_untrained_one_have_k_features_active_in_a_row():
    """Over the rows that the SAE was trained on, though it was shown but a part of them for its threshold; to 5 %."""
    rng = np.random.default_rng(0)
    rows = (rng.exponential(size=(4000, 40)) * (rng.random((4000, 40)) < 0.1) @ rng.normal(size=(40, 16)) + 1).astype(
        "f4"
    )
    batches = (rows[rng.integers(4000, size=128)] for _ in range(10_000))
    _, sae = train(batches, rows[:2000], Recipe(d_sae=64, k=5, steps=60, lr=3e-3, batch=128), seed=0)
    x = torch.from_numpy(rows)
    with torch.no_grad():
        active = (sae.encode_with_hidden_pre(x)[1] > sae.topk_threshold).sum(1).double().mean().item()
    assert active == pytest.approx(5, rel=0.05)
    other = untrained(64, x[:2000], l0=5.0, seed=1)
    assert (other.encode(x) > 0).sum(1).double().mean().item() == pytest.approx(5, rel=0.05)
    torch.testing.assert_close(other.W_dec.norm(dim=1), torch.ones(64))
    assert not torch.equal(other.W_dec, untrained(64, x[:2000], l0=5.0, seed=2).W_dec)
