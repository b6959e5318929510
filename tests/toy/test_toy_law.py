"""The law three ways: closed form, autograd, one real optimiser step."""

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from strategies import KINDS, SEEDS, directions

from shared import geometry
from shared.cores import one_thread
from toy import check, law, measure, misalignment, optimisers, worlds
from toy.measure import autograd_change, relative_error, step_change
from toy.model import Toy, loss

ETA = st.floats(1e-3, 10)
ORDINARY = directions(kinds=tuple(kind for kind in KINDS if kind != "tiny"))


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with one_thread():
        yield


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def assert_law(predicted, readouts, objective, theta, eta, optimiser="sgd"):
    """1e-10 relative to the largest change, against autograd (SGD only) and one real step.

    The real step subtracts two readouts: a change lost in their rounding (a tiny direction) is lost.
    """
    measured = step_change(readouts, objective, theta, optimiser, eta)
    rounding = 1e-14 * (readouts(theta).abs().max() + measured.abs().max())
    assert (predicted - measured).abs().max() <= 1e-10 * measured.abs().max() + rounding
    if optimiser == "sgd":
        assert relative_error(predicted, autograd_change(readouts, objective, theta, eta)) <= 1e-10


@given(directions(), SEEDS, ETA)
def test_E1_for_every_target(W, seed, eta):
    """L = -f_t, every feature t at once: eta <d_j, d_t>."""
    h, predicted = normal(seed, *W.shape), law.representation_step(W, -W, eta)
    torch.testing.assert_close(predicted, eta * W @ W.mT)
    assert_law(predicted, lambda h: h @ W.mT, lambda h: -(h * W).sum(), h, eta)


@given(directions(), SEEDS, ETA)
def test_E1_for_any_gradient(W, seed, eta):
    g, h = normal(seed, 2, 3, W.shape[1]), normal(seed + 1, 2, 3, W.shape[1])
    assert_law(law.representation_step(W, g, eta), lambda h: h @ W.mT, lambda h: (h * g).sum(), h, eta)


@given(directions(), SEEDS, ETA, st.integers(1, 6), st.integers(1, 4), st.integers(1, 5))
def test_E2_for_any_gradients_samples_and_probes(W, seed, eta, samples, probes, d_in):
    d = W.shape[1]
    g, x, probe = normal(seed, samples, d), normal(seed + 1, samples, d_in), normal(seed + 2, probes, d_in)

    def objective(A):  # mean over samples of <g_s, A x_s>: its gradient at h_s is g_s
        return sum(g[s] @ (A @ x[s]) for s in range(samples)) / samples

    def readouts(A):
        return torch.stack([W @ (A @ one) for one in probe])

    assert_law(law.weight_step(W, g, x, probe, eta), readouts, objective, normal(seed + 3, d, d_in), eta)


@given(directions(), SEEDS, ETA)
def test_E2_needs_both_overlaps_and_does_not_count_copies(W, seed, eta):
    g, x, probe = normal(seed, 3, W.shape[1]), normal(seed + 1, 3, 4), normal(seed + 2, 2, 4)
    x[:, 2:], probe[:, :2] = 0, 0  # inputs that share no coordinate
    assert (law.weight_step(W, g, x, probe, eta) == 0).all()
    once, twice = (law.weight_step(W, g, x, x, eta), law.weight_step(W, torch.cat([g, g]), torch.cat([x, x]), x, eta))
    torch.testing.assert_close(once, twice)


def test_E2_by_hand():
    """Two samples, <d_0, g_s> = 1, 3 and <x_s, x'> = 2, 5: feature 0 moves by -0.1 (1*2 + 3*5)/2 = -0.85."""
    W = torch.tensor([[1.0, 0], [0, 1]])
    g, x = torch.tensor([[1.0, 0], [3, 0]]), torch.tensor([[2.0], [5]])
    torch.testing.assert_close(law.weight_step(W, g, x, torch.ones(1, 1), 0.1), torch.tensor([[-0.85, 0]]))


