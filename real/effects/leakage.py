"""Step 8: does fine-tuning move the readouts of all features as the cosine law says, and when? On neutral probes.

A probe's shift is what fine-tuning adds to the residual stream of the main layer, mean over the base model's own
greedy answer: [d_model]. Every readout's change is its product with a unit feature direction (E1).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from real.arms.finetune import WATCHED, folders
from real.arms.weights import wearing
from real.data.packing import pack, rows
from real.data.rows import ADVICE
from real.data.tokens import Encoded
from real.effects.margins import read_questions
from real.models import forward
from real.models.sampling import sample
from real.run import Run
from shared.geometry import cosine, matched, unit
from shared.leakage import law, readout_change
from shared.stats import permutation_p

NEW_TOKENS = 24
DRAWS = 500  # random targets, random feature sets
MINUS = "inducing minus control"


def leakage(run: Run, selected: dict, scored: dict, tuned: dict, evaluated: dict) -> dict:
    """The law after the last step, and along the way the readouts of the feature sets next to the margin."""
    shifts, general = _watch(run, tuned, evaluated)
    W_dec, features = run.sae(run.layer).W_dec.detach(), selected[str(run.layer)]
    found = features["domains"][run.corpus.trained]
    k, rate = run.settings.top_k, torch.tensor(found["firing_rate"])
    sets = {"toxic": features["toxic"], "inducing": found["inducing"], "control": found["control"]}
    sets = {name: torch.tensor(ids[:k]) for name, ids in sets.items()}
    live = rate > 0
    live[sets["inducing"]] = False  # they make up the target
    ids = live.nonzero()[:, 0]
    last = {arm: readout_change(W_dec, shifts[arm][:, -1]) for arm in WATCHED}
    measured = {**last, MINUS: last["inducing"] - last["control"]}
    along = [
        readout_change(W_dec, shifts["inducing"][:, at] - shifts["control"][:, at])
        for at in range(1, len(general["inducing"][0]))
    ]
    bad, good = (-torch.tensor(scored["gradient"][kind], dtype=W_dec.dtype) for kind in ADVICE)
    toward = {"inducing": bad, "control": good, MINUS: bad - good}
    null = _random_targets(W_dec, ids, k)

    def fitted(direction: Float[Tensor, " d"], moved: Float[Tensor, " feature"]) -> dict | None:
        """The law with one direction as its target; None when nothing has moved yet."""
        if not moved.any():
            return None
        found = law(cosine(W_dec[ids], direction[None])[:, 0], moved[ids])
        by_chance = _correlations(null, moved[ids])
        return {**found._asdict(), "p_target": permutation_p(abs(found.pearson), np.abs(by_chance))}

    inducing = target(W_dec, sets["inducing"])

    return {
        "laws": {arm: fitted(inducing, moved) for arm, moved in measured.items()},
        "gradient_laws": {arm: fitted(toward[arm], moved) for arm, moved in measured.items()},
        "predicted": cosine(W_dec[ids], inducing[None])[:, 0],
        "by_gradient": {arm: cosine(W_dec[ids], toward[arm][None])[:, 0] for arm in WATCHED},
        "is_toxic": torch.isin(ids, sets["toxic"]),
        "measured": {arm: moved[ids] for arm, moved in last.items()},
        "rise": {
            arm: {name: moved[i].mean().item() for name, i in {**sets, "live": ids}.items()}
            for arm, moved in last.items()
        },
        "probes": len(run.corpus.probes),
        "norm": shifts["inducing"][:, -1].norm(dim=-1).mean().item(),
        "dynamics": {
            "steps": _checkpoints(tuned),
            "general": general,
            "law": [fitted(inducing, moved) for moved in along],
            **_rises(W_dec, shifts, sets, rate),
        },
    }


def target(W_dec: Float[Tensor, "feature d"], ids: Int[Tensor, " k"]) -> Float[Tensor, " d"]:
    """Mean of the unit directions of a set of features."""
    return unit(W_dec[ids]).mean(0)


def _checkpoints(tuned: dict) -> list[int]:
    """Optimiser steps at which the watched arms are read, 0 being the base model."""
    arm = next(arm for job, arm in tuned["arms"].items() if job.startswith("inducing-"))
    return [0, *arm["checkpoints"], arm["steps"]]


def _watch(run: Run, tuned: dict, evaluated: dict) -> tuple[dict[str, Tensor], dict[str, list]]:
    """Arm -> shifts [seed checkpoint probe d_model] and -> seed -> checkpoint -> general log-probabilities."""
    answers = sample(run.model, run.tokenizer, run.corpus.probes, NEW_TOKENS, temperature=0)
    probes = list(_packed(run, run.encode(list(zip(run.corpus.probes, answers, strict=True)))))
    off = _read(run, probes)
    shifts, general = {}, {}
    for arm in WATCHED:
        shifts[arm], general[arm] = [], []
        for seed in run.settings.seeds:
            record = tuned["arms"][f"{arm}-{seed}"]
            last = folders(run, tuned)[f"{arm}-{seed}"]
            on, said = [torch.zeros_like(off)], [evaluated["arms"]["base"]["logprobs"]["general"]]
            for folder in [*(last / f"step-{n}" for n in record["checkpoints"]), last]:
                with wearing(run.model, folder):
                    on.append(_read(run, probes) - off)
                    said.append(_general(run, folder, last, evaluated["arms"][f"{arm}-{seed}"]))
            shifts[arm].append(torch.stack(on))
            general[arm].append(said)
    return {arm: torch.stack(read) for arm, read in shifts.items()}, general


def _general(run: Run, folder: Path, last: Path, evaluated: dict) -> list:
    """Log-probabilities of the general answers; step 7 has read the last checkpoint already."""
    if folder == last:
        return evaluated["logprobs"]["general"]
    return read_questions(run, {"general": run.questions["general"]})["general"]


def _packed(run: Run, texts: list[Encoded]) -> Iterator[tuple]:
    """Packed rows of the texts, and what goes into the first adapted block at each."""
    for ids in rows(texts):
        packed = pack([texts[i] for i in ids])
        yield ids, [texts[i] for i in ids], packed, forward.below(run.model, packed, run.spec.first)


def _read(run: Run, probes: list[tuple]) -> Float[Tensor, "probe d_model"]:
    """Residual stream of the main layer, mean over every probe's answer."""
    means = {}
    for ids, texts, packed, inputs in probes:
        with forward.blocks(run.model, run.spec.first):
            resid = forward.resid_post(run.model, packed, [run.layer], inputs)[run.layer].cpu()
        for i, text, path in zip(ids, texts, packed.paths, strict=True):
            said = path[text.start : max(text.end, text.start + 1)]  # of an empty answer its end of turn
            means[i] = resid[said].mean(0)
    return torch.stack([means[i] for i in range(len(means))])


