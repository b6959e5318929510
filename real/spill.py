"""Step 7: does fine-tuning move the readouts of all features as the cosine law says? On neutral probes, by layer."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from real.activations import residuals
from real.finetune import wearing
from real.run import Run
from real.sample import sample
from real.tokens import Encoded
from shared.geometry import cosine, unit
from shared.leakage import law, readout_change
from shared.stats import permutation_p

NEW_TOKENS = 24
DRAWS = 500


def leakage(run: Run, selected: dict, tuned: dict) -> dict:
    """Change of every live feature's readout (adapter on minus off), against its cosine to the target direction.

    The target is the mean inducing direction; the features that make it up are left out of the comparison.
    Readouts are taken on the base model's own greedy answers to neutral probes, the same tokens on and off.
    """
    W_dec = run.sae.W_dec.detach()
    found = selected["domains"][run.corpus.trained]
    inducing = torch.tensor(found["inducing"])
    rate = torch.tensor(found["firing_rate"])
    answers = sample(run.model, run.tokenizer, run.corpus.probes, NEW_TOKENS, temperature=0)
    probes = run.encode(list(zip(run.corpus.probes, answers, strict=True)))
    off = _read(run, probes)
    change = {}
    for arm in ("inducing", "control"):
        changes = []
        for seed in run.settings.seeds:
            with wearing(run.model, run.folder / "adapters" / tuned["arms"][f"{arm}-{seed}"]["folder"]):
                on = _read(run, probes)
            changes.append(readout_change(W_dec, on - off))
        change[arm] = torch.stack(changes).mean(0)
    live = rate > 0
    live[inducing] = False
    ids = live.nonzero()[:, 0]
    predicted = cosine(W_dec[ids], target(W_dec, inducing)[None])[:, 0]
    laws = {}
    for arm, measured in [
        *change.items(),
        ("inducing minus control", change["inducing"] - change["control"]),
    ]:
        fitted = law(predicted, measured[ids])
        null = _random_targets(W_dec, ids, len(inducing), measured[ids])
        laws[arm] = {**fitted._asdict(), "p_target": permutation_p(abs(fitted.pearson), null)}
    sets = {"toxic": selected["toxic"], "inducing": found["inducing"], "control": found["control"]}
    sets["live"] = ids.tolist()
    return {
        "laws": laws,
        "predicted": predicted,
        "is_toxic": torch.isin(ids, torch.tensor(selected["toxic"])),
        "measured": {arm: moved[ids] for arm, moved in change.items()},
        "rise": {arm: {s: moved[i].mean().item() for s, i in sets.items()} for arm, moved in change.items()},
        "probes": len(probes),
    }


def target(W_dec: Float[Tensor, "feature d"], ids: Int[Tensor, " k"]) -> Float[Tensor, " d"]:
    """Mean of the unit directions of a set of features."""
    return unit(W_dec[ids]).mean(0)


def _random_targets(
    W_dec: Float[Tensor, "feature d"], live: Int[Tensor, " live"], k: int, measured: Float[Tensor, " live"]
) -> Float[np.ndarray, " draw"]:
    """|Pearson| of the same readouts against the mean of k random live features: is the target special?"""
    generator = torch.Generator().manual_seed(0)
    picks = torch.stack([live[torch.randperm(len(live), generator=generator)[:k]] for _ in range(DRAWS)])
    targets = torch.stack([target(W_dec, ids) for ids in picks])
    against = torch.cat([cosine(W_dec[live], targets).T.double(), measured[None].double()])
    return torch.corrcoef(against)[-1, :-1].abs().numpy()


def _read(run: Run, texts: list[Encoded]) -> Float[Tensor, "token d_model"]:
    """The residual stream at all answer tokens, text after text."""
    resid = dict(residuals(run.bridge, texts, run.spec.layer, "probes"))
    return torch.cat([resid[i][text.start : text.end] for i, text in enumerate(texts)])
