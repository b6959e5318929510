"""Each docstring of shared/leakage.py: readout changes against loops, the law against planted data."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress, spearmanr
from strategies import SEEDS, directions

from shared.geometry import cosine
from shared.leakage import law, readout_change


def normal(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@given(directions(), SEEDS, st.lists(st.integers(1, 3), max_size=2))
def test_readout_change_is_the_mean_over_tokens_of_the_unit_readout(W, seed, tokens):
    delta = normal(seed, *tokens, W.shape[1])
    found = readout_change(W, delta)
    for j, row in enumerate(W.numpy()):
        row = row / np.abs(row).max()
        dots = [row @ token / np.linalg.norm(row) for token in delta.reshape(-1, W.shape[1]).numpy()]
        np.testing.assert_allclose(found[j], np.mean(dots), rtol=1e-9, atol=1e-12)


@given(directions(), SEEDS, st.floats(0.01, 100))
def test_readout_change_is_linear_in_delta_and_ignores_the_length_of_the_rows(W, seed, scale):
    a, b = normal(seed, 2, 4, W.shape[1])
    both = readout_change(W * scale, a + 3 * b)
    torch.testing.assert_close(both, readout_change(W, a) + 3 * readout_change(W, b), rtol=1e-9, atol=1e-9)


def test_no_token_is_an_error():
    with pytest.raises(ValueError, match="delta"):
        readout_change(torch.eye(2), torch.zeros(0, 2))


@given(directions(min_features=3, kinds=("generic", "antipodal", "tiny")), st.data(), st.floats(1e-4, 10))
def test_exact_E1_data_give_r2_one_and_the_step_as_slope(W, data, eta):
    """h -> h + eta d_t changes every unit readout by eta |d_t| cos(d_j, d_t)."""
    t = data.draw(st.integers(0, len(W) - 1))
    W = W / W.abs().amax(-1, keepdim=True)  # the step itself would underflow along a tiny row
    predicted = cosine(W, W[t : t + 1])[:, 0]
    if np.ptp(predicted.numpy()) < 1e-6:
        return
    found = law(predicted, readout_change(W, eta * W[t]))
    assert found.r2 == pytest.approx(1, abs=1e-9) and found.slope == pytest.approx(eta * W[t].norm().item())
    assert found.pearson == pytest.approx(1) and found.spearman > 0.999 - 1 / len(W) and found.n == len(W)


@given(SEEDS, st.integers(3, 30))
def test_law_equals_scipy_and_the_normal_equations(seed, n):
    x, y = normal(seed, 2, n)
    found, line = law(x, y), linregress(x, y)
    assert found.slope == pytest.approx(np.linalg.lstsq(x[:, None], y, rcond=None)[0].item())
    assert found.pearson == pytest.approx(line.rvalue, abs=1e-12)
    assert found.spearman == pytest.approx(spearmanr(x, y).statistic)
    errors = y.numpy() - found.slope * x.numpy()
    assert found.r2 == pytest.approx(1 - errors @ errors / (y.var(correction=0).item() * n))


def test_r2_falls_where_an_intercept_would_have_helped():
    x = torch.linspace(1, 2, 20, dtype=torch.float64)
    assert law(x, x + 5).r2 < 0 and law(x, x + 5).pearson == pytest.approx(1)


@pytest.mark.parametrize("bad", [[1.0], [1.0, 1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_values_that_cannot_correlate_are_named(bad):
    bad, good = torch.tensor(bad), torch.arange(float(len(bad)))
    with pytest.raises(ValueError, match="predicted"):
        law(bad, good)
    if len(bad) < 2:
        with pytest.raises(ValueError, match="two features"):
            law(bad, good)
    else:
        with pytest.raises(ValueError, match="measured"):
            law(good, bad)
