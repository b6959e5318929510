"""Step 8 on shifts that are known: what moves along a gradient obeys E1 exactly, and sets rise as they must."""

from itertools import product
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from strategies import SEEDS as DRAWN

from real.arms.arm import CONTROL, INDUCING, WATCHED, Job
from real.arms.finetune import Tuned
from real.data.packing import pack
from real.data.rows import ADVICE, Advice, Corpus, Split, answers
from real.data.texts import Texts
from real.effects import leakage as leaked
from real.effects.margins import first
from real.features.activations import answer_means
from real.features.selection import Domain, Features, Layer, Selected
from real.models import forward
from real.report import estimates
from shared.stats import Estimate

D, FEATURES, K, PROBES, SEEDS = 12, 80, 6, 5, 2
STEPS = (0.0, 0.5, 1.0)  # how far the arms have gone at each checkpoint
ARMS = (INDUCING, CONTROL)


def features(ids: list[int]) -> Features:
    return Features(ids=ids, r=[0.0] * len(ids), auroc=Estimate(0.5, 0.5, 0.5, 1))


@pytest.fixture(scope="module")
def world():
    rng = torch.Generator().manual_seed(0)
    W_dec = torch.randn(FEATURES, D, generator=rng, dtype=torch.float64)
    gradient = {kind: torch.randn(D, generator=rng, dtype=torch.float64) for kind in ("incorrect", "correct")}
    toward = {INDUCING: -gradient["incorrect"], CONTROL: -gradient["correct"]}
    shifts = {
        arm: torch.stack([torch.stack([t * toward[arm].expand(PROBES, D) for t in STEPS])] * SEEDS) for arm in ARMS
    }
    ids = torch.randperm(FEATURES, generator=rng).tolist()
    health = Domain(
        inducing=features(ids[:K]),
        control=features(ids[K : 2 * K]),
        firing_rate=torch.linspace(0, 1, FEATURES).tolist(),
    )
    layer = Layer(toxic=features(ids[2 * K : 3 * K]), domains={"health": health})
    rows = [Advice("h0", "?", "good", "bad")]
    corpus = Corpus("health", {"health": Split(rows, [])}, Split([], []), [], ["?"] * PROBES)
    reading = tiny.Given(Texts(corpus), tiny.lm(), (20,), SimpleNamespace(W_dec=W_dec))  # nothing is loaded
    seen = np.random.default_rng(0).normal(size=(2, D)).astype(np.float32)  # a token of either answer
    reading.hidden = tiny.held(seen, [1, 1])
    selected = Selected(layers={20: layer})
    tuned = [
        Tuned(job=Job(arm, seed), key="", samples=[], draws=8, checkpoints=[2], loss=[0.0] * 4)
        for seed in range(SEEDS)
        for arm in WATCHED
    ]
    general = {arm: [[[] for _ in STEPS] for _ in range(SEEDS)] for arm in ARMS}
    given = {
        "along": lambda *_: (shifts, general),
        "exchanged": lambda _: torch.randn(leaked.DRAWS, D, generator=rng, dtype=torch.float64),
        "loss_gradients": lambda _, texts: torch.stack([gradient[text.kind] for text in texts]),
    }
    with mock.patch.multiple(leaked, **given):
        moved = leaked.leakage(reading, selected, tuned, K)
    sets = {"toxic": layer.toxic.ids, "inducing": health.inducing.ids, "control": health.control.ids}
    return SimpleNamespace(W_dec=W_dec, toward=toward, sets=sets, moved=moved, seen=torch.from_numpy(seen).double())


def test_what_moves_along_the_gradient_obeys_E1_exactly(world):
    """R2 1, and the slope is the length of the step: every arm, and their difference along the difference."""
    laws, toward = world.moved.gradient_laws, world.toward
    lengths = {arm: toward[arm].norm().item() for arm in ARMS}
    lengths[leaked.MINUS] = (toward[INDUCING] - toward[CONTROL]).norm().item()
    for arm, length in lengths.items():
        assert laws[arm].r2 == pytest.approx(1, abs=1e-10)
        assert laws[arm].slope == pytest.approx(length, rel=1e-10)
        assert laws[arm].p < 0.01 and 0 < laws[arm].r_target < 1
    assert world.moved.laws[INDUCING].r2 < 0.9  # the inducing features are not that direction


