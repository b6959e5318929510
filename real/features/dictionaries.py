"""Sparse autoencoders: published ones, or trained by shared/dictionary.py on the run's own answer activations.

`W_dec [d_sae, d_model]`: rows are features, as in the toy's `W`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from jaxtyping import Float, Int

from real.data.hub import fetching
from real.models.forward import hook_name
from real.models.registry import EXPANSION
from shared import dictionary
from shared.errors import InputError

K = 32  # features active per token, on average over a batch
DRAWS = 100_000  # activations seen in training, with repetition
PEEK = 20_000  # of them, to measure mean and scale
BATCH = 512
LR = 1e-3


def train(rows: Float[np.ndarray, "token d_model"], ids: Int[np.ndarray, " some"], hook: str, seed: int) -> Any:
    """A BatchTopK SAE on the rows `ids`, ready to save. `rows` may stay on disk: a batch is read when it is drawn."""
    recipe = dictionary.Recipe(EXPANSION * rows.shape[1], K, DRAWS // BATCH, LR, BATCH)
    peek = rows[np.sort(np.random.default_rng(seed).permutation(ids)[:PEEK])]
    _, sae = dictionary.train(shuffled(rows, ids, recipe.batch, seed), peek, recipe, seed)
    sae.cfg.metadata.hook_name = hook
    return sae


def shuffled(
    rows: Float[np.ndarray, "token d_model"], ids: Int[np.ndarray, " some"], batch: int, seed: int
) -> Iterator[Float[np.ndarray, "batch d_model"]]:
    """Batches without end: pass after pass over the rows `ids`, each in a new order; over a few, several to a batch."""
    rng = np.random.default_rng(seed)
    while True:
        order = np.concatenate([rng.permutation(ids) for _ in range(-(-batch // len(ids)))])
        for at in range(0, len(order) - batch + 1, batch):
            yield rows[np.sort(order[at : at + batch])]


def load(folder: Path):
    """The SAE saved in `folder`, for inference (a trained BatchTopK is saved as a JumpReLU)."""
    from sae_lens import SAE

    return SAE.load_from_disk(folder, device="cpu")


def published(name: str, layer: int, d_model: int):
    """The SAE `name`, release:id with {layer} for the block, of SAELens's table or of a hub repository; float32.

    Norm scaling (Llama Scope) is folded in as SAELens does it. Raises InputError when it is not to be had, or was not
    trained on `layer` of a model of this width.
    """
    from sae_lens import SAE
    from sae_lens.loading import pretrained_sae_loaders as loaders

    release, _, pattern = name.partition(":")
    sae_id = pattern.format(layer=layer)
    with fetching(f"SAE={release}:{sae_id}"), patch.object(loaders, "get_safetensors_tensor_shapes", _shapes):
        sae = SAE.from_pretrained(release, sae_id, device="cpu", dtype="float32")
    hook, d_in = sae.cfg.metadata.hook_name, sae.cfg.d_in
    if d_in != d_model:
        raise InputError(f"SAE={release}:{sae_id} reads {d_in} dimensions, the model has {d_model}")
    if hook != hook_name(layer):
        raise InputError(f"SAE={release}:{sae_id} was trained at {hook}, not at {hook_name(layer)}")
    return sae


def _shapes(repo_id: str, filename: str) -> dict[str, list[int]]:
    """SAELens asks the hub for a Gemma Scope 2 file's shapes even when it has the file: then offline nothing loads."""
    from huggingface_hub import hf_hub_download
    from safetensors import safe_open

    with safe_open(hf_hub_download(repo_id, filename), "pt") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 not a dict


@torch.no_grad()
def quality(sae, rows: Float[np.ndarray, "token d_model"], ids: Int[np.ndarray, " some"]) -> dict:
    """On the rows `ids`: FVU (share of variance not explained), L0 (features active per token), share of features
    that never fire."""
    fired = torch.zeros(sae.W_dec.shape[0], dtype=torch.bool)
    chunks = [ids[at : at + 4096] for at in range(0, len(ids), 4096)]
    mean = sum(rows[chunk].sum(0, dtype=np.float64) for chunk in chunks) / len(ids)
    total = unexplained = active = 0.0
    for chunk in chunks:
        x = torch.from_numpy(rows[chunk])
        acts = sae.encode(x)
        total += (x - torch.from_numpy(mean)).square().sum().item()
        unexplained += (x - sae.decode(acts)).double().square().sum().item()
        active += (acts > 0).sum().item()
        fired |= (acts > 0).any(0)
    return {"fvu": unexplained / total, "l0": active / len(ids), "dead": 1 - fired.double().mean().item()}
