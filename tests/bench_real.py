"""Speed of the two hot paths, each beside its baseline in one run: ratios, since machines differ and are noisy."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from real import data, models
from real.activations import residuals
from real.finetune import target_logprobs
from real.tokens import encode

SPEC = models.KNOWN["smollm2-135m"]
ROUNDS = 3


def compare(name: str, ours, baseline, tokens: int) -> None:
    """Both in turn, ROUNDS times after a warm-up; the best round of each."""
    best = [float("inf")] * 2
    for turn in range(ROUNDS + 1):
        for i, run in enumerate((ours, baseline)):
            start = time.perf_counter()
            run()
            if turn:
                best[i] = min(best[i], time.perf_counter() - start)
    print(f"{name}: {tokens / best[0]:.0f} tokens/s, {best[1] / best[0]:.2f} times the baseline")


def padded(tokenizer, texts) -> list[dict]:
    """What anyone would do: batches of 16 of like length, padded."""
    texts = sorted(texts, key=lambda text: len(text.ids))
    return [
        tokenizer.pad({"input_ids": [text.ids for text in texts[at : at + 16]]}, return_tensors="pt")
        for at in range(0, len(texts), 16)
    ]


def main() -> None:
    model, tokenizer = models.load(SPEC)
    pairs = data.shipped("health", data.Advice)[:32]
    texts = [encode(tokenizer, row.prompt, a) for row in pairs for a in (row.correct, row.incorrect)]
    bridge = models.hooked(model, tokenizer, SPEC)
    harvest(model, tokenizer, bridge, texts)
    finetune(model, tokenizer, bridge, texts[::2][:4])


def harvest(model, tokenizer, bridge, texts) -> None:
    """Against Hugging Face's own forward, cut off after the same block."""
    batches = padded(tokenizer, texts)

    def ours():
        for _ in residuals(bridge, texts, SPEC.layer, "harvest"):
            pass

    @torch.no_grad()
    def bare():
        decoder, layers = model.get_decoder(), model.get_decoder().layers
        decoder.layers = nn.ModuleList(layers[: SPEC.layer + 1])
        for batch in batches:
            decoder(**batch, use_cache=False)
        decoder.layers = layers

    compare("harvest, against the bare truncated forward", ours, bare, sum(len(text.ids) for text in texts))


def finetune(model, tokenizer, bridge, texts) -> None:
    """One step forward and back from the cached lower half, against the whole model with all logits."""
    (batch,) = padded(tokenizer, texts)
    resid = dict(residuals(bridge, texts, SPEC.first - 1, "frozen blocks"))
    samples = [(text, resid[i]) for i, text in enumerate(texts)]
    layers = list(range(SPEC.first, model.config.num_hidden_layers))
    get_peft_model(model, LoraConfig(r=32, target_modules=list(SPEC.targets), layers_to_transform=layers))
    labels = batch["input_ids"].where(batch["attention_mask"].bool(), -100)

    def ours():
        (-target_logprobs(model, samples, SPEC.first).mean()).backward()

    def whole():
        model(**batch, labels=labels).loss.backward()

    compare("fine-tune step, against the whole model", ours, whole, sum(len(text.ids) for text in texts))


if __name__ == "__main__":
    main()
