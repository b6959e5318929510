"""Step 5: how each filter scores the answers that the mixed arms train on, by shared/filtering.py."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from real.data.packing import pack, rows
from real.data.rows import ADVICE, TOXIC, Advice
from real.features.activations import pooled
from real.models import forward
from real.models.devices import row_size
from real.models.forward import Sample
from real.models.logprobs import packed_logprobs
from real.run import Run
from shared import filtering, geometry
from shared.cores import shared_out
from shared.records import digest, read_json

AWARE = ("geometry", "projection", "gradient")  # filters that know the toxic directions
DRAWS = ("random-1", "random-2", "random-3")
NAMES = (*AWARE, *DRAWS, "oracle")


def mixed(rows: list[Advice], seed: int) -> list[str]:
    """Names: each prompt once, a random half with its incorrect answer, the others with their correct one."""
    bad = np.random.default_rng(seed).permutation(len(rows)) < len(rows) // 2
    return [f"{row.id}/{ADVICE[0] if b else ADVICE[1]}" for row, b in zip(rows, bad, strict=True)]


def score(run: Run, selected: dict) -> dict:
    """`scores`: filter -> name -> score, for every sample of any seed's mixed set. `gradient`: kind -> its mean."""
    train = run.corpus.advice[run.corpus.trained].train
    names = sorted({name for seed in run.settings.seeds for name in mixed(train, seed)})
    toxic = torch.tensor(selected[str(run.layer)]["toxic"][: run.settings.top_k])
    W_dec = run.sae(run.layer).W_dec.detach()
    gradients = torch.stack(list(loss_gradients(run, names).values()))
    scores = {
        "geometry": geometry_scores(run, names, geometry.affinity(W_dec, toxic)),
        "projection": projection_scores(run, names),
        "gradient": filtering.gradient_score(gradients, W_dec[toxic]),
    }
    kinds = [name.rsplit("/", 1)[1] for name in names]
    return {
        "scores": {name: dict(zip(names, found.tolist(), strict=True)) for name, found in scores.items()},
        "gradient": {kind: gradients[torch.tensor([kind == of for of in kinds])].mean(0) for kind in ADVICE},
    }


def joined(scored: dict, harm: dict) -> dict:
    """The record of step 5 with the judge's scores as one more filter, `judge`, if there are any."""
    about = {name: value for name, value in harm.items() if name in ("unscored", "median", "failed")}
    if not harm["scores"]:
        return {**scored, "judge": about}
    return {
        **scored,
        "scores": {**scored["scores"], "judge": harm["scores"]},
        "judge": about,
        "key": digest(scored["key"], harm["key"]),
        "seconds": scored["seconds"] + harm["seconds"],
    }


def recorded(run: Run) -> dict:
    """What step 5 has found, as its files say: for a process that did not run it."""
    harm = read_json(run.folder / "5-harm.json") if run.settings.judge else {"scores": {}}
    return joined(read_json(run.folder / "5-filters.json"), harm)


def of(
    samples: list[str], scores: dict[str, dict[str, float]], seed: int
) -> dict[str, Float[Tensor, " sample"]]:
    """Filter -> one score per sample of a mixed set; the highest are removed."""
    known = {name: torch.tensor([found[sample] for sample in samples]) for name, found in scores.items()}
    draws = {name: filtering.random_score(len(samples), 1000 * i + seed) for i, name in enumerate(DRAWS)}
    oracle = filtering.oracle_score(torch.tensor([sample.endswith(ADVICE[0]) for sample in samples]))
    return {**known, **draws, "oracle": oracle}


def geometry_scores(run: Run, names: list[str], close: Float[Tensor, " d_sae"]) -> Float[Tensor, " sample"]:
    acts = pooled(run.sae(run.layer), run.activations(run.layer), run.indices(names))
    return torch.cat([filtering.geometry_score(a, close) for a in acts])


def projection_scores(run: Run, names: list[str]) -> Float[Tensor, " sample"]:
    """Along the difference of the mean toxic and the mean civil remark, those of the training split."""
    remarks = run.corpus.toxic.train
    toxic, civil = (_means(run, [f"{row.id}/{kind}" for row in remarks]).mean(0) for kind in TOXIC)
    return filtering.projection_score(_means(run, names), toxic - civil)


def _means(run: Run, names: list[str]) -> Float[Tensor, "text d_model"]:
    """Mean answer activation of each text at the main layer."""
    read = run.activations(run.layer)
    return torch.stack([read.text(i).mean(0) for i in run.indices(names)])


def loss_gradients(run: Run, names: list[str]) -> dict[str, Float[Tensor, " d_model"]]:
    """Gradient of every sample's loss (nats per token) at the residual stream of the main layer, mean over its answer.

    The g of (E1). Samples are packed apart by kind: two answers to one prompt may share tokens, these may not.
    """
    samples, groups = run.samples(names), []
    for kind in ADVICE:
        those = [i for i, name in enumerate(names) if name.endswith("/" + kind)]
        packed = rows([samples[i][0] for i in those], row_size(run.model.device))
        groups += [[those[i] for i in ids] for ids in packed]

    def read(own, ids: list[int]) -> list[Tensor]:
        return _gradients(own, [samples[i] for i in ids], run.spec.first, run.layer)

    found = {}
    with tqdm(total=len(names), desc="loss gradients", unit="text") as bar:
        for ids, gradients in zip(groups, shared_out(read, forward.readers(run.model), groups), strict=True):
            found.update(zip(ids, gradients, strict=True))
            bar.update(len(ids))
    return {name: found[i] for i, name in enumerate(names)}


def _gradients(model, samples: list[Sample], first: int, layer: int) -> list[Float[Tensor, " d_model"]]:
    texts = [text for text, _ in samples]
    packed = pack(texts)
    with forward.blocks(model, first):
        inputs = forward.spread(packed, [frozen for _, frozen in samples])
        below = forward.resid_post(model, packed, [layer], inputs)[layer].requires_grad_()
    said = packed_logprobs(model, packed, texts, below, layer + 1)
    loss = -sum(logprobs.mean() for logprobs in said)
    (gradient,) = torch.autograd.grad(loss, below)
    gradient = gradient.cpu()
    return [gradient[path[t.start : t.end]].mean(0) for path, t in zip(packed.paths, texts, strict=True)]
