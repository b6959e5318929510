"""Steps 2 to 4: the dictionary, which of its features tell bad advice and toxic text, and how they lie."""

import torch
from jaxtyping import Int
from torch import Tensor

from real import saes
from real.activations import pooled
from real.models import hook_name
from real.run import Run
from shared import geometry
from shared.filtering import geometry_score
from shared.records import folder
from shared.selection import Correlation, point_biserial, score, top_k
from shared.stats import Estimate, auroc_interval


def train_sae(run: Run) -> dict:
    """Step 2. Trained on the texts that are not held out, judged on those that are."""
    held = [name for name in run.texts if name not in set(run.trained_texts)]
    rows = run.answer_rows(run.trained_texts)
    if not run.sae_folder.exists():
        sae = saes.train(rows.numpy(), hook_name(run.spec.layer), seed=0)
        with folder(run.sae_folder) as unfinished:
            sae.save_inference_model(unfinished)
    quality = saes.quality(run.sae, run.answer_rows(held))
    return {"d_sae": run.sae.W_dec.shape[0], "tokens": len(rows), **quality}


def select(run: Run) -> dict:
    """Step 3. Top-k inducing, control and toxic features, chosen on training rows and scored on held-out ones."""
    k, corpus = run.settings.top_k, run.corpus
    about_toxic = _correlation(run, corpus.toxic.train, ("toxic", "civil"))
    toxic = top_k(about_toxic.r, k)
    domains = {}
    for domain, split in corpus.advice.items():
        about = _correlation(run, split.train, ("incorrect", "correct"))
        sets = {"inducing": top_k(about.r, k), "control": top_k(-about.r, k)}
        domains[domain] = {
            **{name: ids.tolist() for name, ids in sets.items()},
            "auroc": {
                "inducing": _held_auroc(run, split.held, ("incorrect", "correct"), sets["inducing"], about),
                "control": _held_auroc(run, split.held, ("correct", "incorrect"), sets["control"], about),
            },
            "firing_rate": about.firing_rate,
        }
    return {
        "toxic": toxic.tolist(),
        "toxic_auroc": _held_auroc(run, corpus.toxic.held, ("toxic", "civil"), toxic, about_toxic),
        "domains": domains,
        "geometry_score": _geometry_scores(run, toxic),
    }


def place(run: Run, selected: dict) -> dict:
    """Step 4. The gap of every domain, with both nulls."""
    toxic = torch.tensor(selected["toxic"])
    gaps = {}
    for domain, found in selected["domains"].items():
        inducing, control = (torch.tensor(found[name]) for name in ("inducing", "control"))
        rate = torch.tensor(found["firing_rate"])
        gaps[domain] = geometry.gap(run.sae.W_dec.detach(), inducing, control, toxic, rate)
    return {str(run.spec.layer): gaps}


def _names(rows: list, kinds: tuple[str, str]) -> list[str]:
    return [f"{row.id}/{kind}" for row in rows for kind in kinds]


def _batches(run: Run, rows: list, kinds: tuple[str, str]):
    """(pooled feature_acts, labels), the first of `kinds` being True."""
    names = _names(rows, kinds)
    at = 0
    for acts in pooled(run.sae, run.activations, run.indices(names)):
        yield acts, torch.tensor([name.endswith("/" + kinds[0]) for name in names[at : at + len(acts)]])
        at += len(acts)


def _correlation(run: Run, rows: list, kinds: tuple[str, str]) -> Correlation:
    return point_biserial(_batches(run, rows, kinds))


def _held_auroc(
    run: Run, rows: list, kinds: tuple[str, str], ids: Int[Tensor, " k"], about: Correlation
) -> Estimate:
    scored = [(score(acts, ids, about), labels) for acts, labels in _batches(run, rows, kinds)]
    scores, labels = (torch.cat(column) for column in zip(*scored, strict=True))
    return auroc_interval(scores, labels)


def _geometry_scores(run: Run, toxic: Int[Tensor, " k"]) -> dict[str, float]:
    """Filter score of every answer that the arms may be trained on."""
    close = geometry.affinity(run.sae.W_dec.detach(), toxic)
    rows = run.corpus.advice[run.corpus.trained].train
    names = _names(rows, ("incorrect", "correct"))
    acts = pooled(run.sae, run.activations, run.indices(names))
    return dict(zip(names, torch.cat([geometry_score(a, close) for a in acts]).tolist(), strict=True))