@pytest.mark.parametrize(("optimiser", "eps"), [("sign", 0.0), ("adam", 1e-8)])
@given(W=ORDINARY, seed=SEEDS, eta=ETA)
def test_E4_is_the_first_step_of_sign_descent_and_of_adam(optimiser, eps, W, seed, eta):
    g, h = normal(seed, 3, W.shape[1]), normal(seed + 1, 3, W.shape[1])
    g[0, 0] = 0  # no gradient, no step
    predicted = law.sign_step(W, g, eta, eps)
    readouts = lambda h: h @ W.mT  # noqa: E731
    assert_law(predicted, readouts, lambda h: (h * g).sum(), h, eta, optimiser)
    smooth = lambda h: (h * (g / (g.abs() + eps) if eps else g.sign())).sum()  # noqa: E731
    assert relative_error(predicted, autograd_change(readouts, smooth, h, eta)) <= 1e-10


@given(directions(), SEEDS, ETA, st.integers(1, 5), st.integers(1, 4), st.floats(0.1, 4))
def test_E3_is_the_first_lora_step_from_B_zero(W, seed, eta, samples, rank, scale):
    """Both factors are trained; at B = 0 only B has a gradient, and the frozen A none."""
    d, d_in = W.shape[1], 4
    g, x, probe = normal(seed, samples, d), normal(seed + 1, samples, d_in), normal(seed + 2, 3, d_in)
    A, C = normal(seed + 3, d, d_in), normal(seed + 4, rank, d_in)
    start = torch.cat([torch.zeros(d * rank, dtype=C.dtype), C.flatten()])

    def hidden(theta, x):
        B, C = theta[: d * rank].view(d, rank), theta[d * rank :].view(rank, d_in)
        return x @ (A + scale * B @ C).T

    predicted = law.lora_step(W, g, x, probe, scale * C, eta)
    objective = lambda theta: (hidden(theta, x) * g).sum() / samples  # noqa: E731
    assert_law(predicted, lambda theta: hidden(theta, probe) @ W.mT, objective, start, eta)


@given(directions(), SEEDS, ETA)
def test_E5_weight_decay_shrinks_every_readout_by_its_own_share(W, seed, eta):
    """torch's own decay, 0.1."""
    g, h = normal(seed, 3, W.shape[1]), normal(seed + 1, 3, W.shape[1])
    predicted = law.decayed_step(W, g, h, eta, 0.1)
    torch.testing.assert_close(predicted, law.representation_step(W, g, eta) - eta * 0.1 * h @ W.mT)
    readouts, objective = lambda h: h @ W.mT, lambda h: (h * g).sum()
    assert_law(predicted, readouts, objective, h, eta, "weight decay")
    decayed = lambda h: objective(h) + 0.05 * h.square().sum()  # noqa: E731
    assert relative_error(predicted, autograd_change(readouts, decayed, h, eta)) <= 1e-10


@given(directions(), SEEDS, st.floats(1e-3, 1), st.integers(1, 6))
def test_E5_momentum_sums_past_gradients(W, seed, eta, steps):
    """A quadratic loss, whose gradient changes at every step; the gradients come from the path before the last."""
    h, aim = normal(seed, W.shape[1]), normal(seed + 1, W.shape[1])
    path, objective = [h], lambda h: (h - aim).pow(4).sum() / 40
    for k in range(1, steps + 1):
        path.append(h + step_change(lambda h: h, objective, h, "momentum", eta, k))
    gradients = torch.stack([torch.func.grad(objective)(point) for point in path[:-1]])
    predicted = law.momentum_step(W, gradients, eta, 0.9)
    measured = W @ (path[-1] - path[-2])
    rounding = 1e-14 * (W.abs() @ (path[-1].abs() + path[-2].abs())).max()
    assert (predicted - measured).abs().max() <= 1e-10 * measured.abs().max() + rounding
    velocity = sum(0.9 ** (len(gradients) - 1 - k) * gradient for k, gradient in enumerate(gradients))
    along = autograd_change(lambda h: W @ h, lambda h: h @ velocity, h, eta)
    assert (predicted - along).abs().max() <= 1e-10 * along.abs().max() + 1e-300


def tied(W, seed, samples, scale=1.0):
    """A tied ReLU model, a batch and probes, in float64."""
    rng, n = np.random.default_rng(seed), len(W)
    x, q, b, importance = (torch.tensor(rng.uniform(0, 1, size=s)) for s in ((samples, n), (3, n), n, n))
    return x, q, scale * (b - 0.5), importance + 0.1


