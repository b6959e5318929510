"""Step 4: how the sets of features lie to each other, against two nulls, and what the best of them are."""

import torch

from real.features import meaning
from real.features.meaning import Meaning
from real.features.reading import Reading
from real.features.selection import KS, Selected, sets
from shared import geometry
from shared.records import Part, Record
from shared.stats import holm


class Cell(Part):
    """The gap of one block, domain and k, with both nulls; see `shared.geometry.gap`."""

    gap: float
    p: float
    p_null: float
    inducing: float
    control: float
    null_low: float
    null_high: float
    p_holm: float  # the larger of the two p, corrected for all blocks, domains and k together


class Placed(Record):
    """Step 4: block -> domain -> k."""

    gaps: dict[int, dict[str, dict[int, Cell]]]
    meaning: dict[str, list[Meaning]]


def place(reading: Reading, selected: Selected, k: int) -> Placed:
    """Step 4. How the sets lie, and what the features are."""
    return Placed(gaps=gaps(reading, selected, k), meaning=meaning.describe(reading, selected))


def gaps(reading: Reading, selected: Selected, k: int) -> dict[int, dict[str, dict[int, Cell]]]:
    """At TOP_K and at KS, in every block and domain."""
    domains, ks = list(reading.texts.corpus.advice), sorted({*KS, k})
    found = {
        (layer, domain, size): _gap(reading, layer, selected, domain, size)
        for layer in reading.layers
        for domain in domains
        for size in ks
    }
    corrected = iter(holm([max(gap.p, gap.p_null) for gap in found.values()]))
    cells = {where: Cell(**gap._asdict(), p_holm=next(corrected)) for where, gap in found.items()}
    return {
        layer: {domain: {size: cells[layer, domain, size] for size in ks} for domain in domains}
        for layer in reading.layers
    }


def _gap(reading: Reading, layer: int, selected: Selected, domain: str, k: int) -> geometry.Gap:
    found = selected.layers[layer]
    chosen, rate = sets(found, domain, k), torch.tensor(found.domains[domain].firing_rate)
    W_dec = reading.sae(layer).W_dec.detach()
    return geometry.gap(W_dec, chosen["inducing"], chosen["control"], chosen["toxic"], rate)
