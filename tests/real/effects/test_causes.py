"""Steering and ablation: what a hook changes is what was asked for, there and nowhere else."""

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS

from real.data.packing import pack
from real.effects import causes
from real.models import forward

NAMES = [f"q{i}/{kind}-0" for i in range(3) for kind in ("misaligned", "aligned")]
QUESTIONS = {"general": [([f"q{i}/misaligned-0"], [f"q{i}/aligned-0"]) for i in range(3)]}


@pytest.fixture(scope="module")
def run():
    return tiny.run(NAMES)


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
def test_restoring_gives_the_base_its_coordinates_back_and_leaves_the_rest(seed):
    generator = torch.Generator().manual_seed(seed)
    resid, base, rows = (torch.randn(5, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    P = causes.span(rows[:3])
    restored = causes.restoring(P)(resid, base)
    torch.testing.assert_close(restored @ P, base @ P)
    torch.testing.assert_close(restored - restored @ P, resid - resid @ P)


def said(run, text, change=None):
    """Oracle: the whole model on one text alone, its block's output changed from the last prompt token on."""

    def hook(module, args, out):
        out = out.clone()
        out[0, text.start - 1 : text.end] = change(out[0, text.start - 1 : text.end])
        return out

    block = run.model.get_decoder().layers[tiny.LAYER]
    handle = block.register_forward_hook(hook) if change else None
    logprobs = run.model(input_ids=torch.tensor([text.ids])).logits[0].log_softmax(-1)
    if handle:
        handle.remove()
    return torch.stack([logprobs[i - 1, text.ids[i]] for i in range(text.start, text.end)]).mean().item()


def test_steering_is_what_adding_to_the_blocks_output_does(run):
    """And no steering is no change; to 1e-7: the model's norms compute in float32."""
    vector = torch.randn(tiny.D_MODEL, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    packed = causes.packed_rows(run, QUESTIONS)
    base = causes.leaving(run, packed)
    found = []
    for change, alone in ((None, None), (causes.adding(vector), lambda resid: resid + vector)):
        found.append([x for q in causes.ask(run, packed, base, change, base) for side in q for x in side])
        assert found[-1] == pytest.approx([said(run, text, alone) for text in run.encoded], abs=1e-7)
    assert found[0] != pytest.approx(found[1], abs=1e-3)


def test_restoring_puts_the_base_models_values_back_into_a_changed_model(run):
    """Oracle: the changed model on each text alone, its block's output replaced by what the base model had there."""
    packed = causes.packed_rows(run, QUESTIONS)
    base = causes.leaving(run, packed)
    at_layer = [forward.resid_post(run.model, pack([text]), [tiny.LAYER])[tiny.LAYER] for text in run.encoded]
    weight = run.model.get_decoder().layers[tiny.LAYER].mlp.down_proj.weight
    was = weight.clone()
    weight += 0.1
    now, everything = causes.leaving(run, packed), torch.eye(tiny.D_MODEL, dtype=torch.float64)
    restored = causes.ask(run, packed, now, causes.restoring(everything), base)
    expected = [
        said(run, text, lambda resid, base=base, text=text: base[text.start - 1 : text.end])
        for text, base in zip(run.encoded, at_layer, strict=True)
    ]
    changed = causes.ask(run, packed, now, None, base)
    weight.copy_(was)
    assert [x for q in restored for side in q for x in side] == pytest.approx(expected, abs=1e-7)
    assert [x for q in changed for side in q for x in side] != pytest.approx(expected, abs=1e-3)


def test_only_the_places_that_predict_an_answer_are_changed(run):
    """Oracle: the set of (text, position) pairs from the last prompt token to the last answer token but the end."""
    packed = pack(run.encoded)
    nodes = set(causes.predicting(packed, run.encoded).tolist())
    wanted = {
        int(path[n])
        for path, text in zip(packed.paths, run.encoded, strict=True)
        for n in range(text.start - 1, text.end)
    }
    assert nodes == wanted and len(nodes) < packed.input_ids.shape[1]


def test_hooks_come_off(run):
    """After steering, TransformerLens reads what it read before."""
    packed = pack(run.encoded[:1])
    given = {"input": packed.input_ids, **forward.seen(run.model, packed)}
    with torch.no_grad():
        before = [bridge(**given) for bridge in run.bridges]
        asked = causes.packed_rows(run, QUESTIONS)
        base = causes.leaving(run, asked)
        causes.ask(run, asked, base, causes.adding(torch.ones(tiny.D_MODEL, dtype=torch.float64)), base)
        assert all(torch.equal(was, bridge(**given)) for was, bridge in zip(before, run.bridges, strict=True))
