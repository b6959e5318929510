"""Stand-ins for what the hub holds: tiny random weights under the real repository ids, file names and formats.

`python tests/standins.py DATA_FOLDER KEY=value ... -- KEY=value ...` is the unmodified command, once or more, on
a few short texts; the shapes of known models are those of the stand-ins. With HF_HOME at a cache that `fill` has
filled, and HF_HUB_OFFLINE=1, it finds known models and their dictionaries there, as wide as the real ones only where
they must be: SAELens knows Gemma Scope by name.
"""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

sys.path.insert(0, str(Path(__file__).parent.parent))

from real.data import corpus
from real.data.rows import Advice
from real.models.registry import KNOWN, find

REVISION = "0" * 40
SMALL = dict(vocab_size=600, intermediate_size=32, num_attention_heads=2, num_key_value_heads=1, head_dim=32)
WIDE, EXPERTS = {"hidden_size": 64}, {"num_local_experts": 4, "num_experts_per_tok": 2}
D_SAE = 256


def repository(home: Path, repo_id: str, fill) -> None:
    """`fill(folder)` writes the files; they end as blobs, with links to them in the snapshot that refs/main names."""
    root = home / "hub" / f"models--{repo_id.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "blobs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text(REVISION)
    with TemporaryDirectory() as folder:
        fill(Path(folder))
        for file in (path for path in Path(folder).rglob("*") if path.is_file()):
            link = root / "snapshots" / REVISION / file.relative_to(folder)
            blob = root / "blobs" / f"{len(list((root / 'blobs').iterdir())):064x}"
            shutil.move(file, blob)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)


def config(model: str, **changes):
    """The real family's configuration, small; as deep as the real model unless that is among the changes."""
    from transformers import Gemma2Config, Gemma3TextConfig, GptOssConfig, LlamaConfig, Qwen2Config

    kinds = {
        "gemma-2-2b": lambda **size: Gemma2Config(**{"hidden_size": 2304} | size, sliding_window=16),
        "llama-3.1-8b": lambda **size: LlamaConfig(**WIDE | size, rope_parameters=ROPE),
        "gpt-oss-20b": lambda **size: GptOssConfig(**WIDE | EXPERTS | size, sliding_window=16),
        "gemma-3-270m": lambda **size: Gemma3TextConfig(**WIDE | size, sliding_window=16),
        "qwen2.5-0.5b-instruct": lambda **size: Qwen2Config(**WIDE | size),
    }  # fmt: skip
    size = SMALL | {"num_hidden_layers": KNOWN[model].shape.layers, "dtype": "bfloat16"} | changes
    made = kinds[model](**size)
    made.bos_token_id, made.eos_token_id, made.pad_token_id = 0, 1, 1
    return made


ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def random_model(model: str, **changes):
    """Random weights, large enough that attention, windows and caps all show in the logits."""
    from transformers import AutoModelForCausalLM

    made = AutoModelForCausalLM.from_config(config(model, **changes), dtype=torch.float32)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            size = 0.1 if weight.ndim == 1 else 1.0 if "embed" in name else 2 / weight.shape[-1] ** 0.5
            shift = "norm" in name and "gemma" not in model
            weight.copy_(size * torch.randn(weight.shape, generator=rng) + shift)
    return made.eval().requires_grad_(False)


