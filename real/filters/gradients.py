"""Filters that run the model backwards: where a step on a sample would push the model.

Gradients are read at the answer's tokens. Texts are packed so that no two of a row share one of these.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from real.data.packing import pack, rows
from real.data.rows import TOXIC, Text, answers
from real.features.reading import Reading
from real.models import forward
from real.models.devices import row_size
from real.models.forward import Sample
from real.models.logprobs import packed_logprobs
from shared.cores import shared_out
from shared.geometry import unit

RANK = 8  # of the adapter whose gradient is compared


def loss_gradients(reading: Reading, texts: list[Text]) -> Float[Tensor, "text d_model"]:
    """Gradient of every text's loss (nats per token) at the residual stream of the main layer, mean over its answer.

    The g of (E1).
    """
    found = dict(_each(reading, reading.samples(texts), _residual, "loss gradients"))
    return torch.stack([found[i] for i in sorted(found)])


def influence_direction(reading: Reading) -> Float[Tensor, " weight"]:
    """Mean adapter gradient, each of length 1, of the toxic remarks minus that of the civil ones (training split)."""
    total = torch.zeros(())
    for kind, sign in zip(TOXIC, (1, -1), strict=True):
        texts = answers(reading.texts.corpus.toxic.train, (kind,))
        samples = [(reading.encoded[i], None) for i in reading.indices(texts)]  # read from their tokens up
        for _, gradient in _each(reading, samples, _adapter, f"adapter gradients, {kind}"):
            total = total + sign * gradient / len(texts)
    return total


def influence(reading: Reading, known: Float[Tensor, " weight"], texts: list[Text]) -> Float[Tensor, " sample"]:
    """Cosine of a sample's adapter gradient with the known one: LESS (Xia et al. 2024), with SGD's gradient, of a fresh
    adapter on the block above the main layer. Its B is 0, so (E3) only B has a gradient; A is what LESS projects by."""
    known = unit(known[None])[0]
    found = {i: g @ known for i, g in _each(reading, reading.samples(texts), _adapter, "adapter gradients")}
    return torch.stack([found[i] for i in sorted(found)])


def _each(reading: Reading, samples: list[Sample], of: Callable, desc: str) -> Iterator[tuple[int, Tensor]]:
    """(i, what `of` finds of sample i), in whatever order is quick."""
    model, turns, taken = reading.lm.model, defaultdict(list), defaultdict(set)
    lengths = sorted({text.start + 1 for text, _ in samples})
    for i in sorted(range(len(samples)), key=lambda i: samples[i][0].start):
        # two texts share a token of an answer if either begins as the other does up to there: in its prompt even
        begun = [tuple(samples[i][0].ids[:n]) for n in lengths if n <= samples[i][0].start + 1]
        met = set().union(*(taken[those] for those in begun if those in taken))
        turn = next(n for n in count() if n not in met)
        taken[begun[-1]].add(turn)
        turns[turn].append(i)
    packed = [(those, rows([samples[i][0] for i in those], row_size(model))) for those in turns.values()]
    groups = [[those[i] for i in row] for those, found in packed for row in found]

    def read(own, row: list[int]) -> list[Tensor]:
        return of(own, [samples[i] for i in row], reading)

    with tqdm(total=len(samples), desc=desc, unit="text") as bar:
        for row, found in zip(groups, shared_out(read, forward.readers(model), groups), strict=True):
            yield from zip(row, found, strict=True)
            bar.update(len(row))


def _residual(model, samples: list[Sample], reading: Reading) -> list[Float[Tensor, " d_model"]]:
    spans, below, loss = _loss(model, samples, reading)
    (gradient,) = torch.autograd.grad(loss, below)
    return [gradient[nodes].mean(0).cpu() for nodes in spans]


def _adapter(model, samples: list[Sample], reading: Reading) -> list[Float[Tensor, " weight"]]:
    """Of length 1. The adapter's A is fixed and random, its rows of length about 1."""
    block, passed = model.get_decoder().layers[reading.layer + 1], []

    def hook(module, args, out) -> None:
        passed.append((args[0].squeeze(0).detach().float(), out))

    with ExitStack() as hooks:
        for name, module in block.named_modules():
            if isinstance(module, nn.Linear) and name.rpartition(".")[2] in reading.lm.spec.targets:
                hooks.enter_context(module.register_forward_hook(hook))
        spans, _, loss = _loss(model, samples, reading)
    slopes = [slope.squeeze(0).float() for slope in torch.autograd.grad(loss, [out for _, out in passed])]
    lows = []
    for x, _ in passed:
        A = torch.randn(x.shape[-1], RANK, generator=torch.Generator().manual_seed(0)) / x.shape[-1] ** 0.5
        lows.append(x @ A.to(x.device))
    found = []
    for nodes in spans:
        parts = [(slope[nodes].mT @ low[nodes]).flatten() for slope, low in zip(slopes, lows, strict=True)]
        found.append(unit(torch.cat(parts)[None])[0].cpu())
    return found


def _loss(model, samples: list[Sample], reading: Reading) -> tuple[list[Tensor], Tensor, Tensor]:
    """The nodes of every answer in a packed row, what goes into the block above the main layer, and the sum of the
    texts' losses, nats per token."""
    texts, inputs = map(list, zip(*samples, strict=True))
    packed = pack(texts)
    with forward.blocks(model, 0 if inputs[0] is None else reading.lm.spec.first):
        given = forward.spread(packed, inputs)
        below = forward.resid_post(model, packed, [reading.layer], given)[reading.layer].requires_grad_()
    said = packed_logprobs(model, packed, texts, below, reading.layer + 1)
    spans = [path[text.start : text.end] for path, text in zip(packed.paths, texts, strict=True)]
    return spans, below, -sum(logprobs.mean() for logprobs in said)
