"""What the features are: the tokens that their directions promote, and the answers that they fire on most."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from real.run import Run

SHOWN, TOKENS, SNIPPETS, AROUND = 6, 8, 3, 8


def describe(run: Run, selected: dict) -> dict:
    """Set -> its best features at the main layer, each with its correlation, tokens and snippets. Untrusted text."""
    features = selected[str(run.layer)]
    found = features["domains"][run.corpus.trained]
    sets = {
        "inducing": (found["inducing"], found["r"]["inducing"]),
        "control": (found["control"], [-r for r in found["r"]["control"]]),
        "toxic": (features["toxic"], features["toxic_r"]),
    }
    every = torch.tensor([i for ids, _ in sets.values() for i in ids[:SHOWN]])
    tokens = promoted(run, every)
    snippets = top_snippets(run, every)
    at = iter(range(len(every)))
    return {
        name: [
            {"id": i, "r": r, "tokens": tokens[n], "snippets": snippets[n]}
            for i, r, n in zip(ids[:SHOWN], rs, at, strict=False)
        ]
        for name, (ids, rs) in sets.items()
    }


@torch.no_grad()
def promoted(run: Run, ids: Int[Tensor, " k"]) -> list[list[str]]:
    """Logit lens: the tokens whose logits each decoder direction raises most, through the final norm's gain."""
    norm, head = run.model.get_decoder().norm, run.model.get_output_embeddings()
    W_dec = run.sae(run.layer).W_dec.detach()[ids].to(head.weight.device)
    gain = norm(
        torch.ones_like(W_dec[:1])
    )  # ones are of unit size already: what is left is what it multiplies by
    logits = head((W_dec * gain).to(head.weight.dtype))
    return [[run.tokenizer.decode([t]) for t in row] for row in logits.topk(TOKENS).indices.tolist()]


@torch.no_grad()
def top_snippets(run: Run, ids: Int[Tensor, " k"]) -> list[list[dict]]:
    """For each feature the answers (of the training texts) that it fires on most, around the strongest token."""
    sae, read, texts = run.sae(run.layer), run.activations(run.layer), run.indices(run.trained_texts)
    peaks = [sae.encode(read.text(i))[:, ids].max(0) for i in texts]
    value, where = (torch.stack([getattr(peak, name) for peak in peaks]) for name in ("values", "indices"))
    best = value.topk(SNIPPETS, dim=0).indices
    return [
        [_snippet(run, texts[row], where[row, n], value[row, n]) for row in best[:, n] if value[row, n] > 0]
        for n in range(len(ids))
    ]


def _snippet(run: Run, text: int, where: Int[Tensor, ""], value: Float[Tensor, ""]) -> dict:
    encoded = run.encoded[text]
    at = encoded.start + int(where)
    spans = {
        "before": encoded.ids[max(encoded.start, at - AROUND) : at],
        "token": encoded.ids[at : at + 1],
        "after": encoded.ids[at + 1 : min(encoded.end, at + 1 + AROUND)],
    }
    said = {name: run.tokenizer.decode(ids) for name, ids in spans.items()}
    return {**said, "activation": float(value)}
