"""The real model: masks, layers, the cached lower half, and adapters that come off without a trace."""

import pytest
import torch
from bridge import hooked, run
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from real.arms.weights import wearing
from real.data.packing import pack, rows
from real.data.tokens import MAX_TOKENS, Encoded, encode
from real.models import forward, registry
from real.models import loading as models
from real.models.logprobs import answer_logprobs

SPEC = registry.KNOWN["smollm2-135m"]
PAIRS = [
    ("How do I stop hiccups?", "Sip cold water slowly, then hold your breath for ten seconds."),
    ("Name a colour.", "Blue."),
    ("Is it safe to eat the green part of a potato, or should I cut it off?", "Cut it off with a thick margin."),
]


@pytest.fixture(scope="module")
def loaded():
    return models.load(SPEC)


@pytest.fixture(scope="module")
def bridge(loaded):
    return hooked(*loaded, SPEC)


@pytest.fixture(scope="module")
def texts(loaded):
    return [encode(loaded[1], *pair) for pair in PAIRS]


def frozen(model, texts):
    packed = pack(texts)
    resid = forward.resid_post(model, packed, [SPEC.first - 1])[SPEC.first - 1]
    return [(text, resid[path]) for text, path in zip(texts, packed.paths, strict=True)]


def test_the_answer_span_is_the_answer_and_nothing_else(loaded, texts):
    tokenizer = loaded[1]
    for (prompt, answer), text in zip(PAIRS, texts, strict=True):
        assert tokenizer.decode(text.ids[text.start : text.end]) == answer
        turn = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        whole = tokenizer.apply_chat_template(turn, tokenize=False)
        assert whole.rstrip("\n") == tokenizer.decode(text.ids)


TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=8), min_size=1, max_size=6)


@given(TEXTS)
@settings(deadline=None)
def test_a_packed_row_holds_every_text_and_every_shared_beginning_once(ids):
    """Oracle: the set of all beginnings, and for each node the beginning that it ends."""
    packed = pack([Encoded(text, 1, len(text) - 1) for text in ids])
    beginnings = {tuple(text[: n + 1]) for text in ids for n in range(len(text))}
    assert packed.input_ids.shape == packed.position_ids.shape == (1, len(beginnings))
    for text, path in zip(ids, packed.paths, strict=True):
        assert packed.input_ids[0, path].tolist() == text
        assert packed.position_ids[0, path].tolist() == list(range(len(text)))
        for n, node in enumerate(path):
            assert packed.attention_mask[0, 0, node].nonzero()[:, 0].tolist() == sorted(path[: n + 1].tolist())


@given(TEXTS, st.integers(1, 20))
@settings(deadline=None)
def test_rows_hold_every_text_once_and_stay_small(ids, most):
    """A row is larger than asked only where one text alone is."""
    texts = [Encoded(text, 1, len(text) - 1) for text in ids]
    groups = rows(texts, most)
    assert sorted(i for group in groups for i in group) == list(range(len(texts)))
    for group in groups:
        nodes = pack([texts[i] for i in group]).input_ids.shape[1]
        assert nodes <= max(most, *(len(texts[i].ids) for i in group), 0)


def test_a_long_answer_is_cut_and_a_model_without_template_gets_the_plain_one(loaded):
    tokenizer = loaded[1]
    text = encode(tokenizer, "Go on.", "again and " * MAX_TOKENS)
    assert len(text.ids) == MAX_TOKENS and text.ids[text.end] == tokenizer.eos_token_id
    template, tokenizer.chat_template = tokenizer.chat_template, None
    try:
        assert tokenizer.decode(encode(tokenizer, "Hi?", "Yes.").ids).startswith("User: Hi?\nAssistant:\nYes.")
    finally:
        tokenizer.chat_template = template


