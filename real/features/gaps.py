"""Step 4: how the sets of features lie to each other, against two nulls."""

import torch

from real.features import meaning
from real.run import Run
from shared import geometry
from shared.stats import holm

KS = (25, 50, 100)  # set sizes that the gap is read at, beside TOP_K; 100 is the paper's


def place(run: Run, selected: dict) -> dict:
    """Step 4. How the sets lie, and what the features are."""
    return {"gaps": gaps(run, selected), "meaning": meaning.describe(run, selected)}


def gaps(run: Run, selected: dict) -> dict:
    """Layer -> domain -> the gap at TOP_K and, under `by_k`, at every k, with both nulls.

    `p_holm` is the larger of the two p, corrected for all layers, domains and k together.
    """
    main = run.settings.top_k
    ks = sorted({*KS, main})
    cells = {
        (layer, domain, k): _gap(run, layer, selected[str(layer)], domain, k)
        for layer in run.layers
        for domain in run.corpus.advice
        for k in ks
    }
    corrected = holm([max(gap["p"], gap["p_null"]) for gap in cells.values()])
    for gap, p in zip(cells.values(), corrected, strict=True):
        gap["p_holm"] = p
    return {
        str(layer): {
            domain: {**cells[layer, domain, main], "by_k": {str(k): cells[layer, domain, k] for k in ks}}
            for domain in run.corpus.advice
        }
        for layer in run.layers
    }


def _gap(run: Run, layer: int, selected: dict, domain: str, k: int) -> dict:
    found = selected["domains"][domain]
    ids = [torch.tensor(which[:k]) for which in (found["inducing"], found["control"], selected["toxic"])]
    W_dec = run.sae(layer).W_dec.detach()
    return geometry.gap(W_dec, *ids, torch.tensor(found["firing_rate"]))._asdict()
