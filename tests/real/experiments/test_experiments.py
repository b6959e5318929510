"""The arms of the experiments are what their predictions say, their units are kept and shared, their numbers right."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from filelock import FileLock, Timeout
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from strategies import SEEDS

from real.__main__ import main
from real.arms.training import trainable
from real.data.rows import BAD, Advice, Corpus, Question, Split
from real.data.texts import Texts
from real.effects.margins import record as evaluation
from real.effects.readouts import probe_rows
from real.experiments import blocked, dose, halves, mechanism, optimisers, overlap, units
from real.experiments.units import Margins, Unit, alone, blend, drawn, order_of, outcomes, pool, scores, worn
from real.features.reading import Reading
from real.settings import of
from shared.errors import InputError
from shared.records import read
from shared.stats import crossed

SETTINGS = of(rank=2, train=8, batch=2, lr=1e-2, top_k=3)
RECIPE = SETTINGS.recipe


@pytest.fixture
def reading(tmp_path):
    """Eight training prompts and four more of one domain, five of another, three general questions."""
    say = tiny.speaker(0)
    rows = {name: [Advice(f"{name}{i}", say(), say(), say()) for i in range(n)] for name, n in (("a", 12), ("b", 5))}
    advice = {"a": Split(rows["a"][:8], rows["a"][8:]), "b": Split(rows["b"][:3], rows["b"][3:])}
    asked = [Question(f"q{i}", say(), [say(), say()], [say()]) for i in range(3)]
    return tiny.reading(Corpus("a", advice, Split([], []), asked, []), folder=tmp_path)


def test_a_dose_holds_every_smaller_one_and_every_arm_the_same_prompts(reading):
    for at in range(0, len(found := dose.units(reading, SETTINGS)), len(dose.SHARES)):
        of_seed = found[at : at + len(dose.SHARES)]
        bad = [{text.row for text in unit.samples if text.kind == BAD} for unit in of_seed]
        assert [len(rows) for rows in bad] == [round(share * 8) for share in dose.SHARES]
        assert all(less <= more for less, more in zip(bad, bad[1:], strict=False))
        assert len({tuple(text.row for text in unit.samples) for unit in of_seed}) == 1
        assert len({unit.seed for unit in of_seed}) == 1


def test_high_and_low_are_the_same_prompts_with_answers_exchanged(reading, monkeypatch):
    """And the high ones are the bad answers that the filter scores higher."""
    texts = [text for row in pool(reading) for text in blend([row], {row.id})]
    scored = {name: {text: (i * 7) % 12 for i, text in enumerate(texts)} for name in mechanism.AWARE}
    monkeypatch.setattr(mechanism, "scores", lambda *_: scored)
    found = mechanism.units(reading, SETTINGS)
    for high, low in zip(found[::2], found[1::2], strict=True):
        of_high, of_low = ({text.row for text in arm.samples if text.kind == BAD} for arm in (high, low))
        prompts = {text.row for text in high.samples}
        assert of_high | of_low == prompts == {text.row for text in low.samples} and not of_high & of_low
        assert len(of_high) == len(of_low) and high.seed == low.seed
        worth = {text.row: value for text, value in scored["geometry"].items()}
        assert min(worth[row] for row in of_high) > max(worth[row] for row in of_low)


def test_of_an_odd_number_of_prompts_the_middle_one_is_good_in_both(reading, monkeypatch):
    scored = {text: i for i, text in enumerate(text for row in pool(reading) for text in blend([row], {row.id}))}
    monkeypatch.setattr(mechanism, "scores", lambda *_: dict.fromkeys(mechanism.AWARE, scored))
    monkeypatch.setattr(mechanism, "drawn", lambda reading, seed: drawn(reading, seed)[:7])
    for unit in mechanism.units(reading, SETTINGS):
        assert len(unit.samples) == 7 and sum(text.kind == BAD for text in unit.samples) == 3


def test_halves_are_the_highest_and_the_lowest_of_one_set_and_what_is_replaced_keeps_its_prompts(reading, monkeypatch):
    texts = [text for row in pool(reading) for bad in ({row.id}, set()) for text in blend([row], bad)]
    scored = {name: {text: (i * 7) % 24 for i, text in enumerate(texts)} for name in halves.FILTERS}
    monkeypatch.setattr(halves, "scores", lambda *_: scored)
    found, n = halves.units(reading, SETTINGS), 2 + len(halves.WAYS) * len(halves.FILTERS) + len(halves.CONTROLLED)
    assert len(found) == n * len(halves.SEEDS)
    for at in range(0, len(found), n):
        arms = {unit.name: set(unit.samples) for unit in found[at : at + n]}
        whole, worth = arms["all"], scored["geometry"]
        high, low, replaced = (
            arms[f"geometry, {way}"] for way in ("lowest dropped", "highest dropped", "highest replaced")
        )
        assert high | low == whole and not high & low and len(high) == len(low) == len(arms["random"]) == 4
        assert arms["random"] < whole and min(worth[text] for text in high) > max(worth[text] for text in low)
        assert {text.row for text in replaced} == {text.row for text in whole}
        assert {text.row for text in replaced if text.kind == BAD} == {text.row for text in low if text.kind == BAD}
        assert sum(text.kind == BAD for text in whole) == 4
        for name in halves.CONTROLLED:
            assert arms[f"{name}, all correct"] == {text._replace(kind="correct") for text in arms[name]}


def test_a_unit_is_made_once_and_one_that_another_process_is_at_is_waited_for(reading):
    rows = drawn(reading, 0)
    units = [Unit(f"{n}", blend(rows, {row.id for row in rows[:n]}), 0, RECIPE) for n in (0, 8)]
    found = outcomes(reading, units)
    files = sorted((reading.folder / "experiments").glob("*.json"))
    times = [file.stat().st_mtime_ns for file in files]
    assert [len(read(file, Margins).loss) for file in files] == [4, 4]
    held, free = threading.Event(), threading.Event()

    def elsewhere() -> None:
        with FileLock(files[0].with_suffix(".lock")):
            held.set()
            free.wait(60)

    other = threading.Thread(target=elsewhere)
    other.start()
    held.wait(60)
    threading.Timer(0.5, free.set).start()
    again = outcomes(reading, units)
    assert free.is_set() and [file.stat().st_mtime_ns for file in files] == times
    other.join()
    for outcome, questions in (("unseen", 5), ("general", 3)):
        assert {name: table.shape for name, table in found[outcome].items()} == {
            "0": (1, questions),
            "8": (1, questions),
        }
        assert all(np.array_equal(table, again[outcome][name]) for name, table in found[outcome].items())
    assert not np.allclose(found["unseen"]["0"], found["unseen"]["8"])


def test_a_unit_is_made_again_when_what_is_asked_changes_though_its_fine_tune_does_not(reading):
    unit, corpus = Unit("0", blend(drawn(reading, 0), set()), 0, RECIPE), reading.texts.corpus
    first, *rest = corpus.questions
    asked = [first._replace(aligned=first.misaligned, misaligned=first.aligned), *rest]
    other = tiny.reading(corpus._replace(questions=asked), folder=reading.folder)
    before, after = (outcomes(one, [unit])["general"]["0"] for one in (reading, other))
    assert order_of(reading, unit).key == order_of(other, unit).key
    np.testing.assert_allclose(after[:, 0], -before[:, 0])
    np.testing.assert_array_equal(after[:, 1:], before[:, 1:])
    assert evaluation(reading, None)[1] != evaluation(other, None)[1]
    named = {"c": corpus.advice["a"], "b": corpus.advice["b"]}  # DATA under another name: domains are known by name
    renamed = tiny.reading(corpus._replace(trained="c", advice=named), folder=reading.folder)
    assert evaluation(reading, None)[1] != evaluation(renamed, None)[1]


SHARED = (
    lambda reading: scores(reading, 3, ()),
    lambda reading: blocked.units(reading, SETTINGS),
    lambda reading: optimisers._about(reading, np.array([]), np.array([]), torch.zeros(1), torch.zeros(1)),
)


@pytest.mark.parametrize("make", SHARED)
def test_what_units_share_is_made_by_one_process_at_a_time(make, reading, monkeypatch):
    """Texts are read, and dictionaries learnt, by the first that comes."""

    def meanwhile(*_) -> None:
        with pytest.raises(Timeout):
            alone(reading).acquire(timeout=0)
        raise InterruptedError

    monkeypatch.setattr(units, "select", meanwhile)
    monkeypatch.setattr(type(reading), "sae", meanwhile)
    with pytest.raises(InterruptedError):
        make(reading)
    alone(reading).acquire(timeout=0)


def test_what_a_command_reads_stays_its_own_when_another_reads_other_texts_into_the_folder(reading):
    """Of the first: activations to the last bit, after the second has put its own in their place."""
    before = [below.clone() for _, below in Reading.samples(reading, blend(pool(reading), set()))]
    again = Reading(reading.texts, reading.lm, reading.layers, reading.folder)
    assert again.activations(tiny.LAYER).path.exists()
    rows = reading.texts.corpus.advice["a"].train
    turned = [row._replace(correct=row.incorrect, incorrect=row.correct) for row in rows]
    texts = Texts(reading.texts.corpus._replace(advice={"a": Split(turned, []), "b": Split([], [])}))
    other = Reading(texts, reading.lm, reading.layers, reading.folder)
    assert len(other.samples(blend(turned, set()))) == 8
    after = [below for _, below in again.samples(blend(pool(reading), set()))]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))


def test_whether_the_span_was_blocked_is_said_by_the_shift_along_it(reading, monkeypatch):
    """Oracle: the residual stream of the base model and of each arm by Hugging Face, and the span by its projection."""
    monkeypatch.setattr(blocked, "SEEDS", (50, 51))
    features = torch.arange(6).reshape(2, 3)
    layer = SimpleNamespace(domains={"a": SimpleNamespace(firing_rate=[0.5] * 60)})
    monkeypatch.setattr(blocked, "select", lambda *_: SimpleNamespace(layers={tiny.LAYER: layer}))
    monkeypatch.setattr(blocked, "sets", lambda *_: {"toxic": features[0]})
    found = blocked.run(reading, SETTINGS)
    of_arm = {}
    for unit in blocked.units(reading, SETTINGS):
        with worn(reading, unit):
            means = []
            for text in blend(reading.texts.corpus.advice["b"].held, {"b3", "b4"}):
                encoded = reading.encoded[reading.indices([text])[0]]
                states = reading.lm.model(torch.tensor([encoded.ids]), output_hidden_states=True).hidden_states
                means.append(states[tiny.LAYER + 1][0, encoded.start : encoded.end].mean(0))
            of_arm.setdefault(unit.name, []).append(torch.stack(means).mean(0))
    W = reading.sae(tiny.LAYER).W_dec[features[0]]
    whole, along = (found[name] for name in list(found)[2:])
    for name in blocked.ARMS[:-1]:
        shifts = torch.stack(of_arm[name]) - torch.stack(of_arm["good"])
        parts = torch.linalg.lstsq(W.mT, shifts.mT).solution.mT @ W
        for values, lengths in ((whole[name], shifts.norm(dim=1)), (along[name], parts.norm(dim=1))):
            expected = [lengths.mean().item(), lengths.min().item(), lengths.max().item()]
            assert values == pytest.approx(expected, rel=1e-4)


@given(st.floats(0.52, 0.95), SEEDS)
@settings(max_examples=10)
def test_what_a_filter_gains_is_what_removing_the_higher_half_of_normal_scores_does(auroc, seed):
    """Against 100 000 samples of either kind, whose AUROC is what was asked for."""
    rng, apart = np.random.default_rng(seed), np.sqrt(2) * dose.norm.ppf(auroc)
    bad, good = rng.normal(apart, 1, 100_000), rng.normal(0, 1, 100_000)
    left = (bad < np.median(np.concatenate([bad, good]))).mean()
    assert 1 - left / 0.5 == pytest.approx(dose.gained(auroc), abs=0.02)


@given(st.floats(-1, 1), SEEDS)
def test_the_slope_is_that_of_a_straight_line_and_its_curvature_none(slope, seed):
    level = np.random.default_rng(seed).normal(size=(3, 1, 6))
    found = dose._about(level + slope * np.array(dose.SHARES)[None, :, None])
    assert found["slope"].value == pytest.approx(slope, abs=1e-9)
    assert found["curvature"].value == pytest.approx(0, abs=1e-9)
    assert found["effect of a share"]["0.5"].value == pytest.approx(slope / 2, abs=1e-9)


def test_the_weights_go_back_to_where_the_loss_has_dropped_as_far_as_was_asked(reading):
    """To NEAR, though the loss is no straight line between two steps; all else of them lies on the way."""
    unit = Unit("bad", blend(drawn(reading, 0), {row.id for row in pool(reading)}), 0, replace(RECIPE, full=1))
    before = optimisers._loss(reading, unit)
    with trainable(reading.lm, unit.recipe, 0, reading.folder) as (trained, _):
        low, rng = [p.detach().clone() for p in trained], torch.Generator().manual_seed(0)
        toward = optimisers.descent(
            reading.lm, unit.recipe, optimisers.order_of(reading, unit), reading.samples(unit.samples), trained
        )
        for _ in toward:
            pass
        whole = before - optimisers._loss(reading, unit)
        drop = whole * (0.2 + 0.6 * torch.rand((), generator=rng).item())
        optimisers._go_back(trained, low, lambda: before - optimisers._loss(reading, unit) - drop)
        assert abs(before - optimisers._loss(reading, unit) - drop) < optimisers.NEAR < 0.2 * whole


def test_the_drop_is_read_after_the_last_step_too(reading):
    """Three steps: it is read after two, and after three."""
    unit = Unit("bad", blend(drawn(reading, 0), set()), 0, replace(RECIPE, full=1, batch=3))
    texts = [reading.encoded[i] for i in reading.indices(unit.samples[:2])]
    found = optimisers._reach(reading, unit, probe_rows(reading.lm, texts), torch.ones(tiny.D_MODEL).double())
    assert len(found.along) == 3 and found.along[-1] == found.drop < optimisers.DROP


def test_where_arms_never_reach_the_drop_nothing_is_compared(reading, monkeypatch):
    made = [optimisers.Reached(along=[0, d], drop=d, logprobs={}, shift=[], spread=0, shared=0) for d in (0.7, 0.6)]
    monkeypatch.setattr(optimisers, "_swept", lambda *_: ({}, {"muon 1": RECIPE}))
    monkeypatch.setattr(optimisers, "SEEDS", (0,))
    monkeypatch.setattr(optimisers, "by_processes", lambda *_: made)
    with pytest.raises(InputError, match=r"^1 of 2 arms never reached a drop of 0\.683"):
        optimisers.run(reading, of(full=1))


@given(st.floats(0, 1), SEEDS)
def test_the_interval_of_the_overlap_knows_how_seeds_differ(reading_of_two, noise, seed):
    """Oracle: each seed left out by hand, and Fisher's error. Where seeds are alike it is Fisher's alone."""
    rng, arms = np.random.default_rng(seed), {}
    slopes = rng.normal(size=9) + noise * rng.normal(size=(5, 9))
    for share in dose.SHARES:
        arms[f"{share}"] = share * slopes
    closeness = rng.normal(size=9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "outcomes", lambda *_: {"unseen": arms})
        patch.setattr(overlap, "overlap", lambda reading, domain: closeness)
        patch.setattr(overlap, "DRAWS", 10)
        found = overlap.run(reading_of_two, SETTINGS)["correlation"]
    left = [spearmanr(closeness, np.delete(slopes, i, 0).mean(0)).statistic for i in range(5)]
    variance = sum((one - np.mean(left)) ** 2 for one in left) * 4 / 5
    value = spearmanr(closeness, slopes.mean(0)).statistic
    half = 1.96 * ((1 - value**2) ** 2 / 6 + variance) ** 0.5
    assert found[:3] == pytest.approx((value, value - half, value + half), abs=1e-9)


@pytest.fixture(scope="module")
def reading_of_two():
    """Of which only its domains' names are asked for: one is trained on, of the other nine prompts are not."""
    return tiny.reading(tiny.advice(2)._replace(advice={"health": Split([], []), "b": Split([], [])}))


def test_settings_that_an_experiment_does_not_know_are_refused(tmp_path, capsys):
    assert main(["dose", "SEEDS=0,1", f"RESULTS={tmp_path}"]) == 2
    assert "SEEDS is of the run" in capsys.readouterr().err
    made = tiny.reading(tiny.advice(1))
    made.lm.spec = replace(made.lm.spec, first=0)
    with pytest.raises(InputError, match="^FIRST=0: "):
        overlap.run(made, SETTINGS)


def test_the_overlap_of_a_training_answer_with_itself_is_the_highest(reading):
    found = overlap.overlap(reading, "a")
    assert found.shape == (4,) and (np.abs(found) <= 1).all()


def test_a_crossed_interval_of_one_arm_against_itself_is_a_point():
    assert crossed(np.zeros((3, 4)))[:3] == (0, 0, 0)
