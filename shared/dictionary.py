"""One recipe for dictionaries, in the toy and in an LLM: BatchTopK SAEs (Bussmann et al. 2024), trained by SAELens.

The toy, where the true directions are known, is the licence for the model, where they are not: so both are made here.
"""

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

CHUNK = 512  # rows encoded at once


class Recipe(NamedTuple):
    d_sae: int
    k: int  # features active in a sample, on average over a batch
    steps: int
    lr: float
    batch: int = 512


def train(
    batches: Iterator[Float[np.ndarray, "_ d"]], peek: Float[np.ndarray, "sample d"], recipe: Recipe, seed: int
) -> tuple[Any, Any]:
    """The SAE before and after training on `batches` of activations, both ready for use on activations as they are.

    `peek`: a sample of them, for the mean, which is not worth a feature, and the scale, to unit variance about.
    `W_dec [d_sae, d]`: rows are features. The threshold that an inference model is saved with is such that k features
    are active in a row of the peek, on average: training's own is a running mean from 0, which it has not left behind.
    """
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, SAETrainer
    from sae_lens.config import SAETrainerConfig

    torch.manual_seed(seed)
    d, mean = peek.shape[1], peek.mean(0)
    scale = float(np.linalg.norm(peek - mean, axis=1).mean() / d**0.5)
    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=d, d_sae=recipe.d_sae, k=recipe.k))
    with torch.no_grad():
        sae.b_dec.copy_(torch.from_numpy(mean / scale))
    before = deepcopy(sae)
    config = SAETrainerConfig(
        total_training_samples=recipe.steps * recipe.batch,
        train_batch_size_samples=recipe.batch,
        lr=recipe.lr,
        lr_end=recipe.lr / 10,
        lr_warm_up_steps=recipe.steps // 20,
        lr_decay_steps=recipe.steps // 5,
        dead_feature_window=recipe.steps // 5,
    )
    quiet = sys.stderr if sys.stderr.isatty() else io.StringIO()  # its progress is a line for every few steps
    with redirect_stderr(quiet):
        after = SAETrainer(config, sae, (torch.from_numpy(batch / scale) for batch in batches)).fit()
    for one in (before, after):
        one.fold_activation_norm_scaling_factor(1 / scale)
        hidden = (one.encode_with_hidden_pre(rows)[1] for rows in torch.from_numpy(peek).split(CHUNK))
        one.topk_threshold.fill_(threshold(hidden, recipe.k * len(peek)))
    return before, after


class Untrained(NamedTuple):
    """Random directions in a dictionary's place: what its features must be beyond before they mean anything."""

    W_dec: Float[Tensor, "d_sae d"]
    mean: Float[Tensor, " d"]
    threshold: float

    def encode(self, rows: Float[Tensor, "*row d"]) -> Float[Tensor, "*row d_sae"]:
        hidden = (rows - self.mean) @ self.W_dec.mT
        return hidden * (hidden > self.threshold)


def untrained(d_sae: int, rows: Float[Tensor, "row d"], l0: float, seed: int) -> Untrained:
    """As `train` starts: unit Gaussian rows, their transpose the encoder; `l0` features active in a row, on average."""
    W = torch.randn(d_sae, rows.shape[1], generator=torch.Generator().manual_seed(seed)).to(rows.dtype)
    bare = Untrained(torch.nn.functional.normalize(W, dim=-1), rows.mean(0), 0.0)
    return bare._replace(threshold=threshold(map(bare.encode, rows.split(CHUNK)), round(l0 * len(rows))))


@torch.no_grad()
def threshold(hidden: Iterable[Float[Tensor, "_ d_sae"]], active: int) -> float:
    """The value above which there are `active` entries in all chunks together; 0 if fewer are positive."""
    highest, floor = torch.zeros(0), 0.0
    for chunk in hidden:
        highest = torch.cat([highest.to(chunk), chunk[chunk > floor]])
        if len(highest) > active:
            highest = highest.topk(active + 1, sorted=False).values
            floor = highest.min().item()
    return floor
