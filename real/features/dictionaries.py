"""Sparse autoencoders: published ones, or trained with SAELens on the run's own answer activations. Alone imports it.

`W_dec [d_sae, d_model]`: rows are features, as in the toy's `W`.
"""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from real.data.hub import fetching
from real.models.forward import hook_name
from shared.errors import InputError

EXPANSION = 4  # d_sae = 4 d_model: the run's own texts hold tens of thousands of tokens, not billions
K = 32  # features active per token, on average over a batch
DRAWS = 100_000  # activations seen in training, with repetition
PEEK = 20_000  # of them, to measure mean and scale
BATCH = 512
LR = 1e-3


def train(rows: Float[np.ndarray, "token d_model"], ids: Int[np.ndarray, " some"], hook: str, seed: int):
    """A BatchTopK SAE (Bussmann et al. 2024) on the rows `ids`, drawn in shuffled passes; returned ready to save.

    `rows` may stay on disk: a batch is read when it is drawn.
    """
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, SAETrainer
    from sae_lens.config import SAETrainerConfig

    torch.manual_seed(seed)
    d_model = rows.shape[1]
    peek = rows[np.sort(np.random.default_rng(seed).permutation(ids)[:PEEK])]
    mean = peek.mean(0)
    scale = float(np.linalg.norm(peek - mean, axis=1).mean() / d_model**0.5)  # to unit variance, about
    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=d_model, d_sae=EXPANSION * d_model, k=K))
    sae.cfg.metadata.hook_name = hook
    with torch.no_grad():
        sae.b_dec.copy_(torch.from_numpy(mean / scale))  # the mean is not worth a feature
    steps = DRAWS // BATCH
    config = SAETrainerConfig(
        total_training_samples=steps * BATCH,
        train_batch_size_samples=BATCH,
        lr=LR,
        lr_end=LR / 10,
        lr_warm_up_steps=steps // 20,
        lr_decay_steps=steps // 5,
        dead_feature_window=steps // 5,
    )
    sae = SAETrainer(config, sae, _shuffled(rows, ids, scale, seed)).fit()
    sae.fold_activation_norm_scaling_factor(1 / scale)
    return sae


def _shuffled(rows: np.ndarray, ids: np.ndarray, scale: float, seed: int):
    """Batches without end: pass after pass over the rows `ids`, each in a new order, divided by `scale`."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(ids)
        for at in range(0, len(order) - BATCH + 1, BATCH):
            yield torch.from_numpy(rows[np.sort(order[at : at + BATCH])] / scale)


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

    release, _, pattern = name.partition(":")
    sae_id = pattern.format(layer=layer)
    with fetching(f"SAE={release}:{sae_id}"), _shapes_from_the_file():
        sae = SAE.from_pretrained(release, sae_id, device="cpu", dtype="float32")
    hook, d_in = sae.cfg.metadata.hook_name, sae.cfg.d_in
    if d_in != d_model:
        raise InputError(f"SAE={release}:{sae_id} reads {d_in} dimensions, the model has {d_model}")
    if hook != hook_name(layer):
        raise InputError(f"SAE={release}:{sae_id} was trained at {hook}, not at {hook_name(layer)}")
    return sae


@contextmanager
def _shapes_from_the_file():
    """SAELens asks the hub for a Gemma Scope 2 file's shapes even when it has the file: then offline nothing loads."""
    from huggingface_hub import hf_hub_download
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from safetensors import safe_open

    def shapes(repo_id: str, filename: str) -> dict[str, list[int]]:
        with safe_open(hf_hub_download(repo_id, filename), "pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 not a dict

    asked = loaders.get_safetensors_tensor_shapes
    loaders.get_safetensors_tensor_shapes = shapes
    try:
        yield
    finally:
        loaders.get_safetensors_tensor_shapes = asked


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
