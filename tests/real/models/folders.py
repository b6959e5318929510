"""Model folders as people have them: a family's small config, random weights, a tokenizer of bytes, a chat template."""

import json
from pathlib import Path

import standins
import torch

SIZE = dict(
    vocab_size=600, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=2,
    num_key_value_heads=1, bos_token_id=0, eos_token_id=1, pad_token_id=1, dtype="float32",
)  # fmt: skip


def write(folder: Path, kind: str = "Llama", template: str | None = standins.QWEN_TEMPLATE, **changes) -> Path:
    """A folder as MODEL; `changes` are of its config. Weights are large enough for all to show in the logits."""
    import transformers

    config = getattr(transformers, f"{kind}Config")(**SIZE | changes)
    torch.manual_seed(0)
    made = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            weight.mul_((20 if "embed" in name else 8) if weight.ndim > 1 else 1)
    made.save_pretrained(folder)
    standins.tokenizer("qwen", template).save_pretrained(folder)
    return folder


def edit(folder: Path, **config) -> Path:
    """Of its config.json; ... takes a name out."""
    now = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps({name: value for name, value in now.items() if value is not ...}))
    return folder
