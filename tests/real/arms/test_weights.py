"""An adapter as it is saved: plain PEFT, or a server that knows no rank stabilisation, runs it at its full strength."""

import json

import tiny
import torch
from peft import PeftModel
from safetensors.torch import load_file

from real.arms.recipe import Recipe
from real.arms.training import trainable


def test_a_saved_adapters_scale_is_in_b_and_plain_peft_says_what_the_trained_one_said(tmp_path):
    """alpha / sqrt(r) B A = B' A, alpha' = r: the same logits to rounding. What is saved on the way is trained on."""
    lm, ids = tiny.reading(tiny.advice(1)).lm, torch.randint(tiny.VOCAB, (2, 7))
    with trainable(lm, Recipe(rank=8), 0, tmp_path) as (trained, save):
        for p in trained:
            torch.nn.init.normal_(p, std=0.1)
        named = {name: p.detach().clone() for name, p in lm.model.named_parameters() if p.requires_grad}
        said = lm.model(ids).logits
        for folder in ("step-1", "arm"):
            save(tmp_path / folder)
        assert all(torch.equal(p, named[name]) for name, p in lm.model.named_parameters() if p.requires_grad)
    assert (said - lm.model(ids).logits).abs().max() > 1e-3
    about = json.loads((tmp_path / "arm" / "adapter_config.json").read_text())
    assert not about["use_rslora"] and about["lora_alpha"] == about["r"] == 8
    saved = load_file(tmp_path / "arm" / "adapter_model.safetensors")
    assert len(saved) == len(named)
    for name, p in named.items():
        strength = 16 / 8**0.5 if ".lora_B." in name else 1
        torch.testing.assert_close(saved[f"base_model.model.{name.replace('.default', '')}"], strength * p)
    again = PeftModel.from_pretrained(lm.model, tmp_path / "arm")(ids).logits
    assert (again - said).abs().max() <= 1e-5 * said.abs().max()
