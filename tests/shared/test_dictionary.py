"""The one recipe for dictionaries: what it learns does not depend on the unit in which activations come."""

import numpy as np
import torch

from shared.dictionary import Recipe, train


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
    assert (before.W_dec - after.W_dec).abs().max() > 1e-4  # something was learnt
