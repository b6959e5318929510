"""Does a learned dictionary know the true geometry? An SAE on the toy's hidden layer: the licence for `real/`.

In a toy the features' directions are known, so that leakage predicted by a dictionary can be set against the true one:

1. a toy with N features in d_hidden dimensions is trained; the fewer dimensions, the more superposition
2. a BatchTopK SAE with N latents is trained on its hidden states h = x W, and sees nothing else
3. feature i's latent is the one whose activation correlates most with "i is on", as `real/` finds its features
4. predicted leakage: cosines of the latents' rows of W_dec; true leakage: one real SGD step on h

The control is the same dictionary before training: in a crowded space whatever fires with a feature points its way, so
that to pick latents is to know something. An error in a direction is an error squared in the cosine of two: directions
found at cosine c to the truth, errors independent, keep c^2 of what leaks between them. Only features that the toy
represents (|W_i| > 1/2) count.

python -m toy.saes [FOLDER] prints the sweep and writes FOLDER/saes.json and saes.png (results/toy); a few minutes.
SAEs are made by shared/dictionary.py, as the real model's are.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from shared import dictionary, leakage, records
from shared.cores import one_thread
from shared.geometry import cosine
from shared.selection import point_biserial
from shared.stats import Estimate, over_seeds
from toy import figures
from toy.command import command, ready, writing
from toy.measure import off_diagonal, state_leakage
from toy.model import ToySettings, represented, sample_batch, train

N = 40
WIDTHS = (40, 20, 13, 10, 8)  # d_hidden; in fewer a toy leaves features out, and no more of them share a dimension
PROBABILITY = 0.05  # of a feature; two are on in a sample, on average
K = 2  # latents on in a sample, on average: the SAE is told
SEEDS = 5
STEPS, BATCH, LR = 2000, 512, 3e-3
HELD = 8192  # fresh samples, which choose the latents and measure quality


def sweep(widths: tuple[int, ...] = WIDTHS, seeds: int = SEEDS, steps: int = STEPS) -> dict[int, dict]:
    """Width -> what the dictionary is worth there, trained and not, with intervals over `seeds` toys."""
    found = {}
    for width in tqdm(widths, desc="dictionaries", unit="width", disable=None, leave=False):
        settings = ToySettings(seeds, N, width, PROBABILITY, batch_size=1024, steps=1000)
        W = train(settings).W
        one = [licence(W[seed], seed, steps) for seed in range(seeds)]
        found[width] = {
            "per_dimension": over_seeds([o["per_dimension"] for o in one]),
            **{
                kind: {name: over_seeds([o[kind][name] for o in one]) for name in one[0][kind]}
                for kind in ("trained", "untrained")
            },
        }
    return found


@one_thread()
def licence(W: Float[Tensor, "feature d_hidden"], seed: int, steps: int = STEPS) -> dict:
    """One toy: the features that share a dimension, and how well its SAE's geometry predicts their leakage.

    Before and after training; only of features that the toy represents.
    """
    draws = _samples(W, HELD, seed + 1)
    x = next(draws)
    there = represented(W).nonzero()[:, 0]
    found = {"per_dimension": len(there) / W.shape[1]}
    for kind, sae in zip(("untrained", "trained"), dictionaries(W, seed, steps), strict=True):
        with torch.no_grad():
            acts = sae.encode(x @ W)
            error = (sae.decode(acts) - x @ W).square().sum() / (x @ W).square().sum()
        found[kind] = {**agreement(W[there], sae.W_dec[latents(acts, x)[there]]), "fvu": error.item()}
    return found


def agreement(W: Float[Tensor, "feature d_hidden"], D: Float[Tensor, "feature d_hidden"]) -> dict:
    """Leakage between features by the dictionary's cosines, against one real step; how near the directions are."""
    measured = off_diagonal([state_leakage(W.double(), "sgd")])
    fit = leakage.law(off_diagonal([cosine(D, D)]), measured)
    return {"r2": fit.r2, "slope": fit.slope, "cosine": cosine(W, D).diagonal().mean().item()}


def latents(acts: Float[Tensor, "sample latent"], x: Float[Tensor, "sample feature"]) -> Int[Tensor, " feature"]:
    """For each feature the latent that goes most with it, as `real/` selects; nothing here knows a direction."""
    return torch.stack([point_biserial([(acts, on)]).r.argmax() for on in (x > 0).T])


def dictionaries(W: Float[Tensor, "feature d_hidden"], seed: int, steps: int):
    """The SAE before and after training on h = x W, by the recipe of the real model's."""
    hidden = ((x @ W).numpy() for x in _samples(W, BATCH, seed))
    return dictionary.train(hidden, next(hidden), dictionary.Recipe(N, K, steps, LR, BATCH), seed)


def _samples(
    W: Float[Tensor, "feature d_hidden"], batch_size: int, seed: int
) -> Iterator[Float[Tensor, "sample feature"]]:
    settings = ToySettings(1, *W.shape, PROBABILITY, batch_size=batch_size)
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield sample_batch(settings, generator)[0]


def main(argv: list[str]) -> int:
    """The exit status."""
    return command(argv, "toy.saes", "results/toy", show)


def show(out: Path) -> None:
    """Runs the sweep, prints it and writes it."""
    ready(out)
    found = sweep()
    print(table(found))
    with writing(out):
        figures.save(figures.dictionary_figure(found), out / "saes.png")
        records.write_json(out / "saes.json", records.rounded(found))


def table(found: dict[int, dict]) -> str:
    """The sweep for a terminal."""
    lines = [
        f"{N} features, {SEEDS} toys for each width; R2 of the dictionary's cosines against true leakage",
        f"{'d_hidden':>8} {'per dimension':>14}   {'R2, trained':24}{'untrained':24}"
        f"{'cosine to the truth':24}{'untrained':24}FVU",
    ]
    for width, at in found.items():
        trained, untrained = at["trained"], at["untrained"]
        cells = "".join(f"{_text(one[what]):24}" for what in ("r2", "cosine") for one in (trained, untrained))
        lines.append(f"{width:8} {at['per_dimension'].value:14.2f}   {cells}{trained['fvu'].value:.3f}")
    return "\n".join(lines)


def _text(e: Estimate) -> str:
    return f"{e.value:+.2f} [{e.low:+.2f}, {e.high:+.2f}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
