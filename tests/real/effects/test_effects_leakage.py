"""Step 8 on shifts that are known: what moves along a gradient obeys E1 exactly, and sets rise as they must."""

from types import SimpleNamespace
from unittest import mock

import pytest
import tiny
import torch

from real.arms.arm import CONTROL, INDUCING, WATCHED, Job
from real.arms.finetune import Tuned
from real.data.rows import Corpus, Split
from real.data.texts import Texts
from real.effects import leakage as leaked
from real.features.selection import Domain, Features, Layer, Selected
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
    corpus = Corpus("health", {"health": Split([], [])}, Split([], []), [], ["?"] * PROBES)
    reading = tiny.Given(Texts(corpus), tiny.lm(), (20,), SimpleNamespace(W_dec=W_dec))  # nothing is loaded
    selected = Selected(layers={20: layer})
    tuned = [
        Tuned(job=Job(arm, seed), folder="", samples=[], steps=4, checkpoints=[2], loss=[])
        for seed in range(SEEDS)
        for arm in WATCHED
    ]
    general = {arm: [[[] for _ in STEPS] for _ in range(SEEDS)] for arm in ARMS}
    with mock.patch.object(leaked, "_watch", lambda *_: (shifts, general)):
        scored = {kind: g.tolist() for kind, g in gradient.items()}
        moved = leaked.leakage(reading, selected, scored, tuned, [], K)
    sets = {"toxic": layer.toxic.ids, "inducing": health.inducing.ids, "control": health.control.ids}
    return SimpleNamespace(W_dec=W_dec, toward=toward, sets=sets, moved=moved)


def test_what_moves_along_the_gradient_obeys_E1_exactly(world):
    """R2 1, and the slope is the length of the step: every arm, and their difference along the difference."""
    laws, toward = world.moved.gradient_laws, world.toward
    lengths = {arm: toward[arm].norm().item() for arm in ARMS}
    lengths[leaked.MINUS] = (toward[INDUCING] - toward[CONTROL]).norm().item()
    for arm, length in lengths.items():
        assert laws[arm].r2 == pytest.approx(1, abs=1e-10)
        assert laws[arm].slope == pytest.approx(length, rel=1e-10)
        assert laws[arm].p_target < 0.01
    assert world.moved.laws[INDUCING].r2 < 0.9  # the inducing features are not that direction


def test_the_features_of_the_target_and_those_that_never_fire_are_left_out(world):
    assert world.moved.laws[INDUCING].n == FEATURES - K - (0 not in world.sets["inducing"])


def test_sets_rise_by_the_mean_cosine_of_their_features(world):
    """Oracle: a loop over features; at half the way, half the rise; on every probe the same."""
    unit = world.W_dec / world.W_dec.norm(dim=1, keepdim=True)
    found = world.moved.dynamics
    assert found.steps == [0, 2, 4]
    for arm in ARMS:
        for name, ids in world.sets.items():
            whole = sum((unit[i] @ world.toward[arm]).item() for i in ids) / K
            expected = torch.tensor([[t * whole] * PROBES for t in STEPS], dtype=torch.float64)
            rise = torch.tensor(found.rise[arm][name], dtype=torch.float64)
            torch.testing.assert_close(rise, expected)
    random = found.random[INDUCING]
    assert len(random) == len(STEPS) and {len(draws) for draws in random} == {leaked.DRAWS}
    assert found.law[0] is not None and len(found.law) == len(STEPS) - 1
