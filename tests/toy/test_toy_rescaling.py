"""Rules that rescale the gradient: real steps find the closed forms, and their limits, where each is claimed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import KINDS, SEEDS, directions

from shared.cores import one_thread
from toy import consequences, rescaling
from toy.measure import change_at_loss, step_change
from toy.model import ToySettings, train
from toy.rescaling import ALPHA, WIDTH, Way

FRESH = range(100, 104)  # none of the bases that the module reports
ORDINARY = directions(min_features=3, kinds=tuple(kind for kind in KINDS if kind != "tiny"))


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def crowd() -> torch.Tensor:
    return train(ToySettings(n_instances=2, n_features=40, d_hidden=10, seed=2)).W.double()


def quartic(seed: int):
    aim = torch.from_numpy(np.random.default_rng(seed).uniform(0.5, 1, size=6))
    return torch.zeros(6, dtype=aim.dtype), lambda theta: (theta - aim).pow(4).sum()


@given(SEEDS, st.integers(1, 10), st.sampled_from(["sgd", "momentum", "adam", "lion"]))
def test_change_at_a_loss_that_a_step_hits_is_that_steps_change(seed, steps, optimiser):
    start, loss = quartic(seed)
    expected = step_change(lambda theta: theta, loss, start, optimiser, 0.01, steps)
    share = (loss(start + expected) / loss(start)).item()
    (found,) = change_at_loss(lambda theta: theta, loss, start, optimiser, 0.01, (share,))
    torch.testing.assert_close(found, expected)


@given(SEEDS, st.floats(0.05, 0.95))
def test_between_two_steps_the_change_is_linear_in_the_loss(seed, way):
    start, loss = quartic(seed)
    one, two = (step_change(lambda theta: theta, loss, start, "sgd", 0.01, steps) for steps in (1, 2))
    before, after = (loss(start + change) / loss(start) for change in (one, two))
    share = ((1 - way) * before + way * after).item()
    found = change_at_loss(lambda theta: theta, loss, start, "sgd", 0.01, (share, 0.5))
    torch.testing.assert_close(found[0], (1 - way) * one + way * two)


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.8), (0.5, 0.0), (float("nan"),)])
def test_shares_that_do_not_fall_are_refused(shares):
    with pytest.raises(ValueError, match="shares must fall between 1 and 0"):
        change_at_loss(lambda theta: theta, quartic(0)[1], quartic(0)[0], "sgd", 0.01, shares)


def test_a_loss_that_is_not_reached_is_said():
    start, loss = quartic(0)
    with pytest.raises(ValueError, match="sgd at 0.0 does not reach 0.5 of its loss in 3 steps"):
        change_at_loss(lambda theta: theta, loss, start, "sgd", 0.0, (0.5,), most=3)


@given(st.floats(0.05, 0.95), st.integers(1, 20), SEEDS)
def test_sharing_features_are_what_they_say(alpha, k, seed):
    D, x = rescaling.sharing_features(alpha, k, torch.Generator().manual_seed(seed))
    expected = torch.full((k, k), alpha**2, dtype=D.dtype).fill_diagonal_(1)
    torch.testing.assert_close(D[:k] @ D[:k].mT, expected)
    torch.testing.assert_close(D[:k] @ D[k], torch.full((k,), alpha, dtype=D.dtype))
    torch.testing.assert_close(x @ x.mT, torch.eye(k, dtype=x.dtype))
    assert D.shape[1] == x.shape[1] == WIDTH


@pytest.mark.parametrize("k", [1, 5, 20, 79])
def test_to_half_of_the_loss_the_formula_holds_for_gradient_and_spectral_steps(k):
    """Many steps, but the features stay alike, so that every one is a multiple of the first."""
    for rule, eta in (("sgd", 0.05), ("spectral", 0.02)):
        expected = consequences.shared_rise(ALPHA, k, rule == "spectral")
        assert rescaling._shared_rise(k, Way(rule, eta)) == pytest.approx([expected] * rescaling.SEEDS, rel=1e-8)


def test_what_is_shared_rises_under_sign_steps_about_as_under_the_gradient_and_not_as_under_a_root():
    """About: a row on which v is large is divided by more, so that k features find it a little below alpha."""
    for rule in ("adam", "lion"):
        rise = np.mean(rescaling._shared_rise(32, Way(rule, 3e-4), FRESH))
        assert rise == pytest.approx(ALPHA, rel=0.2)
        assert rise > 2 * consequences.shared_rise(ALPHA, 32, True)


@pytest.mark.parametrize("rank", [4, 16])
def test_a_lora_by_sgd_raises_what_many_features_share_and_the_matrix_itself_does_not(rank):
    """Both factors grow with the other, so that the strongest mode grows first: past twice alpha in every basis."""
    assert min(rescaling._shared_rise(64, Way("sgd", 0.1, rank), FRESH)) > 2 * ALPHA
    assert rescaling._shared_rise(64, Way("sgd", 0.1), FRESH) == pytest.approx([ALPHA] * len(FRESH))


def test_spectral_steps_on_both_factors_of_a_lora_keep_the_root_while_there_is_rank_for_it():
    """Rank 16 and 16 features: the formula within a fifth. Rank 4 and 64 features: more than twice of it."""
    enough, few = (
        np.array(rescaling._shared_rise(k, Way("spectral", 0.01, rank), FRESH)) for k, rank in ((16, 16), (64, 4))
    )
    assert enough.mean() == pytest.approx(consequences.shared_rise(ALPHA, 16, True), rel=0.2)
    assert few.min() > 2 * consequences.shared_rise(ALPHA, 64, True)


@given(ORDINARY, SEEDS)
@settings(max_examples=30)
def test_every_mode_of_a_spectral_step_is_the_root_of_the_gradients(W, seed):
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(W), len(W))))
    found = rescaling.modes(W, x)
    roots, modes = np.array(found["spectral"]), np.array(found["sgd"])
    assert np.abs(roots**2 - modes).max() <= 1e-6 * modes.max()  # eigenvalues of what is not symmetric


@given(SEEDS)
@settings(max_examples=15)
def test_the_root_holds_for_one_step_whatever_the_directions_and_inputs(seed):
    rng = np.random.default_rng(seed)
    W, x = (torch.from_numpy(rng.normal(size=size)) for size in ((9, 5), (9, 9)))
    found = rescaling.root_errors(W, x)
    assert found["spectral, 1 step"] < 1e-10 and found["lora, spectral, 1 step"] < 1e-10


def test_the_root_fails_where_it_is_no_theorem(crowd):
    """Several steps, torch's approximation, W used twice, sign steps: beyond rounding in each."""
    found = rescaling.root_errors(crowd[0], rescaling.crowded_inputs(40, 0.05))
    exact = {"spectral, 1 step", "lora, spectral, 1 step"}
    assert all((error < 1e-10) == (name in exact) for name, error in found.items())
    assert all(error > 0.01 for name, error in found.items() if name not in exact)


