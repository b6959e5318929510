"""Steps 2 to 4: the dictionaries, which of their features tell bad advice and toxic text, and how they lie."""

import torch
from jaxtyping import Int
from torch import Tensor

from real.data.rows import ADVICE, TOXIC
from real.features import dictionaries as saes
from real.features.activations import pooled
from real.features.gaps import KS
from real.models.forward import hook_name
from real.models.registry import TRAIN
from real.run import Run
from shared.records import folder
from shared.selection import Correlation, point_biserial, score, top_k
from shared.stats import Estimate, auroc_interval


def dictionaries(run: Run) -> dict:
    """Step 2, layer by layer. Published, or trained on the texts that are not held out; judged on those that are."""
    if run.spec.sae != TRAIN:
        for layer in run.layers:
            run.sae(layer)  # one that does not fit is refused before the model is run
    trained, held = run.answer_rows(run.trained_texts), run.answer_rows(run.held_texts)
    found = {}
    for layer in run.layers:
        rows = run.activations(layer).rows
        if run.spec.sae == TRAIN and not run.sae_folder(layer).exists():
            sae = saes.train(rows, trained, hook_name(layer), seed=0)
            with folder(run.sae_folder(layer)) as unfinished:
                sae.save_inference_model(unfinished)
        d_sae = run.sae(layer).W_dec.shape[0]
        quality = saes.quality(run.sae(layer), rows, held)
        found[str(layer)] = {"d_sae": d_sae, "tokens": len(trained), **quality}
    return found


def select(run: Run) -> dict:
    """Step 3. Layer -> inducing, control and toxic features, best first, chosen on training rows, scored on held-out.

    Each set is as large as the largest k that is read of it; AUROC is TOP_K's.
    """
    return {str(layer): _select(run, layer) for layer in run.layers}


def _select(run: Run, layer: int) -> dict:
    most, k = max(*KS, run.settings.top_k), run.settings.top_k
    toxic, about_toxic = run.corpus.toxic, _correlation(run, layer, run.corpus.toxic.train, TOXIC)
    domains = {}
    for domain, split in run.corpus.advice.items():
        about = _correlation(run, layer, split.train, ADVICE)
        ids = {"inducing": top_k(about.r, most), "control": top_k(-about.r, most)}
        labels = {"inducing": ADVICE, "control": ADVICE[::-1]}
        domains[domain] = {
            **{side: found.tolist() for side, found in ids.items()},
            "r": {side: about.r[found].tolist() for side, found in ids.items()},
            "auroc": {
                side: _held_auroc(run, layer, split.held, labels[side], found[:k], about)
                for side, found in ids.items()
            },
            "firing_rate": about.firing_rate,
        }
    ids = top_k(about_toxic.r, most)
    return {
        "toxic": ids.tolist(),
        "toxic_r": about_toxic.r[ids],
        "toxic_auroc": _held_auroc(run, layer, toxic.held, TOXIC, ids[:k], about_toxic),
        "domains": domains,
    }


def _batches(run: Run, layer: int, rows: list, kinds: tuple[str, str]):
    """(pooled feature_acts, labels), the first of `kinds` being True."""
    names = [f"{row.id}/{kind}" for row in rows for kind in kinds]
    at = 0
    for acts in pooled(run.sae(layer), run.activations(layer), run.indices(names)):
        yield acts, torch.tensor([name.endswith("/" + kinds[0]) for name in names[at : at + len(acts)]])
        at += len(acts)


def _correlation(run: Run, layer: int, rows: list, kinds: tuple[str, str]) -> Correlation:
    return point_biserial(_batches(run, layer, rows, kinds))


def _held_auroc(  # noqa: PLR0913 where, which texts, and which features
    run: Run, layer: int, rows: list, kinds: tuple[str, str], ids: Int[Tensor, " k"], about: Correlation
) -> Estimate:
    scored = [(score(acts, ids, about), labels) for acts, labels in _batches(run, layer, rows, kinds)]
    scores, labels = (torch.cat(column) for column in zip(*scored, strict=True))
    return auroc_interval(scores, labels)
