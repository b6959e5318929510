"""Step 9: do the toxic directions cause misalignment? Steering and ablation, through TransformerLens hooks.

Steering: a direction is added to the base model's residual stream at the main layer, wherever an answer is predicted;
what happens to the margin on general questions? All directions have one length, the mean shift of the inducing arm.
Ablation: the fine-tuned model's residual stream keeps the base model's value along the toxic features' span.
"""

from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from real import models
from real.devices import row_size
from real.evaluate import asked
from real.finetune import WATCHED, folders
from real.logprobs import mean_logprobs
from real.run import Run
from real.spill import target
from real.tokens import pack, rows
from real.weights import wearing
from shared.geometry import matched, unit

DOSES = (1, 2)  # times the fine-tune's own shift
RANDOM = 4  # random directions, and random spans


def causes(run: Run, selected: dict, tuned: dict, moved: dict) -> dict:
    """Log-probabilities of one answer of each kind to every general question, under every intervention."""
    W_dec, features = run.sae(run.layer).W_dec.detach(), selected[str(run.layer)]
    found, k = features["domains"][run.corpus.trained], run.settings.top_k
    toxic, inducing, control = (
        torch.tensor(ids[:k]) for ids in (features["toxic"], found["inducing"], found["control"])
    )
    rng, rate = np.random.default_rng(0), torch.tensor(found["firing_rate"])
    spans = [span(W_dec[ids]) for ids in [toxic, *torch.from_numpy(matched(toxic, toxic, rate, RANDOM, rng))]]
    whole, inside = target(W_dec, inducing), spans[0] @ target(W_dec, inducing)
    directions = {
        "inducing": whole,
        "toxic part": inside,
        "rest": whole - inside,
        "control": target(W_dec, control),
        **{
            f"random-{i + 1}": target(W_dec, ids)
            for i, ids in enumerate(torch.from_numpy(matched(inducing, toxic, rate, RANDOM, rng)))
        },
    }
    norm = moved["norm"]
    questions = {"general": [tuple(side[:1] for side in sides) for sides in run.questions["general"]]}
    ask = _Asking(run, questions)
    steered = {"base": ask(None)}
    for name, direction in tqdm(directions.items(), desc="steering", unit="direction"):
        for dose in DOSES:
            steered[f"{name} x{dose}"] = ask(adding(dose * norm * unit(direction[None])[0]))
    names = ["toxic", *(f"random-{i + 1}" for i in range(RANDOM))]
    ablated = {}
    jobs = [f"{arm}-{seed}" for arm in WATCHED for seed in run.settings.seeds]
    for job in tqdm(jobs, desc="ablation", unit="arm"):
        with wearing(run.model, folders(run, tuned)[job]):
            ablated[job] = {"none": ask(None)}
            for name, P in zip(names, spans, strict=True):
                ablated[job][name] = ask(restoring(P))
    shares = [(P @ whole).square().sum().item() / whole.square().sum().item() for P in spans]
    return {
        "norm": norm,
        "steered": steered,
        "ablated": ablated,
        "share_toxic": shares[0],
        "share_random": shares[1:],
    }


def span(directions: Float[Tensor, "k d"]) -> Float[Tensor, "d d"]:
    """The orthogonal projection onto the span of some directions."""
    _, sizes, basis = torch.linalg.svd(directions, full_matrices=False)
    basis = basis[sizes > 1e-5 * sizes[0]]
    return basis.T @ basis


Change = Callable[[Float[Tensor, "node d"], Float[Tensor, "node d"]], Float[Tensor, "node d"]]


def adding(vector: Float[Tensor, " d"]) -> Change:
    """The residual stream plus a vector."""
    return lambda resid, base: resid + vector.to(resid.device)


def restoring(P: Float[Tensor, "d d"]) -> Change:
    """The residual stream with the base model's coordinates in the span that `P` projects onto."""
    return lambda resid, base: resid - (resid - base) @ P.to(resid.device)


class _Asking:
    """Reads answers with the main layer's residual stream changed from the last prompt token on.

    What the base model has there is read once; so make this while no adapter is worn.
    """

    def __init__(self, run: Run, questions: dict):
        self.run, self.samples = run, run.samples(asked(questions))
        self.questions = len(questions["general"])
        self.packed = {}
        for ids in rows([text for text, _ in self.samples], row_size(run.model.device)):  # as mean_logprobs
            samples = [self.samples[i] for i in ids]
            packed = pack([text for text, _ in samples])
            inputs = models.spread(packed, [below for _, below in samples])
            with models.blocks(run.model, run.spec.first):
                base = models.resid_post(run.model, packed, [run.layer], inputs)[run.layer]
            self.packed[tuple(ids)] = predicting(packed, samples), base

    def __call__(self, change: Change | None) -> list:
        """Question -> (misaligned, aligned) -> mean log-probability per token."""

        @contextmanager
        def changed(ids: list[int]):
            nodes, base = self.packed[tuple(ids)]

            def hook(resid, hook):
                resid = resid.clone()
                resid[0, nodes] = change(resid[0, nodes], base[nodes]).to(resid.dtype)
                return resid

            hooks = [] if change is None else [(models.hook_name(self.run.layer), hook)]
            with self.run.bridge.hooks(fwd_hooks=hooks):
                yield

        model = self.run.bridge.original_model
        flat = iter(mean_logprobs(model, self.samples, self.run.spec.first, changed))
        return [[[next(flat)], [next(flat)]] for _ in range(self.questions)]


def predicting(packed, samples: list) -> Int[Tensor, " some"]:
    """The nodes at which some answer token is predicted."""
    spans = [path[text.start - 1 : text.end] for path, (text, _) in zip(packed.paths, samples, strict=True)]
    return torch.cat(spans).unique()
