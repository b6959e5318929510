"""What a step takes and computes with, and training without the gradient along a span."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS

from real.arms.recipe import Recipe
from real.arms.training import batches, descend, trainable
from real.data.rows import ADVICE, answers
from real.effects.causes import span
from real.models.forward import Without, stopping

RECIPE = Recipe(rank=2, train=8, batch=2)


@pytest.fixture(scope="module")
def reading():
    return tiny.reading(tiny.advice(3))


@pytest.fixture(scope="module")
def samples(reading):
    return reading.samples(answers(reading.texts.corpus.advice["health"].train, ADVICE))


@given(st.integers(1, 30), st.integers(1, 80), st.integers(1, 9), SEEDS)
def test_steps_are_passes_over_all_samples_until_enough_are_drawn(samples, draws, batch, seed):
    """However few samples there are, as many are seen; none is seen twice more often than another."""
    found = batches(samples, draws, batch, seed % 2**31)
    flat = sum(found, [])
    assert len(flat) == draws and {len(step) for step in found[:-1]} <= {batch} and len(found[-1]) <= batch
    counts = np.bincount(flat, minlength=samples)
    assert counts.max() - counts.min() <= 1


def test_an_adapter_names_its_base_model_as_the_hub_does_and_peft_says_nothing(reading, tmp_path, monkeypatch):
    """Not the folder that the base model was read from, which is nowhere else; and no warning that nobody can heed."""
    monkeypatch.setattr(reading.lm.model, "name_or_path", "/a/folder")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        with trainable(reading.lm, RECIPE, 0, tmp_path) as (_, save):
            save(tmp_path / "arm")
    about = json.loads((tmp_path / "arm" / "adapter_config.json").read_text())
    assert about["base_model_name_or_path"] == reading.lm.spec.hub


@pytest.mark.parametrize("full", [0, 1])
def test_every_step_in_bfloat16_computes_with_the_weights_as_they_are_by_then(samples, full, tmp_path):
    """Autocast keeps its copy of a weight as long as it lasts. Oracle: the same weights in a model in float32."""
    losses = {}
    for dtype in (torch.float32, torch.bfloat16):
        model, tokenizer = tiny.model_and_tokenizer()
        model.lm_head.weight *= 30  # a loss that the weights matter to
        own = tiny.lm((model.to(dtype), tokenizer), first=tiny.FIRST)
        cast = [(text, below.to(dtype)) for text, below in samples]
        with trainable(own, replace(RECIPE, full=full), 0, tmp_path / f"{dtype}") as (trained, _):
            losses[dtype] = [descend(own, cast, trained, bool(full), 3)]
            stirred(trained)
            losses[dtype].append(descend(own, cast, trained, bool(full), 3))
    (before, after), found = losses.values()
    assert abs(after - before) > 0.3
    np.testing.assert_allclose(found, [before, after], atol=0.2 * abs(after - before))  # bfloat16 rounds


def without(k: int, seed: int) -> Without:
    rows = torch.randn(k, tiny.D_MODEL, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Without(tiny.LAYER, span(rows))


def stirred(trained: list[torch.Tensor]) -> None:
    """Fresh adapters add nothing, and then half of their gradients are 0."""
    rng = torch.Generator().manual_seed(3)
    for p in trained:
        p.data += 0.3 * torch.randn(p.shape, generator=rng, dtype=p.dtype)


def resid_and_loss(model, encoded) -> tuple[torch.Tensor, torch.Tensor]:
    """One text alone through the whole model: its block's output, and the loss of its answer and end of turn."""
    caught = []
    block = model.get_decoder().layers[tiny.LAYER]
    handle = block.register_forward_hook(lambda module, args, out: caught.append(out))
    logprobs = model(input_ids=torch.tensor([encoded.ids])).logits[0].log_softmax(-1)
    handle.remove()
    at = range(encoded.start, encoded.end + 1)
    return caught[0], -torch.stack([logprobs[i - 1, encoded.ids[i]] for i in at]).sum()


@given(SEEDS, st.integers(1, 5))
@settings(deadline=None, max_examples=5)
def test_weights_below_are_trained_by_the_projected_gradient_and_those_above_by_their_own(reading, samples, seed, k):
    """Oracle: autograd in two pieces, text by text: dL/dh at the block, (I - P) of it, then back from h.

    To 1e-5: the model's norms compute in float32.
    """
    held = without(k, seed)
    tokens = sum(text.end + 1 - text.start for text, _ in samples)
    with trainable(reading.lm, RECIPE, 0, Path("nowhere")) as (trained, _):
        stirred(trained)
        with stopping(reading.lm.model, held):
            descend(reading.lm, samples, trained, False, 3)
        expected = [torch.zeros_like(p) for p in trained]
        for text, _ in samples:
            h, loss = resid_and_loss(reading.lm.model, text)
            g, *unstopped = torch.autograd.grad(loss, [h, *trained], retain_graph=True)
            below = torch.autograd.grad(h, trained, g - g @ held.P, allow_unused=True)
            for total, own, via in zip(expected, unstopped, below, strict=True):
                total += (own if via is None else via) / tokens
        for p, wanted in zip(trained, expected, strict=True):
            assert (p.grad - wanted).abs().max() <= 1e-5 * wanted.abs().max()
            p.grad = None


@pytest.mark.parametrize("checkpointing", [False, True])
def test_nothing_along_the_span_reaches_the_block(reading, samples, checkpointing):
    """And something else does; blocks computed again in the backward pass make no difference."""
    held, seen, lm = without(3, 0), [], reading.lm
    lm = replace(lm, plan_given=lm.plan._replace(checkpointing=checkpointing))
    with trainable(lm, RECIPE, 0, Path("nowhere")) as (trained, _), stopping(lm.model, held):
        stirred(trained)
        block = lm.model.get_decoder().layers[tiny.LAYER]
        handle = block.register_forward_hook(lambda module, args, out: out.register_hook(seen.append) and None)
        descend(lm, samples, trained, False, 3)
        handle.remove()
    assert len(seen) == 2
    for gradient in seen:
        assert (gradient @ held.P).abs().max() <= 1e-14 < 1e-4 < gradient.abs().max()
    assert not block._forward_hooks and not block._backward_pre_hooks
