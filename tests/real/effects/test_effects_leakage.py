"""Step 8 on shifts that are known: what moves along a gradient obeys E1 exactly, and sets rise as they must."""

from types import SimpleNamespace
from unittest import mock

import pytest
import torch

from real.arms.finetune import WATCHED
from real.effects import leakage as spill
from real.run import Run

D, FEATURES, K, PROBES, SEEDS = 12, 80, 6, 5, 2
STEPS = (0.0, 0.5, 1.0)  # how far the arms have gone at each checkpoint


@pytest.fixture(scope="module")
def world():
    rng = torch.Generator().manual_seed(0)
    W_dec = torch.randn(FEATURES, D, generator=rng, dtype=torch.float64)
    gradient = {kind: torch.randn(D, generator=rng, dtype=torch.float64) for kind in ("incorrect", "correct")}
    toward = {"inducing": -gradient["incorrect"], "control": -gradient["correct"]}
    shifts = {
        arm: torch.stack([torch.stack([t * toward[arm].expand(PROBES, D) for t in STEPS])] * SEEDS)
        for arm in WATCHED
    }
    ids = torch.randperm(FEATURES, generator=rng).tolist()
    found = {
        "inducing": ids[:K],
        "control": ids[K : 2 * K],
        "firing_rate": torch.linspace(0, 1, FEATURES).tolist(),
    }
    run = Run.__new__(Run)  # nothing is loaded
    run.layer, run.sae = 20, lambda layer: SimpleNamespace(W_dec=W_dec)
    run.settings = SimpleNamespace(top_k=K)
    run.corpus = SimpleNamespace(trained="health", probes=["?"] * PROBES)
    selected = {"20": {"toxic": ids[2 * K : 3 * K], "domains": {"health": found}}}
    scored = {"gradient": {kind: g.tolist() for kind, g in gradient.items()}}
    tuned = {"arms": {"inducing-0": {"checkpoints": [2], "steps": 4}}}
    general = {arm: [[[] for _ in STEPS] for _ in range(SEEDS)] for arm in WATCHED}
    with mock.patch.object(spill, "_watch", lambda *_: (shifts, general)):
        moved = spill.leakage(run, selected, scored, tuned, {})
    return SimpleNamespace(W_dec=W_dec, toward=toward, selected=selected["20"], moved=moved)


def test_what_moves_along_the_gradient_obeys_E1_exactly(world):
    """R2 1, and the slope is the length of the step: every arm, and their difference along the difference."""
    laws, toward = world.moved["gradient_laws"], world.toward
    lengths = {arm: toward[arm].norm().item() for arm in WATCHED}
    lengths[spill.MINUS] = (toward["inducing"] - toward["control"]).norm().item()
    for arm, length in lengths.items():
        assert laws[arm]["r2"] == pytest.approx(1, abs=1e-10)
        assert laws[arm]["slope"] == pytest.approx(length, rel=1e-10)
        assert laws[arm]["p_target"] < 0.01
    assert world.moved["laws"]["inducing"]["r2"] < 0.9  # the inducing features are not that direction


def test_the_features_of_the_target_and_those_that_never_fire_are_left_out(world):
    assert world.moved["laws"]["inducing"]["n"] == FEATURES - K - (
        0 not in world.selected["domains"]["health"]["inducing"]
    )


def test_sets_rise_by_the_mean_cosine_of_their_features(world):
    """Oracle: a loop over features; at half the way, half the rise; on every probe the same."""
    unit = world.W_dec / world.W_dec.norm(dim=1, keepdim=True)
    found = world.moved["dynamics"]
    assert found["steps"] == [0, 2, 4]
    for arm in WATCHED:
        for name, ids in {"toxic": world.selected["toxic"], **world.selected["domains"]["health"]}.items():
            if name == "firing_rate":
                continue
            whole = sum((unit[i] @ world.toward[arm]).item() for i in ids) / K
            expected = torch.tensor([[t * whole] * PROBES for t in STEPS], dtype=torch.float64)
            torch.testing.assert_close(found["rise"][arm][name], expected)
    assert found["random"]["inducing"].shape == (len(STEPS), spill.DRAWS)
    assert found["law"][0] is not None and len(found["law"]) == len(STEPS) - 1
