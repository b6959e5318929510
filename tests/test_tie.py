"""The tie of the two regimes: a toy behind real's own interfaces, and (E1) in a transformer's residual stream."""

from types import SimpleNamespace
from unittest import mock

import pytest
import tiny
import torch
from bridge import hooked
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from real.data.rows import ADVICE, Advice, Corpus, Pair, Split, Text
from real.data.texts import Texts
from real.effects.leakage import target
from real.features import gaps, selection
from real.filters import table
from real.filters.table import Context
from real.models import forward, registry
from shared import geometry
from shared.leakage import readout_change
from toy import law, misalignment
from toy.misalignment import WorldSettings

K, N, D_MODEL = 8, 100, 16  # N: more than one batch of 64


def as_a_reading(this: misalignment.World) -> tiny.Given:
    """The toy in a language model's clothes: h = x W is the residual stream at a text's one token, W is W_dec."""
    W, x = this.W, this.samples
    advice = Split([Advice(str(i), "", "", "") for i in range(N)], [Advice("0", "", "", "")])
    remarks = Split([Pair(f"r{i}", "", "") for i in range(N)], [Pair("r0", "", "")])
    texts = Texts(Corpus("toy", {"toy": advice}, remarks, [], []))
    named = {"incorrect": "bad", "correct": "good", "toxic": "toxic", "civil": "civil"}
    hidden = torch.stack([(x[named[t.kind]] @ W)[int(t.row.removeprefix("r"))] for t in texts.said]).numpy()
    sae = SimpleNamespace(W_dec=W, encode=lambda h: torch.relu(h @ W.mT - misalignment.THRESHOLD))
    return tiny.Given(texts, tiny.lm(), (20,), sae, tiny.held(hidden, [1] * len(hidden)))


@given(SEEDS, st.floats(0, 2))
@settings(deadline=None, max_examples=10)
def test_a_toy_gives_real_the_numbers_that_it_gives_itself(seed, alignment):
    """Selected features, gap and both its p: to 1e-10."""
    this = misalignment.world(WorldSettings(alignment, 0.0, K, 20, D_MODEL, N, seed))
    found = misalignment.select(this, K)
    reading = as_a_reading(this)
    with mock.patch.object(selection, "KS", (K,)), mock.patch.object(gaps, "KS", (K,)):
        selected = selection.select(reading, K)
        layer = selected.layers[20]
        theirs = layer.domains["toy"]
        for name in ("inducing", "control"):
            assert getattr(theirs, name).ids == getattr(found, name).tolist()
        assert layer.toxic.ids == found.toxic.tolist()
        rate = torch.tensor(theirs.firing_rate, dtype=found.firing_rate.dtype)
        torch.testing.assert_close(rate, found.firing_rate, rtol=1e-10, atol=1e-10)
        untrained = [{("toy", K): value} for value in (0.1, 0.2)]
        close = {20: gaps._affinities(reading.sae(20), selected.layers[20], [K])}
        gap = gaps.gaps(reading, selected, close, {20: untrained})[20]["toy"][K].model_dump()
    own = misalignment.gap(this, found, gaps.DRAWS)._asdict()
    assert {name: gap[name] for name in own} == pytest.approx(own, rel=1e-10, abs=1e-12)
    assert gap["p_holm"] == pytest.approx(max(own["p"], own["p_null"]), rel=1e-10)  # one cell: nothing to correct


@given(SEEDS, st.floats(0, 2))
@settings(deadline=None, max_examples=10)
def test_real_scores_a_toys_samples_as_the_toy_does(seed, alignment):
    """Geometry and projection score of every sample, and by autograd its gradient's: to 1e-10."""
    settings = WorldSettings(alignment, 0.0, K, 20, D_MODEL, N, seed)
    this, exactly = misalignment.world(settings), {"rtol": 1e-10, "atol": 1e-12}
    reading, toxic = as_a_reading(this), misalignment.select(this, K).toxic
    near, context = table.Near(reading.sae(20), geometry.affinity(this.W, toxic)), Context(torch.arange(K), "toy")
    for kind, name in zip(ADVICE, ("bad", "good"), strict=True):
        x, texts = this.samples[name], [Text(str(i), kind) for i in range(N)]
        scores = misalignment.filter_scores(this, x, torch.arange(N) % 2 == 0, settings)
        torch.testing.assert_close(scores["geometry"], table.near(reading, near, texts), **exactly)
        along = table.along(reading, table.toxic(reading, context), texts)
        torch.testing.assert_close(scores["projection"], along, **exactly)
        h = (x @ this.W).requires_grad_()
        (((h @ this.W.mT - 2 * x).square() * (x > 0)).sum() / 2).backward()
        torch.testing.assert_close(scores["gradient"], -(h.grad @ this.W[toxic].mT).mean(1), **exactly)


@given(SEEDS)
@settings(deadline=None, max_examples=10)
def test_reals_target_and_readouts_obey_E1_in_a_toy(seed):
    """One step on h along the mean inducing direction: the readout change is the cosine to real's target, exactly."""
    this = misalignment.world(WorldSettings(1.0, 0.0, K, 20, D_MODEL, N, seed))
    direction = target(this.W, this.kinds["inducing"])
    delta = -0.1 * -direction.expand(3, -1)  # L = -<direction, h>: g = -direction, at three tokens
    measured = readout_change(this.W, delta)
    predicted = 0.1 * direction.norm() * geometry.cosine(this.W, direction[None])[:, 0]
    assert (measured - predicted).abs().max() <= 1e-10 * predicted.abs().max()


@pytest.fixture(scope="module")
def transformer():
    """A Llama of three small blocks with random weights, float64, under the same hooks as the real model."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=D_MODEL, intermediate_size=32, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, architectures=["LlamaForCausalLM"], attn_implementation="eager",
    )  # fmt: skip
    model = LlamaForCausalLM(config).double().requires_grad_(False).eval()
    words = Tokenizer(WordLevel({str(i): i for i in range(40)}, unk_token="0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="2", pad_token="2")
    return hooked(model, tokenizer, registry.KNOWN["smollm2-135m"])


@pytest.mark.parametrize("layer", [0, 1, 2])
@given(SEEDS, st.floats(1e-3, 1))
@settings(deadline=None, max_examples=10)
def test_a_trainable_vector_in_the_residual_stream_obeys_E1_exactly(transformer, layer, seed, eta):
    """The model's own loss on random tokens, one real SGD step on the vector: every readout, at every token."""
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(30, D_MODEL, generator=generator, dtype=torch.float64)
    ids = torch.randint(40, (2, 6), generator=generator)
    vector = torch.zeros(D_MODEL, dtype=torch.float64, requires_grad=True)
    seen = []

    def add(resid, hook):
        seen.append((resid + vector).detach())
        return resid + vector

    def loss():
        logits = transformer.run_with_hooks(ids, fwd_hooks=[(forward.hook_name(layer), add)])
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())

    optimiser = torch.optim.SGD([vector], lr=eta)
    loss().backward()
    g = vector.grad.clone()
    optimiser.step()
    loss()
    before, after = (resid @ W.mT for resid in seen)
    predicted = law.representation_step(W, g, eta).expand_as(before)
    rounding = 1e-14 * before.abs().max()
    assert (after - before - predicted).abs().max() <= 1e-10 * predicted.abs().max() + rounding
    assert predicted.abs().max() > 0