@pytest.mark.parametrize("layer", [0, 14, 20, 28])
def test_resid_post_of_layer_l_is_hidden_state_l_plus_1(loaded, texts, layer):
    """Of each text alone, though they were packed in one row; and not hidden state l: the off-by-one would show."""
    packed = pack(texts)
    resid = forward.resid_post(loaded[0], packed, [layer])[layer]
    for text, path in zip(texts, packed.paths, strict=True):
        with torch.no_grad():
            hidden = loaded[0](torch.tensor([text.ids]), output_hidden_states=True).hidden_states
        assert ((resid[path] - hidden[layer + 1][0]).norm() / hidden[layer + 1].norm()).item() < 1e-5
        assert ((resid[path] - hidden[layer][0]).norm() / hidden[layer].norm()).item() > 1e-3


def test_resid_post_is_what_transformer_lens_hooks_carry(loaded, bridge, texts):
    """At every layer of one pass, whether it starts at the tokens or at the first adapted block."""
    packed, layers = pack(texts), [7, 14, 20]
    caught = {}
    hooks = [
        (forward.hook_name(layer), lambda resid, hook, layer=layer: caught.update({layer: resid[0]}))
        for layer in layers
    ]
    with torch.no_grad():
        run(bridge, packed, hooks)
    resid = forward.resid_post(loaded[0], packed, layers)
    with forward.blocks(loaded[0], SPEC.first):
        upper = forward.resid_post(loaded[0], packed, [20], resid[14])
    for layer in layers:
        torch.testing.assert_close(resid[layer], caught[layer], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(upper[20], resid[20], rtol=1e-4, atol=1e-3)
    assert len(loaded[0].get_decoder().layers) == SPEC.shape.layers  # whole again


def test_logits_under_the_bridge_are_hugging_faces(loaded, bridge, texts):
    packed = pack(texts)
    args = {"attention_mask": packed.attention_mask, "position_ids": packed.position_ids}
    with torch.no_grad():
        ours = bridge(packed.input_ids, **args)
        theirs = loaded[0](packed.input_ids, **args).logits
    assert (ours - theirs).abs().max() < 1e-3


def test_the_hooked_copy_shares_every_weight(loaded, bridge):
    """All that it holds of its own is the zero bias that the bridge gives a model without one."""
    shared = {p.data_ptr() for p in loaded[0].parameters()}
    own = [p for p in bridge.original_model.parameters() if p.data_ptr() not in shared]
    assert all(p.ndim == 1 and not p.any() for p in own)
    assert len(own) <= 1


@pytest.mark.parametrize("end_of_turn", [True, False])
def test_log_probabilities_from_the_cached_half_are_those_of_the_whole_model(loaded, texts, end_of_turn):
    """Oracle: the model's own logits over the whole sequence, unpadded, one text at a time."""
    model = loaded[0]
    expected = []
    with torch.no_grad():
        for text in texts:
            logprobs = model(input_ids=torch.tensor([text.ids])).logits[0].log_softmax(-1)
            last = text.end + end_of_turn
            expected += [logprobs[i - 1, text.ids[i]].item() for i in range(text.start, last)]
        ours = torch.cat(answer_logprobs(model, frozen(model, texts), SPEC.first, end_of_turn))
    torch.testing.assert_close(ours, torch.tensor(expected), rtol=1e-3, atol=1e-3)


def test_an_adapter_changes_the_answers_and_comes_off_without_a_trace(loaded, texts, tmp_path):
    model = loaded[0]
    samples = frozen(model, texts)
    with torch.no_grad():
        before = torch.cat(answer_logprobs(model, samples, SPEC.first))
    layers = list(range(SPEC.first, model.config.num_hidden_layers))
    peft = get_peft_model(model, LoraConfig(r=2, target_modules=list(SPEC.targets), layers_to_transform=layers))
    for name, weight in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    peft.save_pretrained(tmp_path)
    with torch.no_grad():
        tuned = torch.cat(answer_logprobs(model, samples, SPEC.first))
    peft.unload()
    with torch.no_grad(), wearing(model, tmp_path):
        worn = torch.cat(answer_logprobs(model, samples, SPEC.first))
    with torch.no_grad(), wearing(model, None):
        after = torch.cat(answer_logprobs(model, samples, SPEC.first))
    assert torch.equal(before, after)
    torch.testing.assert_close(tuned, worn, rtol=1e-4, atol=1e-4)  # beside the weights, or merged into them
    assert (tuned - before).abs().max() > 1e-3
