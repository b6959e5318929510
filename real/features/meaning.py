"""What the features are: the tokens that their directions promote, and the answers that they fire on most."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from real.features.reading import Reading
from real.features.selection import Selected
from real.models import forward
from shared.records import Part

CHUNK = 2**14  # rows of the head that are made float32 at once
DESCRIBED, TOKENS, SNIPPETS, AROUND = 6, 8, 3, 8


class Snippet(Part):
    """Where a feature fires most in an answer. Untrusted text."""

    before: str
    token: str
    after: str
    activation: float


class Meaning(Part):
    id: int
    r: float  # with what its set goes with
    tokens: list[str]
    snippets: list[Snippet]


def describe(reading: Reading, selected: Selected) -> dict[str, list[Meaning]]:
    """Set -> its best features at the main layer."""
    layer = selected.layers[reading.layer]
    found = layer.domains[reading.texts.corpus.trained]
    sets = {"inducing": (found.inducing, 1), "control": (found.control, -1), "toxic": (layer.toxic, 1)}
    best = [(name, of.ids[n], sign * of.r[n]) for name, (of, sign) in sets.items() for n in range(DESCRIBED)]
    ids, described = torch.tensor([i for _, i, _ in best]), {name: [] for name in sets}
    for (name, i, r), tokens, snippets in zip(best, promoted(reading, ids), top_snippets(reading, ids), strict=True):
        described[name].append(Meaning(id=i, r=r, tokens=tokens, snippets=snippets))
    return described


@torch.no_grad()
def promoted(reading: Reading, ids: Int[Tensor, " k"]) -> list[list[str]]:
    """Logit lens: the tokens whose logits each decoder direction raises most, through the final norm's gain."""
    lm = reading.lm
    norm, head = forward.norm(lm.model), lm.model.get_output_embeddings()
    W_dec = reading.sae(reading.layer).W_dec.detach()[ids].to(head.weight.device)
    # ones are of unit size already: an RMSNorm makes of them what it multiplies by, a LayerNorm zeros
    gain = norm.weight if isinstance(norm, torch.nn.LayerNorm) else norm(torch.ones_like(W_dec[:1]))
    directions = (W_dec * gain.to(W_dec.device)).float()  # in bfloat16 the best tokens tie
    logits = torch.cat([directions @ some.float().mT for some in head.weight.split(CHUNK)], dim=1)
    return [[lm.tokenizer.decode([t]) for t in row] for row in logits.topk(TOKENS).indices.tolist()]


@torch.no_grad()
def top_snippets(reading: Reading, ids: Int[Tensor, " k"]) -> list[list[Snippet]]:
    """For each feature the answers (of the training texts) that it fires on most, around the strongest token."""
    sae, read = reading.sae(reading.layer), reading.activations(reading.layer)
    texts = reading.indices(reading.texts.part("train"))
    peaks = [sae.encode(read.text(i))[:, ids].max(0) for i in texts]
    value, where = map(torch.stack, zip(*peaks, strict=True))
    best = value.topk(SNIPPETS, dim=0).indices
    return [
        [_snippet(reading, texts[i], where[i, n], value[i, n]) for i in best[:, n] if value[i, n] > 0]
        for n in range(len(ids))
    ]


def _snippet(reading: Reading, text: int, where: Int[Tensor, ""], value: Float[Tensor, ""]) -> Snippet:
    encoded, decode = reading.encoded[text], reading.lm.tokenizer.decode
    at = encoded.start + int(where)
    return Snippet(
        before=decode(encoded.ids[max(encoded.start, at - AROUND) : at]),
        token=decode(encoded.ids[at : at + 1]),
        after=decode(encoded.ids[at + 1 : min(encoded.end, at + 1 + AROUND)]),
        activation=float(value),
    )