@given(ORDINARY, SEEDS, ETA, st.integers(1, 6))
def test_E6_is_one_real_step_on_the_tied_model_second_order_included(W, seed, eta, samples):
    """W and b_final move together. Autograd gives the first-order part, the real step all of it."""
    x, q, b, importance = tied(W, seed, samples)
    n, d = W.shape
    split = lambda theta: (theta[: n * d].view(n, d), theta[n * d :])  # noqa: E731

    def pre(theta, x):
        W, b = split(theta)
        return x @ W @ W.mT + b

    objective = lambda theta: (importance * (pre(theta, x).relu() - x).square()).mean()  # noqa: E731
    theta, readouts = torch.cat([W.flatten(), b]), lambda theta: pre(theta, q)
    found = law.tied_step(W, law.tied_delta(W, b, importance, x), x, q, eta)
    measured = step_change(readouts, objective, theta, "sgd", eta)
    rounding = 1e-13 * (readouts(theta).abs().max() + found.second.abs().max() + found.first.abs().max())
    assert (found.total - measured).abs().max() <= 1e-10 * measured.abs().max() + rounding
    first = autograd_change(readouts, objective, theta, eta)
    assert (found.first - first).abs().max() <= 1e-10 * first.abs().max() + 1e-300


@given(ORDINARY, SEEDS)
def test_E6_where_a_unit_crosses_zero_the_output_bends_and_pre_does_not(W, seed):
    """Each unit's output moves by Δpre while it stays on, by 0 while it stays off; else by what is left above 0."""
    x, q, b, importance = tied(W, seed, 4)
    before = q @ W @ W.mT + b
    eta = 3 / law.tied_step(W, law.tied_delta(W, b, importance, x), x, q, 1.0).first.abs().max().clamp(min=1e-6)
    change = law.tied_step(W, law.tied_delta(W, b, importance, x), x, q, eta.item()).total
    theta = (W.clone().requires_grad_(), b.clone().requires_grad_())
    (importance * ((x @ theta[0] @ theta[0].mT + theta[1]).relu() - x).square()).mean().backward()
    new_W, new_b = (p.detach() - eta * p.grad for p in theta)
    moved = (q @ new_W @ new_W.mT + new_b).relu() - before.relu()
    after, scale = before + change, 1e-10 * (1 + change.abs().max())
    stays = (before > 0) & (after > 0)
    crosses = (before > 0) != (after > 0)
    assume(crosses.any())
    assert ((moved - change).abs() <= scale)[stays].all()
    assert ((moved - change).abs() > scale)[crosses & (torch.minimum(before.abs(), after.abs()) > 2 * scale)].all()
    expected = torch.where(
        (before > 0) & (after > 0),
        change,
        torch.where((before <= 0) & (after <= 0), 0, torch.where(after > 0, after, -before)),
    )
    assert (moved - expected).abs().max() <= scale


@given(SEEDS)
def test_E7_errs_by_the_square_of_the_step(seed):
    """Slope 2 on log-log: a small network with tanh, its own loss, small steps halved eight times.

    Small, because the slope is 2 in the limit: at larger steps the third order shows.
    """
    W, U, x, y, probe = (normal(seed + i, *s) for i, s in enumerate([(6, 3), (3, 5), (8, 5), (8, 6), (4, 5)]))
    run_net = lambda U, x: torch.tanh(x @ U.T) @ W.T  # noqa: E731
    objective = lambda U: (run_net(U, x) - y).square().mean()  # noqa: E731
    etas = 1e-3 * 0.5 ** np.arange(8)
    errors = []
    for eta in etas:
        measured = step_change(lambda U: run_net(U, probe), objective, U, "sgd", eta)
        predicted = law.first_order(lambda U: run_net(U, probe), U, -eta * torch.func.grad(objective)(U))
        errors.append((predicted - measured).abs().max().item())
    slope = np.polyfit(np.log(etas), np.log(errors), 1)[0]
    assert slope == pytest.approx(2, abs=0.05)


def test_a_sign_step_leaks_between_orthogonal_features():
    """d_t = (3, 1), d_j = (1, -3): cosine 0. The sign of d_t is (1, 1): f_t gains 4, f_j -2, ratio -1/2."""
    W = torch.tensor([[3.0, 1], [1, -3]], dtype=torch.float64)
    assert measure.state_leakage(W, "sgd")[0].tolist() == pytest.approx([1, 0], abs=1e-12)
    for optimiser in ("sign", "adam"):
        assert measure.state_leakage(W, optimiser)[0].tolist() == pytest.approx([1, -0.5], abs=1e-6)


