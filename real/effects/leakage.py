"""Step 8: does fine-tuning move the readouts of all features as the cosine law says, and when? On neutral probes."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from real.arms.arm import CONTROL, INDUCING
from real.arms.finetune import Tuned
from real.data.rows import ADVICE, answers
from real.effects.margins import Logprobs
from real.effects.readouts import along
from real.features.activations import answer_means
from real.features.reading import Reading
from real.features.selection import Selected, sets
from real.filters.gradients import loss_gradients
from shared.geometry import cosine, matched, unit
from shared.leakage import law, readout_change
from shared.records import Part, Record
from shared.stats import permutation_p

DRAWS = 1000  # random targets, random feature sets
MINUS = "inducing minus control"


class Fit(Part):
    """`shared.leakage.law` with one direction as its target, and against `exchanged` ones as targets."""

    slope: float
    pearson: float
    spearman: float
    r2: float
    n: int
    p: float  # of |pearson|, two-sided, against random targets
    r_target: float  # the |pearson| that 5 % of random targets exceed


class Dynamics(Part):
    """Along the fine-tunes; 0 is the base model."""

    steps: list[int]
    general: dict[str, list[list[Logprobs]]]  # arm -> seed -> checkpoint; one answer a side
    law: list[Fit | None]  # inducing minus control, by checkpoint but the base model
    # arm -> set -> checkpoint -> seed -> probe: change of a set's mean readout, in its standard deviations over answers
    rise: dict[str, dict[str, list[list[list[float]]]]]
    random: dict[str, list[list[float]]]  # arm -> checkpoint -> random set


class Leaked(Record):
    """Step 8. `arms` are "inducing", "control" and MINUS."""

    laws: dict[str, Fit | None]  # by the mean inducing direction
    gradient_laws: dict[str, Fit | None]  # by minus the mean loss gradient
    predicted: list[float]  # cosine of every live feature to the mean inducing direction
    by_gradient: dict[str, list[float]]
    is_toxic: list[bool]
    measured: dict[str, list[float]]  # change of every live feature's readout
    rise: dict[str, dict[str, float]]  # arm -> set -> mean change
    norm: float  # mean length of the inducing arm's shift
    dynamics: Dynamics


def leakage(reading: Reading, selected: Selected, tuned: list[Tuned], k: int) -> Leaked:
    """Step 8. The law after the last step, and along the way the readouts of the feature sets next to the margin.

    The g of (E1) is the mean loss gradient of the very answers that an arm is trained on.
    """
    shifts, general = along(reading, tuned)
    between = shifts[INDUCING] - shifts[CONTROL]
    W_dec, layer = reading.sae(reading.layer).W_dec.detach(), selected.layers[reading.layer]
    trained = reading.texts.corpus.trained
    texts = answers(reading.texts.corpus.advice[trained].train, ADVICE)  # incorrect and correct, in turn
    seen = answer_means(reading.activations(reading.layer), reading.indices(texts))
    gradients = loss_gradients(reading, texts).to(W_dec.dtype)
    bad, good = -gradients[0::2].mean(0), -gradients[1::2].mean(0)
    chosen, rate = sets(layer, trained, k), torch.tensor(layer.domains[trained].firing_rate)
    live = rate > 0
    live[chosen["inducing"]] = False  # they make up the target
    live = live.nonzero()[:, 0]
    groups = {**chosen, "live": live}
    last = {arm: readout_change(W_dec, shift[:, -1]) for arm, shift in shifts.items()}
    measured = {arm: moved[live] for arm, moved in {**last, MINUS: last[INDUCING] - last[CONTROL]}.items()}

    def to(directions: Float[Tensor, "n d"]) -> Float[Tensor, "n live"]:
        return cosine(directions.to(W_dec.dtype), W_dec[live])

    by_text, by_step = to(exchanged(seen)), to(exchanged(gradients))
    inducing = to(target(W_dec, chosen["inducing"])[None])[0]
    toward = {INDUCING: bad, CONTROL: good, MINUS: bad - good}
    by_gradient = {arm: to(direction[None])[0] for arm, direction in toward.items()}
    return Leaked(
        laws={arm: fit(inducing, moved, by_text) for arm, moved in measured.items()},
        gradient_laws={arm: fit(by_gradient[arm], moved, by_step) for arm, moved in measured.items()},
        predicted=inducing.tolist(),
        by_gradient={arm: by_gradient[arm].tolist() for arm in last},
        is_toxic=torch.isin(live, chosen["toxic"]).tolist(),
        measured={arm: measured[arm].tolist() for arm in last},
        rise={arm: {name: moved[ids].mean().item() for name, ids in groups.items()} for arm, moved in last.items()},
        norm=shifts[INDUCING][:, -1].norm(dim=-1).mean().item(),
        dynamics=Dynamics(
            steps=[0, *tuned[0].checkpoints, len(tuned[0].loss)],
            general=general,
            law=[fit(inducing, readout_change(W_dec, moved)[live], by_text) for moved in between[:, 1:].unbind(1)],
            **_rises(W_dec, shifts, chosen, rate, seen),
        ),
    )


def target(W_dec: Float[Tensor, "feature d"], ids: Int[Tensor, " k"]) -> Float[Tensor, " d"]:
    """Mean of the unit directions of a set of features."""
    return unit(W_dec[ids]).mean(0)


def exchanged(of: Float[Tensor, "text d_model"]) -> Float[Tensor, "draw d_model"]:
    """Directions that know the texts but not which answers are bad: what the law's target must beat.

    `of`: something of an incorrect and of a correct answer to every prompt, in turn. A draw is the mean difference of
    the two, each prompt's turned round by a coin.
    """
    between = of[0::2] - of[1::2]
    heads = torch.randint(2, (DRAWS, len(between)), generator=torch.Generator().manual_seed(0))
    return (2 * heads - 1).to(between.dtype) @ between / len(between)


def fit(
    predicted: Float[Tensor, " live"], moved: Float[Tensor, " live"], by_chance: Float[Tensor, "draw live"]
) -> Fit | None:
    """The law, and where its r lies among those of random targets; None when nothing has moved yet."""
    if not moved.any():
        return None
    found = law(predicted, moved)
    random, own = (unit(x.double() - x.double().mean(-1, keepdim=True)) for x in (by_chance, moved[None]))
    null = (random @ own[0]).abs().numpy()  # |pearson| of each
    p = permutation_p(abs(found.pearson), null)
    return Fit(**found._asdict(), p=p, r_target=float(np.percentile(null, 95)))


def _rises(
    W_dec: Tensor, shifts: dict[str, Tensor], sets: dict[str, Tensor], rate: Tensor, seen: Float[Tensor, "text d_model"]
) -> dict:
    """`rise` and `random` of Dynamics; random sets fire as often as the toxic features do.

    Features that lie together read what moves anything more than random ones do, so each set's readout is taken in
    units of its standard deviation over texts.
    """

    def of(ids: Int[Tensor, " k"]) -> Float[Tensor, " d"]:
        direction = target(W_dec, ids)
        return direction / (seen.to(direction) @ direction).std()

    directions = {name: of(ids) for name, ids in sets.items()}
    picks = matched(sets["toxic"], sets["toxic"], rate, DRAWS, np.random.default_rng(0))
    random = torch.stack([of(ids) for ids in torch.from_numpy(picks)])
    rise = {
        arm: {name: (moved @ d).swapaxes(0, 1).tolist() for name, d in directions.items()}
        for arm, moved in shifts.items()
    }
    return {"rise": rise, "random": {arm: (moved.mean((0, 2)) @ random.T).tolist() for arm, moved in shifts.items()}}
