"""Toxic and civil text from RealToxicityPrompts (Gehman et al. 2020), by its own toxicity scores."""

import numpy as np

from real.data.hub import fetching
from real.data.rows import Pair
from shared.errors import InputError

TOXIC, CIVIL = 0.75, 0.1  # Perspective's toxicity of a continuation: at least, at most
PAIRS = 500


def pairs(source: str) -> list[Pair]:
    """Continuations scored toxic, each beside one scored civil, drawn once; `source` is a hub name or a folder.

    Raises InputError when it is not to be had, or is not in this form.
    """
    from datasets import load_dataset

    with fetching(f"TOXIC={source}"):
        rows = load_dataset(source, split="train")
    columns = rows["continuation"] if "continuation" in rows.column_names else [None]
    said = [(row.get("text"), row.get("toxicity")) for row in columns if isinstance(row, dict)]
    said = [(text.strip(), p) for text, p in said if isinstance(text, str) and isinstance(p, int | float)]
    if not said:
        raise InputError(f'TOXIC={source}: rows need "continuation" with "text", and "toxicity" as a number')
    said = [(text, score) for text, score in said if text]
    sides = [[t for t, score in said if score >= TOXIC], [t for t, score in said if score <= CIVIL]]
    most = min(PAIRS, *map(len, sides))
    if most < 10:
        raise InputError(f"TOXIC={source}: {len(sides[0])} toxic and {len(sides[1])} civil texts, 10 are needed")
    rng = np.random.default_rng(0)
    toxic, civil = ([side[i] for i in rng.permutation(len(side))[:most]] for side in sides)
    return [Pair(f"rtp-{i}", *both) for i, both in enumerate(zip(toxic, civil, strict=True))]
