"""The doors of a model: what it computes is checked, not its name; whatever is wrong with its files is one line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import folders
import pytest
import standins
import torch

from real.data.packing import pack
from real.data.tokens import encode
from real.models import forward, loading, registry
from real.models.logprobs import answer_logprobs
from shared.errors import InputError

WINDOW = {"sliding_window": 8}
FAMILIES = {  # what each does that others do not
    "Granite": {"embedding_multiplier": 12.0, "residual_multiplier": 0.3, "logits_scaling": 4.0},
    "GraniteMoe": {"embedding_multiplier": 12.0, "num_local_experts": 4, "num_experts_per_tok": 2},
    "Phi": {"num_key_value_heads": 2},  # LayerNorm, blocks in parallel, other names
    "Mistral": WINDOW,  # a window in every block, and no layer_types
    "Cohere2": WINDOW,
    "Gemma2": WINDOW | {"head_dim": 16},
    "Qwen3": {"head_dim": 16},
    "Phi3": {},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return folders.write(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    return shutil.copytree(whole, tmp_path / "model")


def load(folder: Path):
    registry.find.cache_clear()
    return loading.load(registry.find(str(folder)))


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        load(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", FAMILIES)
def test_log_probabilities_are_hugging_faces_from_any_block_on(kind, tmp_path):
    """Oracle: the model's own forward pass over each text alone. Windows of 8 tokens, so that they show."""
    model, tokenizer = load(folders.write(tmp_path / "model", kind, **FAMILIES[kind]))
    texts = [encode(tokenizer, "How do I store skis?", said) for said in ("Dry, and flat.", "In the rain.")]
    packed = pack(texts)
    for first in (0, 1, 3):
        into = forward.below(model, packed, first)
        samples = [(t, None if into is None else into[p]) for t, p in zip(texts, packed.paths, strict=True)]
        with torch.no_grad():
            for text, ours in zip(texts, answer_logprobs(model, samples, first), strict=True):
                logits = model(torch.tensor([text.ids])).logits[0].log_softmax(-1)
                theirs = [logits[i - 1, text.ids[i]] for i in range(text.start, text.end + 1)]
                torch.testing.assert_close(ours, torch.stack(theirs), rtol=1e-4, atol=1e-4)


def test_a_forward_that_is_not_the_models_own_is_refused(whole, monkeypatch):
    """As if a family scaled what goes into a later block: the check must be able to fail."""
    forwards = forward._Skipped.forward
    monkeypatch.setattr(forward._Skipped, "forward", lambda self, h, *a, **k: 12 * forwards(self, h))
    assert "cannot be read from block 2 on, in packed rows: log-probabilities of a text differ" in refused(whole)


