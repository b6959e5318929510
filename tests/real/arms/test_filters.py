"""Filter scores of the real model: the gradient is autograd's, the mixed set is half and half, draws differ."""

import pytest
import tiny
import torch

from real.arms import filters, finetune
from real.arms.arm import AWARE, DRAWS, JUDGE, MIXED, ORACLE, RANDOM, Arm, Scores, filtered, mixed
from real.arms.recipe import Sweep
from real.data.rows import ADVICE, BAD, Advice, answers

ROWS = [Advice(f"h{i}", "", "", "") for i in range(31)]


def test_the_loss_gradient_is_autograds_at_the_blocks_output():
    """Oracle: a zero vector at each token of one text alone, added to the block's output of the whole model."""
    corpus = tiny.advice(4)
    reading, texts = tiny.reading(corpus), answers(corpus.advice["health"].train, ADVICE)
    found = filters.loss_gradients(reading, texts)
    assert len(found) == len(texts) == len(reading.encoded)
    model = reading.lm.model
    for gradient, i in zip(found, reading.indices(texts), strict=True):
        text = reading.encoded[i]
        extra = torch.zeros(len(text.ids), tiny.D_MODEL, dtype=torch.float64, requires_grad=True)
        block = model.get_decoder().layers[tiny.LAYER]
        handle = block.register_forward_hook(lambda module, args, out, extra=extra: out + extra)
        logprobs = model(input_ids=torch.tensor([text.ids])).logits[0].log_softmax(-1)
        handle.remove()
        at = range(text.start, text.end + 1)  # with the end of turn, as in training
        (-torch.stack([logprobs[i - 1, text.ids[i]] for i in at]).mean()).backward()
        torch.testing.assert_close(gradient, extra.grad[text.start : text.end].mean(0), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_mixed_set_has_every_prompt_once_and_half_of_them_bad(seed):
    texts = mixed(ROWS, seed)
    assert [text.row for text in texts] == [row.id for row in ROWS]
    assert sum(text.kind == BAD for text in texts) == len(ROWS) // 2
    assert texts != mixed(ROWS, seed + 1)


def test_random_draws_differ_from_each_other_and_from_seed_to_seed():
    texts = mixed(ROWS, 0)
    scores = Scores(texts, {name: [float(i) for i in range(len(texts))] for name in AWARE})
    of = [{arm: finetune.score_of(arm, texts, scores, seed) for arm in filtered(scores, 0.5)} for seed in (0, 1, 2)]
    draws = {tuple(by[Arm(MIXED, RANDOM, 0.5, draw)].tolist()) for by in of for draw in DRAWS}
    assert len(draws) == 9 and {arm.by for arm in of[0]} == {*AWARE, RANDOM, ORACLE}
    assert of[0][Arm(MIXED, ORACLE, 0.5)].tolist() == [float(text.kind == BAD) for text in texts]
    assert of[0][Arm(MIXED, "gradient", 0.5)].tolist() == list(range(len(texts)))


@pytest.mark.parametrize("judge", [False, True])
def test_what_the_judge_scored_is_an_arm_beside_the_others(judge):
    """And where nothing was judged there is none; every filter is one arm for each share that it removes."""
    samples = mixed(ROWS, 0)
    scored = filters.Scored(samples=samples, scores=dict.fromkeys(AWARE, [0.0] * len(samples)), gradient={})
    harm = {JUDGE: [float(i) for i in range(len(samples))]} if judge else {}
    found = finetune.arms(ROWS, filters.joined(scored, harm), Sweep(removed=(0.5, 0.25)), 0)
    by = {arm for arm in found if arm.by == JUDGE}
    assert by == ({Arm(MIXED, JUDGE, 0.5), Arm(MIXED, JUDGE, 0.25)} if judge else set())
    assert {Arm(MIXED, name, share) for name in AWARE for share in (0.5, 0.25)} < set(found)
    if judge:  # those that it scores highest are gone
        assert found[Arm(MIXED, JUDGE, 0.5)] == samples[: len(samples) - round(0.5 * len(samples))]