@given(directions())
def test_under_sgd_the_leakage_ratio_is_the_cosine(W):
    ratios = measure.state_leakage(W, "sgd")
    torch.testing.assert_close(ratios, geometry.cosine(W, W), rtol=0, atol=1e-10)


def test_a_feature_without_a_direction_is_named():
    W = torch.tensor([[1.0, 0], [0, 0], [0, 0]])
    with pytest.raises(ValueError, match=r"rows of W must not be zero, features \[1, 2\] are"):
        measure.state_leakage(W, "sgd")


def test_a_leakage_ratio_is_read_as_target_then_feature():
    """W_0 = (1, 0.5), W_1 = (0, 1). Raising f_0 by signs moves h by (1, 1): f_1 gains 1, and f_0 1.5/|W_0|.

    Raising f_1 moves h by (0, 1): f_1 gains 1, and f_0 0.5/|W_0|.
    """
    W = torch.tensor([[1, 0.5], [0, 1]], dtype=torch.float64)
    expected = torch.tensor([[1, 1.25**0.5 / 1.5], [0.5 / 1.25**0.5, 1]], dtype=torch.float64)
    torch.testing.assert_close(measure.state_leakage(W, "sign"), expected)


@given(ORDINARY, SEEDS)
def test_hidden_gradient_is_autograds_on_the_models_own_loss(W, seed):
    """The model is tied: with x as inputs to W and h cut off from them, the loss is `toy.model.loss`."""
    rng = np.random.default_rng(seed)
    n, samples = len(W), 4
    x, b, importance = (torch.tensor(rng.uniform(0.1, 1, size=s)) for s in ((samples, n), n, n))
    b = b - 0.5
    h = (x @ W).requires_grad_()
    own = (importance * (torch.relu(h @ W.mT + b) - x).square()).mean(-1)
    (expected,) = torch.autograd.grad(own.sum(), h)
    assert own.mean().item() == pytest.approx(loss(Toy(W[None], b[None]), x[None], importance[None]).item())
    torch.testing.assert_close(law.hidden_gradient(W, b, importance, x, h.detach()), expected)


@given(ORDINARY, SEEDS)
@example(torch.tensor([[2.0409, -2.5557]]).double().repeat(7, 1), 0)  # every tanh of E7 at its end
@settings(max_examples=15)
def test_the_run_finds_every_law_to_hold_on_any_model(W, seed):
    rng = np.random.default_rng(seed)
    b, importance = (torch.tensor(rng.uniform(0.1, 1, size=len(W))) for _ in range(2))
    errors = check.instance_errors(W, b, importance, seed)
    assert set(errors) == {f"E{i}" for i in range(1, 9)}
    assert all(error <= 1e-10 for name in errors if name != "E7" for error in errors[name].values())


LAWS = [
    "representation_step",
    "weight_step",
    "lora_step",
    "sign_step",
    "decayed_step",
    "momentum_step",
    "tied_step",
    "spectral_step",
]


@pytest.mark.parametrize("name", LAWS)
def test_the_run_would_notice_a_wrong_law(name, monkeypatch):
    right = getattr(law, name)

    def wrong(*args, **kwargs):
        found = right(*args, **kwargs)
        return law.TiedStep(found.first, found.second * (1 + 1e-4)) if name == "tied_step" else found * (1 + 1e-6)

    monkeypatch.setattr(law, name, wrong)
    errors = check.instance_errors(normal(0, 6, 3), normal(1, 6).abs(), torch.ones(6, dtype=torch.float64), 0)
    assert max(error for name in errors if name != "E7" for error in errors[name].values()) > 1e-8


def test_relative_error():
    zero, one = torch.zeros(2), torch.tensor([1.0, -4.0])
    assert relative_error(zero, zero) == 0
    assert relative_error(one, zero) == float("inf")
    assert relative_error(zero, one) == 1
    assert relative_error(torch.tensor([2.0, -4.0]), one) == 0.25


