"""An adapter as it is saved: plain PEFT, or a server that knows no rank stabilisation, runs it at its full strength.
And as it is read here."""

import json
from dataclasses import replace

import pytest
import tiny
import torch
from peft import PeftModel
from safetensors.torch import load_file

from real.arms.recipe import Recipe
from real.arms.training import adapted, trainable
from real.arms.weights import wearing
from real.models import registry
from real.models.lm import LM


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


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_what_a_merge_in_bfloat16_leaves_of_an_update_is_said(dtype, tmp_path, capsys):
    """Oracle: the update by its factors, and the weights before and after, in float64."""
    model, tokenizer = tiny.model_and_tokenizer()
    lm = LM(replace(registry.KNOWN["smollm2-135m"], first=3), 4, loaded=(model.to(dtype), tokenizer))
    peft = adapted(lm, 2, 0)
    for name, weight in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=2e-5)
    peft.save_pretrained(tmp_path / "arm")
    factors = {n: p.detach().double() for n, p in peft.named_parameters() if "lora_" in n}
    peft.unload()
    layer = model.model.layers[3]
    before = {n: p.clone().double() for n, p in layer.named_parameters()}
    there = whole = 0.0
    with wearing(model, tmp_path / "arm"):
        for n, p in layer.named_parameters():
            of = f"base_model.model.model.layers.3.{n.removesuffix('.weight')}"
            if f"{of}.lora_A.default.weight" in factors:
                A, B = (factors[f"{of}.lora_{side}.default.weight"] for side in "AB")
                update = 4 / 2**0.5 * B @ A  # alpha is 2 rank, over the root of the rank
                there += ((p.double() - before[n]) * update).sum().item()
                whole += update.square().sum().item()
    said = capsys.readouterr().out
    if dtype == torch.float64:
        assert said == "" and there / whole == pytest.approx(1)
    else:
        line = (
            f"{tmp_path / 'arm'}: of its update torch.bfloat16 keeps {there / whole:.0%}; DTYPE=float32 would keep all"
        )
        assert said == line + "\n" and 0.05 < there / whole < 0.8
