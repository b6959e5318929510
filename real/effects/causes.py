"""Step 9: do the toxic directions cause misalignment? Steering and ablation of the residual stream.

Steering: a direction is added to the base model's residual stream at the main layer, or taken from it, wherever an
answer is predicted; what happens to the margin on general questions? All have one length, the mean shift of the
inducing arm. Ablation: the fine-tuned model's shift from the base model's residual stream, there, loses its part in the
toxic features' span, or has it twice. Beside it the floor, nothing changed, and the ceiling, all of the shift lost.
"""

from collections.abc import Callable
from functools import partial

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
from real.effects.margins import Logprobs, asked, by_question, first
from real.effects.readouts import Row, leaving
from real.features.reading import Reading
from real.features.selection import Selected, sets
from real.models import forward
from real.models.devices import row_size
from real.models.logprobs import means, packed_logprobs
from shared.cores import shared_out
from shared.geometry import matched, unit
from shared.records import Part, Record

DOSES = (-2, -1, 1, 2)  # times the fine-tune's own shift
RANDOM = 20  # random directions, and random spans


class Ablated(Part):
    job: Job
    general: dict[str, Logprobs]  # by what is done to the shift: "none", "toxic", ...
    random: list[Logprobs]  # of the first answers: set back in random spans


class Caused(Record):
    """Step 9. Log-probabilities of the answers to every general question, under every intervention."""

    norm: float
    base: Logprobs
    steered: dict[str, dict[int, Logprobs]]  # direction -> dose
    # of the first answers: dose 1 of random directions, every other one turned round: so they are of dose -1
    random: list[Logprobs]
    ablated: list[Ablated]
    share_toxic: float  # of the inducing direction's squared length, in the toxic span
    share_random: list[float]


def causes(reading: Reading, selected: Selected, tuned: list[Tuned], norm: float, k: int) -> Caused:
    """Step 9. `norm` is the length of the fine-tune's own shift."""
    W_dec, layer = reading.sae(reading.layer).W_dec.detach(), selected.layers[reading.layer]
    trained, questions = reading.texts.corpus.trained, reading.texts.asked["general"]
    chosen, rate = sets(layer, trained, k), torch.tensor(layer.domains[trained].firing_rate)
    toxic, rng = chosen["toxic"], np.random.default_rng(0)
    drawn = (matched(ids, toxic, rate, RANDOM, rng) for ids in (toxic, chosen["inducing"]))
    random_spans, random = map(torch.from_numpy, drawn)
    spans = [span(W_dec[ids]) for ids in [toxic, *random_spans]]
    whole = target(W_dec, chosen["inducing"])
    inside = spans[0] @ whole
    directions = {"inducing": whole, "toxic part": inside, "rest": whole - inside}
    directions["control"] = target(W_dec, chosen["control"])
    every, few = Asked(reading, questions), Asked(reading, first(questions))

    def steered(asked: Asked, direction: Float[Tensor, " d"], dose: int) -> Logprobs:
        return asked.said(asked.base, adding(dose * norm * unit(direction[None])[0]))

    ablated = []
    for job, folder in tqdm(folders(reading, tuned)[1:], desc="ablation", unit="arm"):
        with wearing(reading.lm.model, folder):
            after, after_few = every.leaving(), few.leaving()
            found = {name: every.said(after, change) for name, change in ablations(spans[0]).items()}
            by_chance = [few.said(after_few, scaling(P, 0)) for P in spans[1:]]
        ablated.append(Ablated(job=job, general=found, random=by_chance))
    shares = [(P @ whole).square().sum().item() / whole.square().sum().item() for P in spans]
    return Caused(
        norm=norm,
        base=every.said(every.base),
        steered={
            name: {dose: steered(every, direction, dose) for dose in DOSES}
            for name, direction in tqdm(directions.items(), desc="steering", unit="direction")
        },
        random=[steered(few, target(W_dec, ids), (-1) ** i) for i, ids in enumerate(random)],
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


def scaling(P: Float[Tensor, "d d"], times: int) -> Change:
    """The residual stream whose shift from the base model's is `times` as long in the span that `P` projects onto."""
    return lambda resid, base: resid + (times - 1) * ((resid - base) @ P.to(resid.device))


def ablations(toxic: Float[Tensor, "d d"]) -> dict[str, Change | None]:
    """By name; "none" is the floor, "whole" the ceiling."""
    whole = torch.eye(len(toxic), dtype=toxic.dtype)
    return {"none": None, "toxic": scaling(toxic, 0), "doubled": scaling(toxic, 2), "whole": scaling(whole, 0)}


class Asked:
    """Questions whose answers are read again and again, from the block above the main layer on."""

    def __init__(self, reading: Reading, questions: list[Sides]):
        """Packs all answers into rows that share a pass. The model must be the base model now: it leaves `base`."""
        self.reading, self.questions, self.rows = reading, questions, []
        samples = reading.samples(asked({"": questions}))
        for ids in rows([text for text, _ in samples], row_size(reading.lm.model)):
            texts, below = map(list, zip(*(samples[i] for i in ids), strict=True))
            packed = pack(texts)
            self.rows.append(Row(ids, texts, packed, forward.spread(packed, below)))
        self.readers = forward.readers(reading.lm.model)  # an arm that the model wears, these wear too
        self.base = self.leaving()

    def leaving(self) -> list[Float[Tensor, "node d_model"]]:
        """Every row's residual stream after the main layer, with what the model wears now."""
        read = partial(leaving, first=self.reading.lm.spec.first, layer=self.reading.layer)
        return list(shared_out(read, self.readers, self.rows))

    def said(self, resid: list[Float[Tensor, "node d_model"]], change: Change | None = None) -> Logprobs:
        """Question -> (misaligned, aligned) -> mean log-probability per token.

        Into the block above the main layer goes what left it, `resid`, changed from the last prompt token on.
        """

        @torch.no_grad()
        def read(model, of: tuple[Row, Tensor, Tensor]) -> list[float]:
            row, resid, base = of
            if change:
                resid, nodes = resid.clone(), predicting(row.packed, row.texts)
                resid[nodes] = change(resid[nodes], base[nodes]).to(resid.dtype)
            above = self.reading.layer + 1
            return means(packed_logprobs(model, row.packed, row.texts, resid, above, end_of_turn=False))

        found, items = {}, zip(self.rows, resid, self.base, strict=True)
        for row, said in zip(self.rows, shared_out(read, self.readers, items), strict=True):
            found.update(zip(row.ids, said, strict=True))
        return by_question((found[i] for i in range(len(found))), self.questions)


def predicting(packed: Packed, texts: list[Encoded]) -> Int[Tensor, " some"]:
    """The nodes at which some answer token is predicted."""
    spans = [path[text.start - 1 : text.end] for path, text in zip(packed.paths, texts, strict=True)]
    return torch.cat(spans).unique()
