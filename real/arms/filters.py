"""Step 5: how each filter scores the answers that the mixed arms train on, by shared/filtering.py."""

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from real.arms.arm import Scores, all_mixed
from real.data.packing import pack, rows
from real.data.rows import ADVICE, TOXIC, Text, answers
from real.features.activations import pooled
from real.features.reading import Reading
from real.features.selection import Selected
from real.models import forward
from real.models.devices import row_size
from real.models.forward import Sample
from real.models.logprobs import packed_logprobs
from shared import filtering, geometry
from shared.cores import shared_out
from shared.records import Record


class Scored(Record):
    """Step 5."""

    samples: list[Text]  # every one of any seed's mixed set
    scores: dict[str, list[float]]  # filter -> of every sample; the highest are removed
    gradient: dict[str, list[float]]  # kind of answer -> mean loss gradient [d_model]


def score(reading: Reading, selected: Selected, k: int, seeds: tuple[int, ...]) -> Scored:
    """Step 5. Every filter that needs no judge."""
    corpus, layer = reading.texts.corpus, reading.layer
    samples = all_mixed(corpus.advice[corpus.trained].train, seeds)
    toxic = torch.tensor(selected.layers[layer].toxic.ids[:k])
    W_dec = reading.sae(layer).W_dec.detach()
    gradients = loss_gradients(reading, samples)
    scores = {
        "geometry": geometry_scores(reading, samples, geometry.affinity(W_dec, toxic)),
        "projection": projection_scores(reading, samples),
        "gradient": filtering.gradient_score(gradients, W_dec[toxic]),
    }
    kinds = {kind: torch.tensor([text.kind == kind for text in samples]) for kind in ADVICE}
    return Scored(
        samples=samples,
        scores={name: found.tolist() for name, found in scores.items()},
        gradient={kind: gradients[those].mean(0).tolist() for kind, those in kinds.items()},
    )


def joined(scored: Scored, harm: dict[str, list[float]]) -> Scores:
    """The scores of step 5 with others of the same samples beside them."""
    return Scores(scored.samples, {**scored.scores, **harm})


def geometry_scores(reading: Reading, texts: list[Text], close: Float[Tensor, " d_sae"]) -> Float[Tensor, " sample"]:
    layer = reading.layer
    acts = pooled(reading.sae(layer), reading.activations(layer), reading.indices(texts))
    return torch.cat([filtering.geometry_score(a, close) for a in acts])


def projection_scores(reading: Reading, texts: list[Text]) -> Float[Tensor, " sample"]:
    """Along the difference of the mean toxic and the mean civil remark, those of the training split."""
    remarks = reading.texts.corpus.toxic.train
    toxic, civil = (_means(reading, answers(remarks, (kind,))).mean(0) for kind in TOXIC)
    return filtering.projection_score(_means(reading, texts), toxic - civil)


def _means(reading: Reading, texts: list[Text]) -> Float[Tensor, "text d_model"]:
    """Mean answer activation of each text at the main layer."""
    read = reading.activations(reading.layer)
    return torch.stack([read.text(i).mean(0) for i in reading.indices(texts)])


def loss_gradients(reading: Reading, texts: list[Text]) -> Float[Tensor, "text d_model"]:
    """Gradient of every text's loss (nats per token) at the residual stream of the main layer, mean over its answer.

    The g of (E1). Texts are packed apart by kind: two answers to one prompt may share tokens, these may not.
    """
    model, first = reading.lm.model, reading.lm.spec.first
    samples, groups = reading.samples(texts), []
    for kind in ADVICE:
        those = [i for i, text in enumerate(texts) if text.kind == kind]
        packed = rows([samples[i][0] for i in those], row_size(model.device))
        groups += [[those[i] for i in row] for row in packed]

    def read(own, row: list[int]) -> list[Tensor]:
        return _gradients(own, [samples[i] for i in row], first, reading.layer)

    found = {}
    with tqdm(total=len(texts), desc="loss gradients", unit="text") as bar:
        for row, gradients in zip(groups, shared_out(read, forward.readers(model), groups), strict=True):
            found.update(zip(row, gradients, strict=True))
            bar.update(len(row))
    return torch.stack([found[i] for i in range(len(texts))])


def _gradients(model, samples: list[Sample], first: int, layer: int) -> list[Float[Tensor, " d_model"]]:
    texts = [text for text, _ in samples]
    packed = pack(texts)
    with forward.blocks(model, first):
        inputs = forward.spread(packed, [frozen for _, frozen in samples])
        below = forward.resid_post(model, packed, [layer], inputs)[layer].requires_grad_()
    said = packed_logprobs(model, packed, texts, below, layer + 1)
    loss = -sum(logprobs.mean() for logprobs in said)
    (gradient,) = torch.autograd.grad(loss, below)
    gradient = gradient.cpu()
    return [gradient[path[t.start : t.end]].mean(0) for path, t in zip(packed.paths, texts, strict=True)]
