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

from real.arms.arm import Job
from real.arms.finetune import Tuned, folders
from real.arms.weights import wearing
from real.data.packing import Packed, pack, rows
from real.data.texts import Sides
from real.data.tokens import Encoded
from real.effects.leakage import target
from real.effects.margins import Logprobs
from real.features.reading import Reading
from real.features.selection import Selected, sets
from real.models import forward
from real.models.devices import row_size
from real.models.logprobs import means, packed_logprobs
from shared.cores import shared_out
from shared.geometry import matched, unit
from shared.records import Part, Record

DOSES = (1, 2)  # times the fine-tune's own shift
RANDOM = 4  # random directions, and random spans


class Ablated(Part):
    job: Job
    general: dict[str, Logprobs]  # by what is set back: "none", "toxic", "random-1", ...


class Caused(Record):
    """Step 9. Log-probabilities of one answer of each kind to every general question, under every intervention."""

    norm: float
    base: Logprobs
    steered: dict[str, dict[int, Logprobs]]  # direction -> dose
    random: dict[int, list[Logprobs]]  # dose -> of random directions
    ablated: list[Ablated]
    share_toxic: float  # of the inducing direction's squared length, in the toxic span
    share_random: list[float]


def causes(reading: Reading, selected: Selected, tuned: list[Tuned], norm: float, k: int) -> Caused:
    """Step 9. `norm` is the length of the fine-tune's own shift."""
    W_dec, layer = reading.sae(reading.layer).W_dec.detach(), selected.layers[reading.layer]
    trained = reading.texts.corpus.trained
    chosen, rate = sets(layer, trained, k), torch.tensor(layer.domains[trained].firing_rate)
    toxic, rng = chosen["toxic"], np.random.default_rng(0)
    random = torch.from_numpy(matched(toxic, toxic, rate, RANDOM, rng))
    spans = [span(W_dec[ids]) for ids in [toxic, *random]]
    whole = target(W_dec, chosen["inducing"])
    inside = spans[0] @ whole
    directions = {
        "inducing": whole,
        "toxic part": inside,
        "rest": whole - inside,
        "control": target(W_dec, chosen["control"]),
    }
    random = torch.from_numpy(matched(chosen["inducing"], toxic, rate, RANDOM, rng))
    packed = packed_rows(reading, reading.texts.asked["general"])
    base = leaving(reading, packed)

    def steer(direction: Float[Tensor, " d"], dose: int) -> Logprobs:
        change = adding(dose * norm * unit(direction[None])[0])
        return ask(reading, packed, base, change, base)

    ablated = []
    for job, folder in tqdm(folders(reading, tuned)[1:], desc="ablation", unit="arm"):
        with wearing(reading.lm.model, folder):
            after = leaving(reading, packed)
            names = ["toxic", *(f"random-{i + 1}" for i in range(RANDOM))]
            changes = {"none": None, **dict(zip(names, map(restoring, spans), strict=True))}
            found = {name: ask(reading, packed, after, to, base) for name, to in changes.items()}
            ablated.append(Ablated(job=job, general=found))
    shares = [(P @ whole).square().sum().item() / whole.square().sum().item() for P in spans]
    return Caused(
        norm=norm,
        base=ask(reading, packed, base, None, base),
        steered={
            name: {dose: steer(direction, dose) for dose in DOSES}
            for name, direction in tqdm(directions.items(), desc="steering", unit="direction")
        },
        random={dose: [steer(target(W_dec, ids), dose) for ids in random] for dose in DOSES},
        ablated=ablated,
        share_toxic=shares[0],
        share_random=shares[1:],
    )


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


def packed_rows(reading: Reading, questions: list[Sides]) -> list[_Row]:
    """One answer of each kind to every question, and where each row enters the model."""
    samples, found = reading.samples([side[0] for sides in questions for side in sides]), []
    for ids in rows([text for text, _ in samples], row_size(reading.lm.model.device)):
        texts, below = map(list, zip(*(samples[i] for i in ids), strict=True))
        packed = pack(texts)
        found.append(_Row(ids, texts, packed, forward.spread(packed, below), predicting(packed, texts)))
    return found


def leaving(reading: Reading, packed: list[_Row]) -> list[Float[Tensor, "node d_model"]]:
    """Every row's residual stream after the main layer, with what the model wears now."""

    def read(own, row: _Row) -> Tensor:
        with forward.blocks(own, reading.lm.spec.first):
            return forward.resid_post(own, row.packed, [reading.layer], row.inputs)[reading.layer]

    return list(shared_out(read, forward.readers(reading.lm.model), packed))


def ask(
    reading: Reading, packed: list[_Row], resid: list[Tensor], change: Change | None, base: list[Tensor]
) -> Logprobs:
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

        above, model = reading.layer + 1, bridge.original_model
        hooks = [] if change is None else [(f"blocks.{above}.hook_resid_pre", hook)]
        with bridge.hooks(fwd_hooks=hooks):
            said = packed_logprobs(model, row.packed, row.texts, resid, above, end_of_turn=False)
        return means(said)

    found, items = {}, zip(packed, resid, base, strict=True)
    for row, said in zip(packed, shared_out(read, reading.lm.bridges, items), strict=True):
        found.update(zip(row.ids, said, strict=True))
    return [([found[i]], [found[i + 1]]) for i in range(0, len(found), 2)]


def predicting(packed: Packed, texts: list[Encoded]) -> Int[Tensor, " some"]:
    """The nodes at which some answer token is predicted."""
    spans = [path[text.start - 1 : text.end] for path, text in zip(packed.paths, texts, strict=True)]
    return torch.cat(spans).unique()
