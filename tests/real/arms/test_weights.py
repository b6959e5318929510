"""An adapter as it is saved: plain PEFT, or a server that knows no rank stabilisation, runs it at its full strength."""

import json

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from real.arms.weights import fold_scale


def test_a_saved_adapters_scale_is_in_b_and_plain_peft_says_what_the_trained_one_said(tmp_path):
    """alpha / sqrt(r) B A = B' A, alpha' = r: the same logits to float32's rounding, and 5.7 times too weak before."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2
    )
    model, ids = LlamaForCausalLM(config).eval(), torch.randint(50, (2, 7))
    lora = LoraConfig(r=32, lora_alpha=64, use_rslora=True, target_modules=["q_proj", "down_proj"])
    peft = get_peft_model(model, lora)
    for name, p in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.05)
    said = peft(ids).logits.detach()
    peft.save_pretrained(tmp_path)
    plain = load_file(tmp_path / "adapter_model.safetensors")
    fold_scale(tmp_path)
    about = json.loads((tmp_path / "adapter_config.json").read_text())
    assert not about["use_rslora"] and about["lora_alpha"] == about["r"] == 32
    folded = load_file(tmp_path / "adapter_model.safetensors")
    for name in plain:
        strength = 64 / 32**0.5 if ".lora_B." in name else 1
        torch.testing.assert_close(folded[name], plain[name] * strength)
    base = peft.unload()
    again = PeftModel.from_pretrained(base, tmp_path)(ids).logits
    assert (again - said).abs().max() <= 1e-5 * said.abs().max()
    fold_scale(tmp_path)  # what is folded stays as it is
    assert all(torch.equal(load_file(tmp_path / "adapter_model.safetensors")[n], folded[n]) for n in folded)
