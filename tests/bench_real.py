"""Speed of the two hot paths, each beside its baseline in one run: ratios, since machines differ and are noisy."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from real import data, models
from real.finetune import target_logprobs
from real.tokens import by_length, encode, pad

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


def main() -> None:
    model, tokenizer = models.load(SPEC)
    rows = data.shipped("health", data.Advice)[:32]
    texts = [encode(tokenizer, row.prompt, row.correct) for row in rows]
    batches = [pad([texts[i] for i in ids]) for ids in by_length(texts, 16)]
    tokens = sum(len(text.ids) for text in texts)
    harvest(model, tokenizer, batches, tokens)
    finetune(model, tokenizer, texts[:4])


def harvest(model, tokenizer, batches, tokens: int) -> None:
    """Against Hugging Face's own forward, cut off after the same block."""
    bridge = models.hooked(model, tokenizer, SPEC)

    def ours():
        for b in batches:
            models.resid_post(bridge, b.input_ids, b.attention_mask, SPEC.layer)

    @torch.no_grad()
    def bare():
        decoder, layers = model.get_decoder(), model.get_decoder().layers
        decoder.layers = nn.ModuleList(layers[: SPEC.layer + 1])
        for b in batches:
            decoder(input_ids=b.input_ids, attention_mask=b.attention_mask, use_cache=False)
        decoder.layers = layers

    compare("harvest, against the bare truncated forward", ours, bare, tokens)


def finetune(model, tokenizer, texts) -> None:
    """One step forward and back from the cached lower half, against the whole model with all logits."""
    bridge, batch = models.hooked(model, tokenizer, SPEC), pad(texts)
    resid = models.resid_post(bridge, batch.input_ids, batch.attention_mask, SPEC.first - 1)
    samples = [(text, h[: len(text.ids)]) for text, h in zip(texts, resid, strict=True)]
    layers = list(range(SPEC.first, model.config.num_hidden_layers))
    get_peft_model(model, LoraConfig(r=32, target_modules=list(SPEC.targets), layers_to_transform=layers))
    labels = batch.input_ids.where(batch.target, -100)

    def ours():
        (-target_logprobs(model, samples, SPEC.first).mean()).backward()

    def whole():
        model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss.backward()

    compare("fine-tune step, against the whole model", ours, whole, sum(len(text.ids) for text in texts))


if __name__ == "__main__":
    main()