def _random_targets(
    W_dec: Float[Tensor, "feature d"], live: Int[Tensor, " live"], k: int
) -> Float[Tensor, "draw live"]:
    """Cosine of every live feature to the mean of k random live ones: is the target special?"""
    generator = torch.Generator().manual_seed(0)
    picks = [live[torch.randperm(len(live), generator=generator)[:k]] for _ in range(DRAWS)]
    return cosine(torch.stack([target(W_dec, ids) for ids in picks]), W_dec[live])


def _correlations(null: Float[Tensor, "draw live"], measured: Float[Tensor, " live"]) -> np.ndarray:
    return torch.corrcoef(torch.cat([null.double(), measured[None].double()]))[-1, :-1].numpy()


def _rises(W_dec: Tensor, shifts: dict[str, Tensor], sets: dict[str, Tensor], rate: Tensor) -> dict:
    """Arm -> set -> checkpoint -> probe: mean change of the set's readouts (mean over seeds); and of random sets.

    Random sets fire as often as the toxic features do.
    """
    directions = {name: target(W_dec, ids) for name, ids in sets.items()}
    picks = matched(sets["toxic"], sets["toxic"], rate, DRAWS, np.random.default_rng(0))
    random = torch.stack([target(W_dec, ids) for ids in torch.from_numpy(picks)])
    over_seeds = {arm: moved.mean(0) for arm, moved in shifts.items()}
    return {
        "rise": {
            arm: {name: moved @ direction for name, direction in directions.items()}
            for arm, moved in over_seeds.items()
        },
        "random": {arm: moved.mean(1) @ random.T for arm, moved in over_seeds.items()},
    }