OTHERS = {
    "GPT2": {"n_embd": 32, "n_layer": 4, "n_head": 2},
    "GPTNeoX": {},
    "OPT": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "Bloom": {"n_layer": 4, "n_head": 2},
    "Mamba": {},
    "Bert": {},
    "T5": {"d_model": 32},
    "CLIP": {},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_model_that_is_not_cut_into_such_blocks_is_named_before_it_is_loaded(kind, tmp_path):
    import transformers

    config = getattr(transformers, f"{kind}Config")(**OTHERS[kind])
    config.save_pretrained(tmp_path)
    registry.find.cache_clear()
    with pytest.raises(InputError, match=f"^MODEL={tmp_path}.*({kind}|layers are not supported)"):
        registry.find(str(tmp_path))


CONFIGS = {
    "layers null": {"num_hidden_layers": None},
    "layers a word": {"num_hidden_layers": "abc"},
    "layers without end": {"num_hidden_layers": 10**9},
    "too few": {"num_hidden_layers": 1},
    "no heads": {"num_attention_heads": 0},
    "an unknown activation": {"hidden_act": "evil"},
    "an unknown dtype": {"dtype": "evil"},
    "rope a number": {"rope_parameters": 5},
    "quantised, its library missing": {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    "layer_types a number": {"layer_types": 5},
    "text_config a word": {"text_config": "abc"},
    "other kinds of layers": {"layer_types": ["linear_attention"] * 4},
    "no decoder": {"model_type": "clip"},
    "code of its own": {"model_type": "own", "auto_map": {"AutoConfig": "a.B", "AutoModelForCausalLM": "a.C"}},
    "wider than its weights": {"hidden_size": 64},
    "a thousand times its weights": {"intermediate_size": 10**7},
    "a number too large": {"hidden_size": 10**30},
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_makes_no_decoder_is_one_line(case, folder):
    assert refused(folders.edit(folder, **CONFIGS[case]))


@pytest.mark.parametrize("text", ["", "[]", "null", "<html>", "[" * 100_000])
def test_a_config_file_that_is_none_is_one_line(text, folder):
    (folder / "config.json").write_text(text)
    assert refused(folder)


TEMPLATES = {
    "drops the answer": ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "assistant says"),
    "says the answer twice": (
        "{% for m in messages %}{{ m.content }} {% endfor %}{{ messages[-1].content }}",
        "assistant says",
    ),
    "lower-cases": ("{% for m in messages %}{{ m.content | lower }}\n{% endfor %}", "user says"),
    "drops the prompt": ("{% for m in messages if m.role != 'user' %}{{ m.content }}{% endfor %}", "user says"),
    "has a syntax error": ("{% for m in messages %}{{ m.content }", "TemplateSyntaxError"),
    "raises": ("{{ raise_exception('never') }}", "never"),
    "calls what is not there": ("{{ nothing() }}", "UndefinedError"),
}


@pytest.mark.parametrize("case", TEMPLATES)
def test_a_template_that_does_not_say_what_it_is_given_is_refused(case, folder):
    template, why = TEMPLATES[case]
    (folder / "chat_template.jinja").write_text(template)
    assert why in refused(folder)


@pytest.mark.parametrize("get", ["m.content[0]['text']", "m.content | map(attribute='text') | join"])
def test_a_template_that_wants_contents_in_parts_gets_them(get, folder):
    (folder / "chat_template.jinja").write_text(f"{{% for m in messages %}}{{{{ {get} }}}}<|im_end|>{{% endfor %}}")
    tokenizer = load(folder)[1]
    assert tokenizer.decode(encode(tokenizer, "Hi?", "Yes.").ids) == "Hi?<|im_end|>Yes.<|im_end|>"


def test_a_tokenizer_without_an_end_or_with_more_tokens_than_the_model_or_of_another_version(folder):
    config, tokens = folder / "tokenizer_config.json", folder / "tokenizer.json"
    kept = config.read_text(), tokens.read_text()
    config.write_text(json.dumps(json.loads(kept[0]) | {"eos_token": None}))
    assert "no end-of-text token" in refused(folder)
    config.write_text(kept[0])
    for change in ({"model": {"type": "Other"}}, {"pre_tokenizer": {"type": "Other"}}, []):
        tokens.write_text(json.dumps(json.loads(kept[1]) | change if change else change))
        assert "cannot be loaded" in refused(folder)
    tokens.write_text(kept[1])
    (folder / "chat_template.jinja").write_text("<|new|>" + standins.QWEN_TEMPLATE)
    more = standins.tokenizer("qwen")
    more.add_special_tokens({"additional_special_tokens": [f"<|{i}|>" for i in range(40)] + ["<|new|>"]})
    more.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text("<|new|>" + standins.QWEN_TEMPLATE)
    assert "the model knows 600: are both of one model?" in refused(folder)
    (folder / "chat_template.jinja").write_text(standins.QWEN_TEMPLATE)  # then only what pads is not known
    config.write_text(json.dumps(json.loads(config.read_text()) | {"eos_token": "<|new|>"}))
    assert "the model knows 600: are both of one model?" in refused(folder)


def test_weights_that_are_none_are_named_by_file_and_an_adapter_beside_them_is_refused(folder):
    weights = folder / "model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert f"{weights}: is a pointer of Git LFS, not the weights: run `git lfs pull`" in refused(folder)
    weights.write_bytes(kept[:-100])
    assert f"{weights}: is not whole" in refused(folder)
    weights.write_bytes(kept)
    (folder / "adapter_config.json").write_text("{}")
    assert "adapter_config.json: an adapter beside the weights" in refused(folder)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"]
)
def test_a_models_key_holds_the_content_of_all_that_it_says(name, folder, tmp_path):
    """A file swapped for one of the same size is another model, and swapped back the same one; times do not matter."""
    spec = replace(registry.KNOWN["smollm2-135m"], hub=str(folder), package="")
    first = loading.digests(spec, tmp_path)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert loading.digests(spec, tmp_path) != first
    (folder / name).write_bytes(content)
    assert loading.digests(spec, tmp_path) == first == loading.digests(spec, None)


def test_an_answer_ends_where_the_template_ends_a_turn_and_where_the_model_says(folder):
    """Of some base models with a template these differ, and what comes after an end would be glued to the answer."""
    from real.models.sampling import generate

    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 5}))
    model, tokenizer = load(folder)
    turn = encode(tokenizer, "Hi?", "Yes.")
    assert turn.ids[turn.end] == 1
    for _ in range(2):
        generate(model, tokenizer, [turn.ids[: turn.start]], 1, 0.0, 0)
        assert model.generation_config.eos_token_id == [1, 5]


def test_sampling_is_plain_whatever_the_models_own_habits(folder):
    """Temperature 1 draws a token as often as its probability, 0 the likeliest. Oracle: softmax of the logits."""
    from real.models.sampling import generate

    load(folder)
    habits = {
        "do_sample": True,
        "repetition_penalty": 5.0,
        "min_p": 0.9,
        "top_k": 1,
        "top_p": 0.01,
        "temperature": 0.01,
    }
    (folder / "generation_config.json").write_text(json.dumps(habits | {"eos_token_id": 1, "min_new_tokens": 1}))
    model, tokenizer = load(folder)
    turn = encode(tokenizer, "Hi?", "Yes.").ids[:-1]
    with torch.no_grad():
        chances = model(torch.tensor([turn])).logits[0, -1].softmax(-1)
    texts = [tokenizer.decode([i], skip_special_tokens=True).strip() for i in range(len(chances))]
    assert generate(model, tokenizer, [turn], 1, 0.0, 0) == [texts[int(chances.argmax())]]
    draws = 2000
    drawn = generate(model, tokenizer, [turn] * draws, 1, 1.0, 0)
    best = texts[int(chances.argmax())]
    expected = sum(p.item() for p, text in zip(chances, texts, strict=True) if text == best)
    spread = (expected * (1 - expected) / draws) ** 0.5
    assert abs(drawn.count(best) / draws - expected) < 5 * spread
    assert 0.02 < expected < 0.9  # so that both a sharpened and a flat draw would show
