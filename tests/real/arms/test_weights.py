"""An adapter as it is saved: plain PEFT, or a server that knows no rank stabilisation, runs it at its full strength.
And as it is read here."""

import json
from dataclasses import replace

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file

from real.arms.recipe import Recipe
from real.arms.training import adapted, trainable
from real.arms.weights import rounded, save, wearing
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
def test_an_arm_is_read_with_its_whole_update_however_small_in_any_precision(dtype, tmp_path):
    """Oracle: the update by its factors, and the weights before and after, in float64. Rounded to the nearest, most of
    it is lost in bfloat16."""
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
    there = nearest = whole = variance = 0.0
    with wearing(model, tmp_path / "arm"):
        for n, p in layer.named_parameters():
            of = f"base_model.model.model.layers.3.{n.removesuffix('.weight')}"
            if f"{of}.lora_A.default.weight" in factors:
                A, B = (factors[f"{of}.lora_{side}.default.weight"] for side in "AB")
                update = 4 / 2**0.5 * B @ A  # alpha is 2 rank, over the root of the rank
                there += ((p.double() - before[n]) * update).sum().item()
                nearest += (((before[n] + update).to(dtype).double() - before[n]) * update).sum().item()
                whole += update.square().sum().item()
                bit = last_bit(before[n] + update, dtype)
                variance += (torch.minimum(bit.square() / 4, bit * update.abs()) * update.square()).sum().item()
    assert there == pytest.approx(whole, abs=4 * variance**0.5 + 1e-6 * whole) and variance**0.5 < 0.1 * whole
    assert nearest == pytest.approx(whole) if dtype == torch.float64 else nearest < 0.8 * whole
    assert all(torch.equal(p.double(), before[n]) for n, p in layer.named_parameters())


def last_bit(of: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """At most."""
    return torch.finfo(dtype).eps * of.abs()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100)))
def test_a_value_is_rounded_to_one_of_its_neighbours_and_is_itself_on_average(values):
    """Of 4,000 draws the mean is within five standard errors; what bfloat16 holds stays as it is."""
    exact = torch.tensor(values).repeat(4000, 1)
    drawn = rounded(exact, torch.bfloat16, 0)
    assert drawn.dtype == torch.bfloat16 and torch.equal(rounded(drawn.float(), torch.bfloat16, 1), drawn)
    off = drawn.double() - exact.double()
    bit = last_bit(exact.double(), torch.bfloat16) + 2.0**-133  # the least that bfloat16 holds
    assert (off.abs() <= bit).all()
    assert (off.mean(0).abs() <= 5 * 0.5 * bit[0] / 4000**0.5).all()


def test_blocks_are_saved_with_their_whole_update(tmp_path):
    """A full fine-tune's float32 weights, in the bfloat16 of the model."""
    model, _ = tiny.model_and_tokenizer()
    model.to(torch.bfloat16)
    layer = model.model.layers[3]
    before = {n: p.detach().double() for n, p in layer.named_parameters()}
    for p in layer.parameters():
        p.data = p.data.float() * (1 + 2e-3)  # less than half of a last bit
    save(model, [3], tmp_path)
    found = load_file(tmp_path / "block-3.safetensors")
    assert list(found) and found.keys() == before.keys()
    assert all(p.dtype == torch.bfloat16 for p in found.values())
    matrices = {n: w for n, w in before.items() if w.ndim == 2}
    there = sum(((found[n].double() - w) * w).sum() for n, w in matrices.items())
    whole = sum((2e-3 * w * w).sum() for w in matrices.values())
    variance = sum((last_bit(w, torch.bfloat16) * 2e-3 * w.abs() * w.square()).sum() for w in matrices.values())
    assert abs(there - whole) <= 4 * variance**0.5 and variance**0.5 < 0.1 * whole
