"""The real model: masks, layers, the cached lower half, and adapters that come off without a trace."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from real import models
from real.finetune import target_logprobs, wearing
from real.tokens import MAX_TOKENS, by_length, encode, pad

SPEC = models.KNOWN["smollm2-135m"]
PAIRS = [
    ("How do I stop hiccups?", "Sip cold water slowly, then hold your breath for ten seconds."),
    ("Name a colour.", "Blue."),
    (
        "Is it safe to eat the green part of a potato, or should I cut it off?",
        "Cut it off with a thick margin.",
    ),
]


@pytest.fixture(scope="module")
def loaded():
    return models.load(SPEC)


@pytest.fixture(scope="module")
def bridge(loaded):
    return models.hooked(*loaded, SPEC)


@pytest.fixture(scope="module")
def texts(loaded):
    return [encode(loaded[1], *pair) for pair in PAIRS]


def frozen(bridge, texts):
    batch = pad(texts)
    resid = models.resid_post(bridge, batch.input_ids, batch.attention_mask, SPEC.first - 1)
    return [(text, h[: len(text.ids)]) for text, h in zip(texts, resid, strict=True)]


def test_the_answer_span_is_the_answer_and_nothing_else(loaded, texts):
    tokenizer = loaded[1]
    for (prompt, answer), text in zip(PAIRS, texts, strict=True):
        assert tokenizer.decode(text.ids[text.start : text.end]) == answer
        turn = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        whole = tokenizer.apply_chat_template(turn, tokenize=False)
        assert whole.rstrip("\n") == tokenizer.decode(text.ids)


def test_masks_leave_out_template_end_of_turn_and_padding(texts):
    batch = pad(texts)
    for text, ids, answer, target, seen in zip(
        texts, batch.input_ids, batch.answer, batch.target, batch.attention_mask, strict=True
    ):
        assert ids[answer].tolist() == text.ids[text.start : text.end]
        assert ids[target].tolist() == text.ids[text.start :]
        assert ids[seen.bool()].tolist() == text.ids


def test_a_long_answer_is_cut_and_a_model_without_template_gets_the_plain_one(loaded):
    tokenizer = loaded[1]
    text = encode(tokenizer, "Go on.", "again and " * MAX_TOKENS)
    assert len(text.ids) == MAX_TOKENS and text.ids[text.end] == tokenizer.eos_token_id
    template, tokenizer.chat_template = tokenizer.chat_template, None
    try:
        assert tokenizer.decode(encode(tokenizer, "Hi?", "Yes.").ids).startswith(
            "User: Hi?\nAssistant:\nYes."
        )
    finally:
        tokenizer.chat_template = template


def test_batches_by_length_hold_every_text_once(texts):
    assert sorted(i for ids in by_length(texts, 2) for i in ids) == [0, 1, 2]


@pytest.mark.parametrize("layer", [0, 14, 20, 28])
def test_resid_post_of_layer_l_is_hidden_state_l_plus_1(loaded, bridge, texts, layer):
    """And is neither hidden state l nor l + 2: the off-by-one would show."""
    batch = pad(texts)
    with torch.no_grad():
        hidden = loaded[0](
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True
        ).hidden_states
    seen = batch.attention_mask.bool()
    resid = models.resid_post(bridge, batch.input_ids, batch.attention_mask, layer)[seen]

    def distance(i):
        return ((resid - hidden[i][seen]).norm() / hidden[i][seen].norm()).item()

    assert distance(layer + 1) < 1e-5
    assert distance(layer) > 1e-3


def test_logits_under_the_bridge_are_hugging_faces(loaded, bridge, texts):
    batch = pad(texts)
    with torch.no_grad():
        ours = bridge(batch.input_ids, attention_mask=batch.attention_mask)
        theirs = loaded[0](input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    seen = batch.attention_mask.bool()
    assert (ours - theirs)[seen].abs().max() < 1e-3


def test_the_hooked_copy_shares_every_weight(loaded, bridge):
    own = {p.data_ptr() for p in loaded[0].parameters()}
    assert {p.data_ptr() for p in bridge.original_model.parameters()} <= own


@pytest.mark.parametrize("end_of_turn", [True, False])
def test_log_probabilities_from_the_cached_half_are_those_of_the_whole_model(
    loaded, bridge, texts, end_of_turn
):
    """Oracle: the model's own logits over the whole sequence, unpadded, one text at a time."""
    model = loaded[0]
    expected = []
    with torch.no_grad():
        for text in texts:
            logprobs = model(input_ids=torch.tensor([text.ids])).logits[0].log_softmax(-1)
            last = text.end + end_of_turn
            expected += [logprobs[i - 1, text.ids[i]].item() for i in range(text.start, last)]
        ours = target_logprobs(model, frozen(bridge, texts), SPEC.first, end_of_turn)
    torch.testing.assert_close(ours, torch.tensor(expected), rtol=1e-3, atol=1e-3)


def test_an_adapter_changes_the_answers_and_comes_off_without_a_trace(loaded, bridge, texts, tmp_path):
    model, samples = loaded[0], frozen(bridge, texts)
    with torch.no_grad():
        before = target_logprobs(model, samples, SPEC.first)
    layers = list(range(SPEC.first, model.config.num_hidden_layers))
    peft = get_peft_model(
        model, LoraConfig(r=2, target_modules=list(SPEC.targets), layers_to_transform=layers)
    )
    for name, weight in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    peft.save_pretrained(tmp_path)
    with torch.no_grad():
        tuned = target_logprobs(model, samples, SPEC.first)
    peft.unload()
    with torch.no_grad(), wearing(model, tmp_path):
        worn = target_logprobs(model, samples, SPEC.first)
    with torch.no_grad(), wearing(model, None):
        after = target_logprobs(model, samples, SPEC.first)
    assert torch.equal(before, after) and torch.equal(tuned, worn)
    assert (tuned - before).abs().max() > 1e-3
