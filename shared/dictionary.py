"""One recipe for dictionaries, in the toy and in an LLM: BatchTopK SAEs (Bussmann et al. 2024), trained by SAELens.

The toy, where the true directions are known, is the licence for the model, where they are not: so both are made here.
"""

import io
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float


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
    `W_dec [d_sae, d]`: rows are features.
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
    return before, after
