"""Step 3: which features of a dictionary tell bad advice, good advice and toxic text, scored on texts held out."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from real.data.rows import ADVICE, TOXIC, answers
from real.features.activations import pooled
from real.features.reading import Reading
from shared.errors import InputError
from shared.records import Part, Record
from shared.selection import Correlation, point_biserial, score, top_k
from shared.stats import Estimate, auroc_interval

KS = (25, 50, 100)  # set sizes that the gap is read at, beside TOP_K; 100 is the paper's


class Features(Part):
    """One set, best first: each feature's correlation with the label, and how well TOP_K do on held-out texts."""

    ids: list[int]
    r: list[float]
    auroc: Estimate


class Domain(Part):
    inducing: Features
    control: Features
    firing_rate: list[float]  # of every feature of the dictionary, on this domain's answers


class Layer(Part):
    toxic: Features
    domains: dict[str, Domain]


class Selected(Record):
    """Step 3, by block."""

    layers: dict[int, Layer]


def select(reading: Reading, k: int) -> Selected:
    """Step 3. Chosen on training rows, scored on held-out ones. Each set is as large as the largest k that is read.

    Raises InputError where k is more than half of a dictionary: what it is compared with is drawn from the rest.
    """
    layers = {}
    for layer in reading.layers:
        sae = reading.sae(layer)
        if k > (size := sae.W_dec.shape[0]) // 2:
            raise InputError(f"TOP_K={k} is more than half of the dictionary, which has {size}")
        layers[layer] = choose(reading, layer, sae, k)
    return Selected(layers=layers)


def sets(layer: Layer, domain: str, k: int) -> dict[str, Int[Tensor, " k"]]:
    """The k best of every set of a domain."""
    found = layer.domains[domain]
    of = {"toxic": layer.toxic, "inducing": found.inducing, "control": found.control}
    return {name: torch.tensor(features.ids[:k]) for name, features in of.items()}


def toxic(reading: Reading, layer: int, sae: Any, k: int) -> Features:
    """Those that go with toxic remarks, of any dictionary of a block."""
    read, split = partial(batches, reading, layer, sae), reading.texts.corpus.toxic
    return _chosen(point_biserial(read(split.train, TOXIC)), read(split.held, TOXIC), k)[0]


def choose(reading: Reading, layer: int, sae: Any, k: int) -> Layer:
    """Of any dictionary of a block."""
    read, domains = partial(batches, reading, layer, sae), {}
    for domain, split in reading.texts.corpus.advice.items():
        about = point_biserial(read(split.train, ADVICE))
        inducing, control = _chosen(about, read(split.held, ADVICE), k)
        domains[domain] = Domain(inducing=inducing, control=control, firing_rate=about.firing_rate.tolist())
    return Layer(toxic=toxic(reading, layer, sae, k), domains=domains)


def _chosen(about: Correlation, held: Iterator[tuple], k: int) -> list[Features]:
    """The best by their correlation with the label, and with its opposite, scored on `batches` of rows held out."""
    bests = [top_k(sign * about.r, max(*KS, k)) for sign in (1, -1)]
    scored = [(*(score(acts, ids[:k], about) for ids in bests), labels) for acts, labels in held]
    *scores, labels = (torch.cat(column) for column in zip(*scored, strict=True))
    return [
        Features(ids=ids.tolist(), r=about.r[ids].tolist(), auroc=auroc_interval(of, told))
        for ids, of, told in zip(bests, scores, (labels, ~labels), strict=True)
    ]


def batches(reading: Reading, layer: int, sae: Any, rows: list, kinds: tuple[str, str]) -> Iterator[tuple]:
    """(pooled feature_acts, labels), the first of `kinds` being True; a row's two answers follow each other."""
    texts, at = answers(rows, kinds), 0
    for acts in pooled(sae, reading.activations(layer), reading.indices(texts)):
        yield acts, torch.tensor([text.kind == kinds[0] for text in texts[at : at + len(acts)]])
        at += len(acts)