def test_a_sign_step_on_a_trained_model_costs_what_its_alignment_says(crowd):
    """Its features spread evenly, within a percent; no constant is fitted."""
    found = rescaling.sign_costs(crowd, evenly=True)
    for name in ("slope", "energy", "scatter"):
        assert found["measured"][name] == pytest.approx(found["own"][name], rel=0.02)
    assert found["measured"]["r2"] == pytest.approx(found["own"]["r2"], abs=0.01)


def test_the_same_features_turned_at_random_cost_what_directions_without_a_preferred_axis_do(crowd):
    """The mean over 30 turns, by real steps."""
    turns = torch.linalg.qr(torch.randn(30, 10, 10, generator=torch.Generator().manual_seed(0), dtype=crowd.dtype))[0]
    turned = [rescaling.sign_costs(crowd @ Q, evenly=True) for Q in turns]
    for name in ("r2", "energy", "scatter"):
        measured = np.mean([one["measured"][name] for one in turned])
        assert measured == pytest.approx(turned[0]["no axis"][name], rel=0.02)


def test_a_sign_step_on_random_features_costs_what_the_constants_say():
    W = torch.randn(1, 400, 128, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = rescaling.sign_costs(W, evenly=False)
    assert found["measured"] == pytest.approx(found["no axis"], rel=0.02)
    assert found["measured"] == pytest.approx(found["own"], rel=0.02)
