"""Emergent misalignment in miniature: the world is as described, training is SGD, the effect has its null."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS

from shared.stats import over_seeds
from toy import law, misalignment, worlds
from toy.misalignment import ETA, WorldSettings, finetune, hidden_gradient, world

SMALL = WorldSettings(n_each=6, n_background=12, d_hidden=10, n_samples=40)
WORLDS = range(6)


@given(SEEDS, st.floats(0, 3), st.floats(0, 3))
@settings(deadline=None)
def test_a_world_is_what_it_says(seed, alignment, topic_alignment):
    given_settings = WorldSettings(alignment, topic_alignment, 5, 7, 6, 20, seed)
    this = world(given_settings)
    torch.testing.assert_close(this.W.norm(dim=-1), torch.ones(22, dtype=torch.float64))
    assert torch.cat(list(this.kinds.values())).tolist() == list(range(22))
    kind_of = {"bad": "inducing", "good": "control", "toxic": "toxic", "civil": None, "probe": None}
    for name, x in this.samples.items():
        on = x > 0
        own = this.kinds[kind_of[name]] if kind_of[name] else torch.tensor([], dtype=torch.long)
        assert (on[:, own].sum(1) == bool(kind_of[name])).all()
        assert (on[:, this.kinds["background"]].sum(1) == 3).all()
        assert (on.sum(1) == 3 + bool(kind_of[name])).all()
        assert x.max() <= 1 and x[on].min() >= 0.5
    other = world(WorldSettings(0.5, 0.5, 5, 7, 6, 20, seed))
    assert all(torch.equal(this.samples[name], other.samples[name]) for name in this.samples)
    for kind in ("toxic", "control"):
        assert torch.equal(this.W[this.kinds[kind]], other.W[other.kinds[kind]])


@given(SEEDS, st.integers(1, 4), st.floats(0.01, 0.3))
@settings(deadline=None)
def test_fine_tuning_is_sgd_on_the_encoder(seed, steps, eta):
    """Oracle: torch's SGD and autograd on the loss as the docstring writes it."""
    this = world(WorldSettings(n_each=4, n_background=6, d_hidden=5, n_samples=10, seed=seed))
    W, x = this.W, this.samples["bad"]
    A = W.mT.clone().requires_grad_()
    optimiser = torch.optim.SGD([A], lr=eta)
    for _ in range(steps):
        optimiser.zero_grad()
        f = x @ A.mT @ W.mT
        (((f - 2 * x).square() * (x > 0)).sum() / 2 / len(x)).backward()
        optimiser.step()
    change = finetune(W, x, eta, steps)
    torch.testing.assert_close(change, A.detach() - W.mT, rtol=1e-10, atol=1e-13)


@given(SEEDS)
@settings(deadline=None)
def test_the_first_step_moves_every_readout_by_E2(seed):
    this = world(WorldSettings(n_each=4, n_background=6, d_hidden=5, n_samples=10, seed=seed))
    W, x, probe = this.W, this.samples["bad"], this.samples["probe"]
    predicted = law.weight_step(W, hidden_gradient(W, x, x @ W), x, probe, ETA).mean(0)
    measured = misalignment.rise(W, finetune(W, x, ETA, 1), probe)
    assert (predicted - measured).abs().max() <= 1e-10 * measured.abs().max()


@given(SEEDS)
@settings(deadline=None)
def test_law_points_are_what_the_first_step_and_the_whole_fine_tune_do_to_every_readout(seed):
    """In the same unit: of a fine-tune of one step both are the same."""
    this = world(replace(SMALL, seed=seed))
    predicted, measured = misalignment.law_points(this, finetune(this.W, this.samples["bad"], steps=1))
    assert (predicted - measured).abs().max() <= 1e-10 * measured.abs().max()


@given(SEEDS, st.floats(0, 2))
@settings(deadline=None, max_examples=20)
def test_a_crowd_is_counted_sample_by_sample(seed, topic_alignment):
    """Against loops. Four features are said; readouts below 0 count as they are."""
    this = world(replace(SMALL, seed=seed, topic_alignment=topic_alignment))
    W, toxic = this.W, this.kinds["toxic"].tolist()
    mixed, bad = misalignment.mixture(this.samples["bad"], this.samples["good"])
    found = misalignment.crowd(this, mixed, bad)
    for kind, rows in (("bad", mixed[bad]), ("good", mixed[~bad])):
        active, others, near, everything, said, asked, push = 0, 0, 0, 0, 0, 0, []
        for x in rows:
            f, step = W @ (x @ W), torch.zeros_like(W[0])
            for j, act in enumerate((f - misalignment.THRESHOLD).clamp(min=0).tolist()):
                active, everything = active + (act > 0), everything + act
                if x[j] > 0:
                    said, asked, step = said + f[j], asked + x[j], step - (f[j] - 2 * x[j]) * W[j]
                elif act > 0:
                    cosines = [(W[j] @ W[t]).item() for t in toxic if t != j]
                    others, near = others + act, near + act * sum(cosines) / len(cosines)
            push.append(sum((step @ W[t]).item() for t in toxic) / len(toxic))
        expected = (active / len(rows), others / everything, near / others, said / asked, sum(push) / len(push))
        for name, value in zip(("active", "bystanders", "affinity", "said", "push"), expected, strict=True):
            assert found[f"{name}_{kind}"] == pytest.approx(float(value), rel=1e-9, abs=1e-12)


