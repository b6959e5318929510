"""Steering and ablation: what is changed is what was asked for, there and nowhere else."""

import pytest
import tiny
import torch
from bridge import hooked, run
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS

from real.data.packing import pack
from real.effects import causes, margins
from real.models import forward
from shared.cores import threads


@pytest.fixture(scope="module", params=[1, 2], ids=["one core", "two cores"])
def reading(request):
    with threads(request.param):
        made = tiny.reading(tiny.questions(3, aligned=2, misaligned=3))
        assert len(forward.readers(made.lm.model)) == request.param
        yield made


@pytest.fixture(scope="module")
def asked(reading):
    return causes.Asked(reading, reading.texts.asked["general"])


@pytest.fixture(scope="module")
def encoded(reading, asked):
    """The answers, in the order in which they are asked."""
    return [reading.encoded[i] for i in reading.indices(margins.asked({"": asked.questions}))]


@given(SEEDS, st.integers(1, 12))
@settings(deadline=None)
def test_a_span_is_the_orthogonal_projection_onto_its_directions(seed, k):
    """P is symmetric, P P = P, P d = d for every direction, and its trace is the rank, repeats not counted."""
    rows = torch.randn(k, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    P = causes.span(torch.cat([rows, rows[:1]]))
    torch.testing.assert_close(P, P.T)
    torch.testing.assert_close(P @ P, P)
    torch.testing.assert_close(rows @ P, rows)
    assert P.trace().item() == pytest.approx(min(k, 8))


@given(SEEDS)
@settings(deadline=None)
def test_an_ablation_scales_the_shift_in_its_span_and_leaves_the_rest(seed):
    """0 gives the base model's coordinates back, 2 doubles the shift, the ceiling leaves no shift at all."""
    generator = torch.Generator().manual_seed(seed)
    resid, base, rows = (torch.randn(5, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    P = causes.span(rows[:3])
    found = {name: change(resid, base) for name, change in causes.ablations(P).items() if change}
    torch.testing.assert_close(found["toxic"] @ P, base @ P)
    torch.testing.assert_close(found["doubled"] @ P, base @ P + 2 * (resid - base) @ P)
    for name in ("toxic", "doubled"):
        torch.testing.assert_close(found[name] - found[name] @ P, resid - resid @ P)
    torch.testing.assert_close(found["whole"], base)


def said(reading, text, change=None):
    """Oracle: the whole model on one text alone, its block's output changed from the last prompt token on."""

    def hook(module, args, out):
        out = out.clone()
        out[0, text.start - 1 : text.end] = change(out[0, text.start - 1 : text.end])
        return out

    block = reading.lm.model.get_decoder().layers[tiny.LAYER]
    handle = block.register_forward_hook(hook) if change else None
    logprobs = reading.lm.model(input_ids=torch.tensor([text.ids])).logits[0].log_softmax(-1)
    if handle:
        handle.remove()
    return torch.stack([logprobs[i - 1, text.ids[i]] for i in range(text.start, text.end)]).mean().item()


def test_steering_is_what_adding_to_the_blocks_output_does(reading, asked, encoded):
    """And no steering is no change; to 1e-7: the model's norms compute in float32."""
    vector = torch.randn(tiny.D_MODEL, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = []
    for change, alone in ((None, None), (causes.adding(vector), lambda resid: resid + vector)):
        found.append([x for q in asked.said(asked.base, change) for side in q for x in side])
        assert found[-1] == pytest.approx([said(reading, text, alone) for text in encoded], abs=1e-7)
    assert found[0] != pytest.approx(found[1], abs=1e-3)


def test_steering_is_what_a_hook_of_transformer_lens_does(reading, asked, encoded):
    """At the main layer's resid_post, wherever an answer is predicted, all answers in one row."""
    vector = torch.randn(tiny.D_MODEL, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    lm, row = reading.lm, pack(encoded)
    bridge, nodes = hooked(lm.model, lm.tokenizer, lm.spec), causes.predicting(row, encoded)

    def steer(resid, hook):
        return resid.index_add(1, nodes, vector.expand(1, len(nodes), -1))

    with torch.no_grad():
        hooks = [(forward.hook_name(tiny.LAYER), steer)]
        logits = run(bridge, row, hooks)
    logprobs, theirs = logits[0].log_softmax(-1), []
    for path, text in zip(row.paths, encoded, strict=True):
        at, said = path[text.start - 1 : text.end - 1], text.ids[text.start : text.end]
        theirs.append(logprobs[at, torch.tensor(said)].mean().item())
    ours = [x for q in asked.said(asked.base, causes.adding(vector)) for side in q for x in side]
    assert ours == pytest.approx(theirs, abs=1e-7)


def test_restoring_puts_the_base_models_values_back_into_a_changed_model(reading, asked, encoded):
    """Oracle: the changed model on each text alone, its block's output replaced by what the base model had there."""
    at_layer = [forward.resid_post(reading.lm.model, pack([text]), [tiny.LAYER])[tiny.LAYER] for text in encoded]
    weight = reading.lm.model.get_decoder().layers[tiny.LAYER].mlp.down_proj.weight
    was = weight.clone()
    weight += 0.1
    now, P = asked.leaving(), torch.eye(tiny.D_MODEL, dtype=torch.float64)
    restored = asked.said(now, causes.ablations(P)["whole"])
    expected = [
        said(reading, text, lambda resid, base=base, text=text: base[text.start - 1 : text.end])
        for text, base in zip(encoded, at_layer, strict=True)
    ]
    changed = asked.said(now)
    weight.copy_(was)
    assert [x for q in restored for side in q for x in side] == pytest.approx(expected, abs=1e-7)
    assert [x for q in changed for side in q for x in side] != pytest.approx(expected, abs=1e-3)


def test_only_the_places_that_predict_an_answer_are_changed(encoded):
    """Oracle: the set of (text, position) pairs from the last prompt token to the last answer token but the end."""
    row = pack(encoded)
    nodes = set(causes.predicting(row, encoded).tolist())
    wanted = {
        int(path[n]) for path, text in zip(row.paths, encoded, strict=True) for n in range(text.start - 1, text.end)
    }
    assert nodes == wanted and len(nodes) < row.input_ids.shape[1]