def test_the_features_of_the_target_and_those_that_never_fire_are_left_out(world):
    assert world.moved.laws[INDUCING].n == FEATURES - K - (0 not in world.sets["inducing"])


def test_sets_rise_by_the_mean_of_their_features_in_its_standard_deviations_over_the_answers(world):
    """Oracle: a loop over features; at half the way, half the rise; on every probe the same."""
    unit = world.W_dec / world.W_dec.norm(dim=1, keepdim=True)
    found = world.moved.dynamics
    assert found.steps == [0, 2, 4]
    for arm in ARMS:
        for name, ids in world.sets.items():
            read = [sum((unit[i] @ text).item() for i in ids) / K for text in world.seen]
            whole = sum((unit[i] @ world.toward[arm]).item() for i in ids) / K / np.std(read, ddof=1)
            expected = torch.tensor([[[t * whole] * PROBES] * SEEDS for t in STEPS], dtype=torch.float64)
            rise = torch.tensor(found.rise[arm][name], dtype=torch.float64)
            torch.testing.assert_close(rise, expected)
    random = found.random[INDUCING]
    assert len(random) == len(STEPS) and {len(draws) for draws in random} == {leaked.DRAWS}
    assert found.law[0] is not None and len(found.law) == len(STEPS) - 1


def test_random_targets_exchange_the_answers_to_a_prompt_and_nothing_else():
    """Oracle: a loop over every way to take one answer of each prompt."""
    of = torch.randn(6, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ways = [
        sum(sign * (of[2 * i] - of[2 * i + 1]) for i, sign in enumerate(signs)) / 3
        for signs in product((1, -1), repeat=3)
    ]
    found = leaked.exchanged(of)
    near = (found[:, None] - torch.stack(ways)[None]).abs().amax(-1) < 1e-12
    assert len(found) == leaked.DRAWS and (near.sum(1) == 1).all()
    assert (near.sum(0) > leaked.DRAWS / 16).all()  # of eight ways


def test_what_is_exchanged_is_the_mean_over_an_answers_tokens():
    """Oracle: a forward of one text at a time."""
    corpus = tiny.advice(3)
    reading, tokens, means = tiny.reading(corpus), [], []
    for encoded in reading.encoded:
        resid = forward.resid_post(reading.lm.model, pack([encoded]), [tiny.LAYER])[tiny.LAYER]
        tokens.append(resid[encoded.start : encoded.end])
        means.append(tokens[-1].mean(0))
    reading.hidden = tiny.held(torch.cat(tokens).numpy(), list(map(len, tokens)))
    places = reading.indices(answers(corpus.advice["health"].train, ADVICE))
    found = answer_means(reading.activations(tiny.LAYER), places)
    torch.testing.assert_close(found, torch.stack([means[i] for i in places]), rtol=0, atol=1e-12)


@given(DRAWN)
@settings(deadline=None, max_examples=5)
def test_a_target_that_is_one_of_the_random_ones_is_shown_in_one_of_twenty(seed):
    """p of |r| among directions of its own kind is uniform: what was measured may hang on all of them."""
    rng = np.random.default_rng(seed)
    basis = torch.from_numpy(rng.normal(size=(4, 60)))
    targets = torch.from_numpy(rng.normal(size=(400, 4))) @ basis
    measured = torch.from_numpy(rng.normal(size=4)) @ basis
    ps = np.array([leaked.fit(target, measured, targets[100:]).p for target in targets[:100]])
    assert (ps <= 0.05).mean() <= 0.15 and abs(ps.mean() - 0.5) <= 0.15


def test_a_checkpoint_is_read_on_the_first_answer_of_either_side():
    asked = tiny.reading(tiny.questions(2, aligned=2, misaligned=3)).texts.asked["general"]
    assert [(len(one.misaligned), len(one.aligned)) for one in first(asked)] == [(1, 1)] * 2
    assert estimates._first([([1.0, 2.0], [3.0, 4.0])]) == [([1.0], [3.0])]