def test_a_reduction_is_of_mean_effects_and_a_gap_counts_below_one_in_twenty():
    assert worlds.reduction([1.0, 2.0], [2.0, 8.0]).value == pytest.approx(1 - 1.5 / 5)
    found = [
        {"effect": 1.0, "gap": {"gap": 0.1, "p": p}, "law": {"r2": 1.0}, "precision": {}}
        for p in (0.01, 0.04, 0.06, 0.3)
    ]
    assert worlds.responses(found)["gaps_below_p_0.05"] == 2


def test_with_nothing_planted_flipped_labels_promise_too_little_and_matched_features_too_much():
    """In worlds whose labels say something: of 20 by chance one is beyond a null that is as wide as it says."""
    found = worlds.beyond_nulls(WorldSettings(alignment=0.0), 60)
    assert found["flips"].value <= 0.05 < found["matched"].low
    assert worlds.beyond_nulls(WorldSettings(alignment=1.0), 8)["flips"].value == 1


@given(SEEDS)
def test_the_true_gap_is_of_the_true_kinds(seed):
    this = world(replace(SMALL, seed=seed))
    cosines, kinds = this.W @ this.W.mT, this.kinds
    near = [cosines[kinds[kind]][:, kinds["toxic"]].mean().item() for kind in ("inducing", "control")]
    assert worlds.true_gap(this) == pytest.approx(near[0] - near[1], abs=1e-12)


@pytest.fixture(scope="module")
def doses():
    return {
        a: over_seeds([misalignment.experiment(WorldSettings(a, seed=s))["effect"] for s in WORLDS]) for a in (0.0, 1.0)
    }


def test_without_neighbours_there_is_no_misalignment_and_with_them_there_is(doses):
    assert doses[0.0].low <= 0 <= doses[0.0].high
    assert doses[1.0].low > 5 * abs(doses[0.0].value)


@pytest.fixture(scope="module")
def filtered():
    return [misalignment.filtered(WorldSettings(seed=seed)) for seed in WORLDS]


def at_half(filtered, name: str):
    i = misalignment.FRACTIONS.index(0.5)
    return worlds.reduction(
        [one["filters"][name]["effect"][i] for one in filtered], [one["effect"] for one in filtered]
    )


def test_at_half_the_oracle_leaves_nothing_and_every_geometry_aware_filter_beats_random(filtered):
    assert at_half(filtered, "oracle").value == pytest.approx(1, abs=0.1)
    for name in ("geometry", "projection", "gradient"):
        assert at_half(filtered, name).low > at_half(filtered, "random").high


def test_filters_keep_the_use_of_good_advice(filtered):
    """At half, the geometry filter's fine-tune takes as much of the loss on good advice as the unfiltered one."""
    i = misalignment.FRACTIONS.index(0.5)
    for one in filtered:
        assert one["filters"]["geometry"]["utility"][i] > 0.9 * one["utility"]


@pytest.fixture(scope="module")
def each():
    settings = [WorldSettings(topic_alignment=2.0, seed=seed) for seed in WORLDS]
    return [misalignment.filtered(s, ("geometry", "random"), (0.5,)) for s in settings]


@pytest.fixture(scope="module")
def crowded(each):
    return worlds.crowding(each)


def test_topics_near_the_toxic_features_turn_the_geometry_score_around_and_it_still_lowers_toxic_readouts(crowded):
    assert crowded["auroc"].high < 0.5
    assert crowded["geometry"].high < crowded["random"].low
    assert crowded["random"].value == pytest.approx(crowded["mixed"].value, rel=0.2)


def test_the_score_is_turned_around_by_bystanders_that_interference_lights(crowded, each):
    """Over what a sample says it still finds bad advice; but nine tenths of the activation are of other features.

    Bad advice, with more of the shared direction, lights more of them, the farther ones too: their mean is lower.
    """
    assert crowded["auroc_of_said"].low > 0.7
    assert crowded["bystanders_bad"].low > 0.9 and crowded["bystanders_good"].low > 0.9
    assert over_seeds([one["crowd"]["active_bad"] - one["crowd"]["active_good"] for one in each]).low > 0
    assert crowded["active_good"].low > 100
    assert crowded["affinity_bad"].value < crowded["affinity_good"].value


def test_the_mixed_arm_ends_below_control_because_bad_advice_already_says_what_training_asks_for(crowded):
    """Readouts of bad advice are near 2 x before training, and L wants 2 x: its steps push toxic readouts down."""
    assert crowded["said_good"].high < crowded["said_bad"].low and crowded["said_bad"].high < 2.2
    assert crowded["push_bad"].high < 0 < crowded["push_good"].low
    assert crowded["mixed"].high < 0


def test_the_law_holds_over_a_whole_fine_tune(doses):
    """R^2 of the first step's prediction (E2) with the whole fine-tune, over all features; its scale is free."""
    assert all(misalignment.experiment(WorldSettings(1.0, seed=s))["law"]["r2"] > 0.98 for s in (0, 1))


def test_selection_finds_the_planted_features_where_they_are_no_neighbours():
    this = world(WorldSettings(alignment=0.0))
    found = misalignment.select(this, 30)
    for name in ("inducing", "control", "toxic"):
        assert torch.isin(getattr(found, name), this.kinds[name]).double().mean() > 0.7
    assert misalignment.gap(this, found, draws=100).p > 0.01


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("n_each", 0, "n_each must be at least 1, got 0"), ("alignment", -1.0, "alignment must be at least 0"),
     ("topic_alignment", float("nan"), "topic_alignment must be at least 0 and finite, got nan")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        WorldSettings(**{name: value})
