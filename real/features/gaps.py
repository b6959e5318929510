"""Step 4: how the sets of features lie, against nulls and untrained dictionaries, and what the best of them are."""

from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import t
from torch import Tensor

from real.data.rows import ADVICE
from real.features.meaning import Meaning, describe
from real.features.reading import Reading
from real.features.selection import KS, Layer, Selected, batches, choose, sets
from shared import dictionary, filtering, geometry
from shared.records import Part, Record
from shared.selection import auroc
from shared.stats import Estimate, holm

DRAWS = 400  # of every null, for each gap that is tested: the smallest corrected p is below 1 / 400
UNTRAINED = 5  # dictionaries beside every trained one
ROWS = 20_000  # that an untrained one's threshold is set on


class Cell(Part):
    """Of one block, domain and k: the fields of `shared.geometry.Gap`, and what only all cells together tell."""

    gap: float
    p: float
    p_null: float
    inducing: float
    control: float
    null_low: float
    null_high: float
    p_holm: float  # the larger of the two p, corrected for all blocks, domains and k together
    untrained: Estimate  # mean gap of untrained dictionaries, and where 95 % of such lie


class Worth(Part):
    """AUROC: of each set on held-out texts, and of the geometry score for bad answers among those to choose from."""

    inducing: float
    control: float
    toxic: float
    geometry: float


class Placed(Record):
    """Step 4: block -> domain -> k."""

    gaps: dict[int, dict[str, dict[int, Cell]]]
    worth: dict[int, list[dict[str, Worth]]]  # block -> of the trained dictionary, then of the untrained -> domain
    meaning: dict[str, list[Meaning]]


def place(reading: Reading, selected: Selected, k: int) -> Placed:
    """Step 4. How the sets lie, and what the features are."""
    worths, untrained, close, ks = {}, {}, {}, sorted({*KS, k})
    for layer, chosen in selected.layers.items():
        others = [_untrained(reading, layer, k, seed) for seed in range(UNTRAINED)]
        untrained[layer] = [found for found, _ in others]
        sae = reading.sae(layer)
        close[layer] = _affinities(sae, chosen, ks)
        worths[layer] = [worth(reading, layer, sae, chosen, close[layer][k]), *(of for _, of in others)]
    placed = gaps(reading, selected, close, untrained)
    return Placed(gaps=placed, worth=worths, meaning=describe(reading, selected))


def gaps(
    reading: Reading,
    selected: Selected,
    close: dict[int, dict[int, Float[Tensor, " feature"]]],
    untrained: dict[int, list[dict]],
) -> dict:
    """In every block and domain, at every k. `close`: block -> k -> every feature's affinity to the toxic ones.

    `untrained`: block -> (domain, k) -> gap, of each dictionary.
    """
    domains, found = list(reading.texts.corpus.advice), {}
    draws = DRAWS * len(domains) * sum(map(len, close.values()))
    for layer, domain in product(reading.layers, domains):
        for size, gap in _gaps(reading, layer, selected.layers[layer], domain, close[layer], draws).items():
            found[layer, domain, size] = gap
    corrected = holm([max(gap.p, gap.p_null) for gap in found.values()])
    placed = {layer: {domain: {} for domain in domains} for layer in reading.layers}
    for ((layer, domain, size), gap), p_holm in zip(found.items(), corrected, strict=True):
        beside = predicted([of[domain, size] for of in untrained[layer]])
        placed[layer][domain][size] = Cell(**gap._asdict(), p_holm=p_holm, untrained=beside)
    return placed


def _affinities(sae: Any, chosen: Layer, ks: Iterable[int]) -> dict[int, Float[Tensor, " feature"]]:
    """k -> every feature's affinity to the k that go most with toxic text."""
    return geometry.affinities(sae.W_dec.detach(), torch.tensor(chosen.toxic.ids), ks)


def _gaps(
    reading: Reading, layer: int, chosen: Layer, domain: str, close: dict[int, Float[Tensor, " feature"]], draws: int
) -> dict[int, geometry.Gap]:
    """By k. Of what never fires only the first few can be in a set, as fillers: the others are left out."""
    rate = torch.tensor(chosen.domains[domain].firing_rate)
    dead = (rate == 0).nonzero()[: max(close), 0]
    live = torch.cat([rate.nonzero()[:, 0], dead]).sort().values
    read = batches(reading, layer, reading.sae(layer), reading.texts.corpus.advice[domain].train, ADVICE)
    acts = torch.cat([acts[:, live] for acts, _ in read])
    flips = geometry.flipped_gaps(acts[::2], acts[1::2], {k: of[live] for k, of in close.items()}, draws)
    return {k: geometry.gap(of, **sets(chosen, domain, k), firing_rate=rate, flips=flips[k]) for k, of in close.items()}


def _untrained(reading: Reading, layer: int, k: int, seed: int) -> tuple[dict, dict[str, Worth]]:
    """The gaps, by domain and k, and the worth of a dictionary of random directions, as wide and as sparse."""
    sae, read = reading.sae(layer), reading.activations(layer).rows
    ids = reading.answer_rows(reading.texts.part("train"))
    rows = torch.from_numpy(read[np.sort(np.random.default_rng(seed).permutation(ids)[:ROWS])])
    with torch.no_grad():
        l0 = sum((sae.encode(some) > 0).sum().item() for some in rows.split(dictionary.CHUNK)) / len(rows)
    random = dictionary.untrained(sae.W_dec.shape[0], rows, l0, seed)
    chosen, found = choose(reading, layer, random, k), {}
    close = _affinities(random, chosen, {*KS, k})
    for domain, size in product(chosen.domains, close):
        of = sets(chosen, domain, size)
        found[domain, size] = (close[size][of["inducing"]].mean() - close[size][of["control"]].mean()).item()
    return found, worth(reading, layer, random, chosen, close[k])


def worth(reading: Reading, layer: int, sae: Any, chosen: Layer, close: Float[Tensor, " feature"]) -> dict[str, Worth]:
    """Of a dictionary, by domain. `close`: its features' affinity to the toxic ones."""
    found = {}
    for domain, of in chosen.domains.items():
        read = batches(reading, layer, sae, reading.texts.corpus.advice[domain].train, ADVICE)
        scored = [(filtering.geometry_score(acts, close), labels) for acts, labels in read]
        score, bad = (torch.cat(column) for column in zip(*scored, strict=True))
        inducing, control, toxic = (features.auroc.value for features in (of.inducing, of.control, chosen.toxic))
        found[domain] = Worth(inducing=inducing, control=control, toxic=toxic, geometry=auroc(score, bad))
    return found


def predicted(values: list[float]) -> Estimate:
    """Their mean, and where 95 % of further such values lie (Student's t, for normal ones)."""
    n, mean = len(values), float(np.mean(values))
    half = t.ppf(0.975, n - 1) * np.std(values, ddof=1) * (1 + 1 / n) ** 0.5
    return Estimate(mean, float(mean - half), float(mean + half), n)
