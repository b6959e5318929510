"""Readouts of an arm are those of every checkpoint, by a plain forward of one probe at a time, and are read once."""

import pytest
import tiny
import torch

from real.arms.arm import INDUCING, Arm, Job
from real.arms.recipe import Recipe
from real.arms.training import Order, train
from real.arms.weights import wearing
from real.data.rows import BAD, Text
from real.effects import readouts
from real.effects.margins import first, read_questions
from shared.records import whole


@pytest.fixture
def world(tmp_path):
    """A reading, and an arm of four steps that was kept after the second."""
    corpus = tiny.advice(8)._replace(questions=tiny.questions(3, aligned=2).questions, probes=["3 4 5", "6 7"])
    reading, recipe = tiny.reading(corpus, folder=tmp_path), Recipe(rank=2, train=8, batch=2, lr=1e-2)
    texts = [Text(f"h{i}", BAD) for i in range(8)]
    order = Order(job=Job(Arm(INDUCING), 0), samples=texts, draws=8, checkpoints=[2], key="")
    train(reading.lm, recipe, order, reading.samples(texts), tmp_path / "arm")
    return reading, tmp_path / "arm"


def test_readouts_are_those_of_every_checkpoint(world):
    reading, arm = world
    lm, (base, [off]), (found, on) = reading.lm, readouts.watch(reading), readouts.watch(reading, arm)
    texts = lm.encode(list(zip(reading.texts.corpus.probes, base.said, strict=True)))
    assert found.said == base.said
    for folder, states, general in (
        (None, off, base.general[0]),
        (arm / "step-2", on[0], found.general[0]),
        (arm, on[1], found.general[1]),
    ):
        with wearing(lm.model, folder):
            for text, state in zip(texts, states, strict=True):
                resid = lm.model(torch.tensor([text.ids]), output_hidden_states=True).hidden_states[tiny.LAYER + 1][0]
                expected = resid[text.start : max(text.end, text.start + 1)].mean(0)
                torch.testing.assert_close(state, expected, rtol=1e-9, atol=1e-12)
            asked = {"": first(reading.texts.asked["general"])}
            assert general == read_questions(reading, asked)[""]
    assert not torch.equal(*on)


def test_what_was_read_is_kept_while_it_is_whole(world, monkeypatch):
    reading, arm = world
    assert not whole(*readouts.record(reading, arm))
    (found, states), made = readouts.watch(reading, arm), readouts._read
    monkeypatch.setattr(readouts, "_read", lambda *_: pytest.fail("read again"))
    again = readouts.watch(reading, arm)
    assert again[0] == found and torch.equal(again[1], states) and whole(*readouts.record(reading, arm))
    (reading.folder / "readouts" / "arm.npy").unlink()
    assert not whole(*readouts.record(reading, arm))
    monkeypatch.setattr(readouts, "_read", made)
    assert readouts.watch(reading, arm)[0].general == found.general and whole(*readouts.record(reading, arm))
