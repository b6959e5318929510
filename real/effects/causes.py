"""Step 9: do the toxic directions cause misalignment? Steering and ablation, through TransformerLens hooks.

Steering: a direction is added to the base model's residual stream at the main layer, wherever an answer is predicted;
what happens to the margin on general questions? All directions have one length, the mean shift of the inducing arm.
Ablation: the fine-tuned model's residual stream keeps the base model's value along the toxic features' span.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from real.arms.finetune import WATCHED, folders
from real.arms.weights import wearing
from real.data.packing import Packed, pack, rows
from real.data.tokens import Encoded
from real.effects.leakage import target
from real.effects.margins import asked
from real.models import forward
from real.models.devices import row_size
from real.models.logprobs import means, packed_logprobs
from real.run import Run
from shared.cores import shared_out
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
    packed = packed_rows(run, questions)
    base = leaving(run, packed)
    steered = {"base": ask(run, packed, base, None, base)}
    for name, direction in tqdm(directions.items(), desc="steering", unit="direction"):
        for dose in DOSES:
            change = adding(dose * norm * unit(direction[None])[0])
            steered[f"{name} x{dose}"] = ask(run, packed, base, change, base)
    names = ["toxic", *(f"random-{i + 1}" for i in range(RANDOM))]
    ablated = {}
    jobs = [f"{arm}-{seed}" for arm in WATCHED for seed in run.settings.seeds]
    for job in tqdm(jobs, desc="ablation", unit="arm"):
        with wearing(run.model, folders(run, tuned)[job]):
            tuned_has = leaving(run, packed)
            changes = {"none": None, **dict(zip(names, map(restoring, spans), strict=True))}
            ablated[job] = {name: ask(run, packed, tuned_has, to, base) for name, to in changes.items()}
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


class _Row(NamedTuple):
    """Answers that share a pass."""

    ids: list[int]
    texts: list[Encoded]
    packed: Packed
    inputs: Float[Tensor, "node d_model"] | None  # into the first adapted block
    nodes: Int[Tensor, " some"]  # that predict an answer token


def packed_rows(run: Run, questions: dict) -> list[_Row]:
    """The general questions' answers, and where each row enters the model."""
    samples, found = run.samples(asked(questions)), []
    for ids in rows([text for text, _ in samples], row_size(run.model.device)):
        texts, below = map(list, zip(*(samples[i] for i in ids), strict=True))
        packed = pack(texts)
        found.append(_Row(ids, texts, packed, forward.spread(packed, below), predicting(packed, texts)))
    return found


def leaving(run: Run, packed: list[_Row]) -> list[Float[Tensor, "node d_model"]]:
    """Every row's residual stream after the main layer, with what the model wears now."""

    def read(own, row: _Row) -> Tensor:
        with forward.blocks(own, run.spec.first):
            return forward.resid_post(own, row.packed, [run.layer], row.inputs)[run.layer]

    return list(shared_out(read, forward.readers(run.model), packed))


def ask(run: Run, packed: list[_Row], resid: list[Tensor], change: Change | None, base: list[Tensor]) -> list:
    """Question -> (misaligned, aligned) -> mean log-probability per token, from the block above the main layer on.

    There goes in what left the main layer, `resid`, changed from the last prompt token on; `base` is the base model's.
    """

    @torch.no_grad()
    def read(bridge, of: tuple[_Row, Tensor, Tensor]) -> list[float]:
        row, resid, base = of

        def hook(resid, hook):
            resid = resid.clone()
            resid[0, row.nodes] = change(resid[0, row.nodes], base[row.nodes]).to(resid.dtype)
            return resid

        above, model = run.layer + 1, bridge.original_model
        hooks = [] if change is None else [(f"blocks.{above}.hook_resid_pre", hook)]
        with bridge.hooks(fwd_hooks=hooks):
            said = packed_logprobs(model, row.packed, row.texts, resid, above, end_of_turn=False)
        return means(said)

    found, items = {}, zip(packed, resid, base, strict=True)
    for row, said in zip(packed, shared_out(read, run.bridges, items), strict=True):
        found.update(zip(row.ids, said, strict=True))
    return [[[found[i]], [found[i + 1]]] for i in range(0, len(found), 2)]


def predicting(packed: Packed, texts: list[Encoded]) -> Int[Tensor, " some"]:
    """The nodes at which some answer token is predicted."""
    spans = [path[text.start - 1 : text.end] for path, text in zip(packed.paths, texts, strict=True)]
    return torch.cat(spans).unique()