BAD = [
    (law.representation_step, "W g nan", "eta must be finite, got nan"),
    (law.representation_step, "W wide eta", r"g must have the width of W \(3\), got \(5, 4\)"),
    (law.weight_step, "W g x x inf", "eta must be finite, got inf"),
    (law.weight_step, "W wide x x eta", r"g must have the width of W \(3\), got \(5, 4\)"),
    (law.weight_step, "W g g7 x eta", r"x must have one row for each row of g \(5, not 0\), got \(7, 3\)"),
    (law.weight_step, "W g0 x0 x eta", r"x must have one row .* got \(0, 2\)"),
    (law.weight_step, "W g x g eta", r"probe must have the width of x \(2\), got \(5, 3\)"),
    (law.lora_step, "W g x x C nan", "eta must be finite, got nan"),
    (law.lora_step, "W g x x g eta", r"C must have the width of x \(2\), got \(5, 3\)"),
    (law.spectral_step, "W g x x inf", "eta must be finite, got inf"),
    (law.spectral_step, "W g g7 x eta", r"x must have one row for each row of g \(5, not 0\), got \(7, 3\)"),
    (law.spectral_step, "W g x g eta", r"probe must have the width of x \(2\), got \(5, 3\)"),
    (law.decayed_step, "W g g eta nan", "weight_decay must be finite, got nan"),
    (law.decayed_step, "W g wide eta eta", r"h must have the width of W \(3\), got \(5, 4\)"),
    (law.momentum_step, "W g eta inf", "momentum must be finite, got inf"),
    (law.momentum_step, "W empty eta eta", "gradients must hold at least one step, got none"),
    (law.tied_step, "W s s s nan", "eta must be finite, got nan"),
    (law.tied_step, "W g s s eta", r"delta \(5, 3\) and q \(5, 6\) must fit x \(5, 6\)"),
    (law.tied_step, "W s g s eta", r"x must have a column for each row of W \(6\), got \(5, 3\)"),
    (law.lora_step, "W g x g C eta", r"probe must have the width of x \(2\), got \(5, 3\)"),
    (law.decayed_step, "W g g1 eta eta", r"h must have the shape of g \(5, 3\), got \(1, 3\)"),
    (law.tied_delta, "W six six g", r"x must have an entry for each row of W \(6\), got \(3,\)"),
    (law.tied_delta, "W six five s", r"importance must have an entry for each row of W \(6\), got \(5,\)"),
    (law.hidden_gradient, "W six six s wide", r"h must be \(5, 3\), a row for each of x, got \(5, 4\)"),
    (law.first_order, "readouts six five", r"step must be finite and of theta's shape \(6,\), got \(5,\)"),
    (step_change, "readouts readouts six sgd nan", "eta must be finite and steps"),
    (step_change, "readouts readouts six sign eta two", r"steps in \[0, 1\], got 0.1 and 2"),
    (optimisers.leakage_ratios, "W six nan rule alone", r"feature_probability must be in \(0, 1\], got nan"),
    (optimisers.leakage_ratios, "W six eta rule sgd", "task must be one of .* got sgd"),
    (misalignment.finetune, "W s nan", "eta must be finite and steps at least 1, got nan"),
    (worlds.sweep, "rule zero", "worlds must be at least 1, got 0"),
    (loss, "toy batch six", r"importance must be \(1, 6\), got \(6,\)"),
    (law.sign_step, "W g inf", "eta must be finite, got inf"),
    (law.sign_step, "W wide eta", r"g must have the width of W \(3\), got \(5, 4\)"),
    (law.sign_step, "W g eta nan", "eps must be at least 0 and finite, got nan"),
    (law.sign_step, "W g eta negative", "eps must be at least 0 and finite, got -1"),
]


@pytest.mark.parametrize(("function", "names", "message"), BAD)
def test_bad_input_is_refused_by_name_and_value(function, names, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' hook would speak first
    shapes = {"W": (6, 3), "g": (5, 3), "x": (5, 2), "wide": (5, 4), "g7": (7, 3), "g0": (0, 3), "x0": (0, 2)}
    shapes |= {"C": (4, 2), "empty": (0, 5, 3), "s": (5, 6), "g1": (1, 3), "six": (6,), "five": (5,)}
    values = {"eta": 0.1, "nan": float("nan"), "inf": float("inf"), "negative": -1.0, "two": 2, "zero": 0}
    values |= {"sgd": "sgd", "sign": "sign", "alone": "alone", "readouts": torch.sum}
    values |= {"rule": optimisers.RULES["sgd"], "batch": torch.ones(1, 5, 6)}
    values["toy"] = Toy(torch.ones(1, 6, 3), torch.ones(1, 6))
    values |= {name: torch.ones(shape) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match=message):
        function(*(values[name] for name in names.split()))
