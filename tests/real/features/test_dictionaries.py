"""The dictionary's quality against its definition, and batches that are passes over the rows that were asked for."""

from itertools import islice

import numpy as np
import pytest
import torch
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

from real.features import dictionaries as saes


def test_quality_is_its_definition():
    """Oracle: the three sums written out, on rows that are more than one chunk."""
    torch.manual_seed(0)
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=8, d_sae=32))
    rows = np.random.default_rng(0).normal(1, 1, (6000, 8)).astype(np.float32)
    ids = np.arange(0, 6000, 1)[500:]
    with torch.no_grad():
        sae.threshold.fill_(0.5)
        sae.W_enc[:, 3] = 0  # it never fires
        x = torch.from_numpy(rows[ids])
        acts = sae.encode(x)
        unexplained = (x - sae.decode(acts)).square().sum() / (x - x.mean(0)).square().sum()
    found = saes.quality(sae, rows, ids)
    assert found["fvu"] == pytest.approx(unexplained.item(), rel=1e-4)
    assert found["l0"] == pytest.approx((acts > 0).float().sum(1).mean().item(), rel=1e-6)
    assert found["dead"] == pytest.approx(1 - (acts > 0).any(0).float().mean().item()) and found["dead"] >= 1 / 32


def test_batches_are_passes_in_new_orders_over_the_rows_asked_for():
    rows = np.arange(100, dtype=np.float32)[:, None]
    ids = np.arange(40, 95)
    batches = [b[:, 0] for b in islice(saes.shuffled(rows, ids, 10, 0), 10)]
    one, two = (np.concatenate(batches[at : at + 5]) for at in (0, 5))
    for a_pass in (one, two):
        assert len(set(a_pass)) == 50 and set(a_pass) <= set(ids.astype(float))
    assert not np.array_equal(one, two)
    few = next(saes.shuffled(rows, ids[:4], 10, 0))[:, 0]  # fewer than a batch holds: several times each
    assert len(few) == 10 and set(few) == {40, 41, 42, 43}