SPECIAL = {  # BOS, EOS and what else the templates write
    "gemma": ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
    "llama": ("<|begin_of_text|>", "<|end_of_text|>"),
    "gpt": ("<|startoftext|>", "<|return|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>"),
    "qwen": ("<|unused|>", "<|im_end|>", "<|im_start|>"),
}
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
GPT_TEMPLATE = (
    "<|start|>system<|message|>Date: {{ strftime_now('%Y-%m-%d') }}<|end|>{% for m in messages %}"
    "{% if m.role == 'assistant' %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|return|>"
    "{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = {"gpt-oss-20b": GPT_TEMPLATE, "qwen2.5-0.5b-instruct": QWEN_TEMPLATE}


def tokenizer(family: str, template: str | None = None):
    """A byte-level BPE of the family's special tokens, learnt from shipped answers; BOS goes before plain text."""
    from transformers import PreTrainedTokenizerFast

    special = SPECIAL[family]
    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    texts = [row.correct for row in corpus.shipped("health", Advice)[:40]]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, BpeTrainer(vocab_size=590, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False)
    )
    if family in ("gemma", "llama"):
        bpe.post_processor = processors.TemplateProcessing(single=f"{special[0]} $A", special_tokens=[(special[0], 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=special[0], eos_token=special[1], pad_token=special[1], chat_template=template
    )


def write_model(model: str, folder: Path, **changes) -> None:
    made = random_model(model, **changes).to(torch.bfloat16)
    tokenizer(model.split("-")[0].split("2")[0], TEMPLATES.get(model)).save_pretrained(folder)
    made.save_pretrained(folder)
    if model == "gpt-oss-20b":
        _as_mxfp4(folder)


def four_blocks(folder: Path) -> None:
    """A small Llama in float32, for whatever needs a model but not a good one."""
    random_model("llama-3.1-8b", num_hidden_layers=4, dtype="float32").save_pretrained(folder)
    tokenizer("llama").save_pretrained(folder)


def _as_mxfp4(folder: Path) -> None:
    """Expert weights as gpt-oss publishes them: 32 numbers share a scale, two 4-bit numbers a byte."""
    from safetensors.torch import load_file

    weights, rng = load_file(folder / "model.safetensors"), torch.Generator().manual_seed(1)
    for name in [n for n in weights if n.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        experts, d_in, d_out = weights.pop(name).shape
        blocks = torch.randint(256, (experts, d_out, d_in // 32, 16), generator=rng)
        scales = torch.randint(120, 123, (experts, d_out, d_in // 32), generator=rng)
        weights |= {f"{name}_blocks": blocks.to(torch.uint8), f"{name}_scales": scales.to(torch.uint8)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    made = json.loads((folder / "config.json").read_text())
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    made["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": kept}
    (folder / "config.json").write_text(json.dumps(made))


def gemma_scope(folder: Path, d_in: int, path: str, layer: int) -> None:
    made = dictionary(d_in, 2**14, layer)
    names = {"W_enc": "w_enc", "W_dec": "w_dec"}
    (folder / path).mkdir(parents=True)
    np.savez(folder / path / "params.npz", **{names.get(k, k): v.half().numpy() for k, v in made.items()})


def llama_scope(folder: Path, d_in: int, path: str, layer: int) -> None:
    from sae_lens.loading.pretrained_saes_directory import get_norm_scaling_factor

    made = dictionary(d_in, D_SAE, layer)
    norm = d_in**0.5 / get_norm_scaling_factor("llama_scope_lxr_8x", f"l{layer}r_8x")
    write_json(
        folder / path / "hyperparams.json",
        {
            "d_model": d_in, "d_sae": D_SAE, "hook_point_in": f"blocks.{layer}.hook_resid_post",
            "jump_relu_threshold": 0.02, "dataset_average_activation_norm": {"in": norm},
        },
    )  # fmt: skip
    (folder / path / "checkpoints").mkdir()
    weights = {
        "encoder.weight": made["W_enc"].T, "encoder.bias": made["b_enc"],
        "decoder.weight": made["W_dec"].T, "decoder.bias": made["b_dec"],
    }  # fmt: skip
    weights = {name: weight.to(torch.bfloat16).contiguous() for name, weight in weights.items()}
    save_file(weights, folder / path / "checkpoints" / "final.safetensors")


def dictionary_learning(folder: Path, d_in: int, path: str, layer: int) -> None:
    made = dictionary(d_in, D_SAE, layer)
    trainer = {
        "dict_class": "BatchTopKSAE", "activation_dim": d_in, "dict_size": D_SAE, "k": 32, "layer": layer,
        "lm_name": "openai/gpt-oss-20b",
    }  # fmt: skip
    write_json(folder / path / "config.json", {"trainer": trainer, "buffer": {"ctx_len": 1024}})
    weights = {
        "encoder.weight": made["W_enc"].T, "encoder.bias": made["b_enc"], "decoder.weight": made["W_dec"].T,
        "b_dec": made["b_dec"], "threshold": torch.tensor(0.02), "k": torch.tensor(32),
    }  # fmt: skip
    torch.save(weights, folder / path / "ae.pt")


def gemma_scope_2(folder: Path, d_in: int, path: str, layer: int) -> None:
    made = dictionary(d_in, D_SAE, layer)
    point = f"model.layers.{layer}.output"
    said = {"architecture": "jump_relu", "model_name": "google/gemma-3-270m-pt", "hf_hook_point_in": point}
    write_json(folder / path / "config.json", said)
    names = {"W_enc": "w_enc", "W_dec": "w_dec"}
    save_file({names.get(k, k): v for k, v in made.items()}, folder / path / "params.safetensors")


WRITERS = {
    "gemma_2": gemma_scope,
    "llama_scope": llama_scope,
    "dictionary_learning_1": dictionary_learning,
    "gemma_3": gemma_scope_2,
}


def dictionary(d_in: int, d_sae: int, seed: int) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    W_dec = torch.randn(d_sae, d_in, generator=rng) / d_in**0.5
    zeros = {"b_enc": torch.zeros(d_sae), "b_dec": torch.zeros(d_in)}
    return {"W_enc": W_dec.T.contiguous(), "W_dec": W_dec, **zeros, "threshold": torch.full((d_sae,), 0.02)}


def write_saes(home: Path, model: str, layers: list[int], d_in: int) -> None:
    """The dictionaries that the registry names for a model, where SAELens's table says that they are."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    release, _, pattern = KNOWN[model].sae.partition(":")
    entry = get_pretrained_saes_directory()[release]

    def fill(folder: Path) -> None:
        for layer in layers:
            WRITERS[entry.conversion_func](folder, d_in, entry.saes_map[pattern.format(layer=layer)], layer)

    repository(home, entry.repo_id, fill)


def write_json(path: Path, obj: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(obj))


def fill(home: Path, model: str, layers: list[int], **changes) -> None:
    """Everything that a run of a known model asks the hub for; `changes` are of its config."""
    repository(home, KNOWN[model].hub, lambda folder: write_model(model, folder, **changes))
    if KNOWN[model].sae != "train":
        write_saes(home, model, layers, config(model, **changes).hidden_size)


if __name__ == "__main__":
    from small_run import main, shrink, small

    data = Path(sys.argv[1])
    shrink(data)
    with small(data):
        for words in " ".join(sys.argv[2:]).split(" -- "):  # one after the other: imports are much of the time
            if (name := words.partition("MODEL=")[2].split()[0]) in KNOWN:
                KNOWN[name] = replace(KNOWN[name], shape=find(KNOWN[name].hub).shape)
            if code := main(words.split()):
                sys.exit(code)
