"""The miniature of emergent misalignment over many worlds: dose and response, filters, crowding; with intervals."""

from dataclasses import replace
from functools import partial

from shared.cores import in_processes
from shared.geometry import affinity
from shared.stats import Estimate, over_seeds, wilson
from toy.misalignment import FILTERS, FRACTIONS, World, WorldSettings, experiment, filtered, gap, select, world

ALIGNMENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
TOPIC_ALIGNMENTS = (0.0, 0.5, 1.0, 1.5, 2.0)
PLENTY, DRAWS = 12, 99  # times as many worlds where none is fine-tuned; draws of a null there


def sweep(base: WorldSettings, worlds: int) -> dict:
    """The whole experiment, over seeds: dose and response, filters, what turns the geometry filter around."""
    if worlds < 1:
        raise ValueError(f"worlds must be at least 1, got {worlds}")
    seeds = [replace(base, seed=seed) for seed in range(worlds)]
    topics = partial(filtered, filters=("geometry", "random"), fractions=(0.5,))
    doses = {a: in_processes(experiment, [replace(s, alignment=a) for s in seeds]) for a in ALIGNMENTS}
    plain = in_processes(filtered, seeds)
    crowded = {a: in_processes(topics, [replace(s, topic_alignment=a) for s in seeds]) for a in TOPIC_ALIGNMENTS}
    return {
        "alignment": {a: responses(found) for a, found in doses.items()},
        "true_gap": {a: over_seeds([true_gap(world(replace(s, alignment=a))) for s in seeds]) for a in ALIGNMENTS},
        "nulls": {a: beyond_nulls(replace(base, alignment=a), PLENTY * worlds) for a in ALIGNMENTS[:2]},
        "filters": {name: filter_summary(plain, name, FRACTIONS) for name in FILTERS},
        "utility_unfiltered": over_seeds([one["utility"] for one in plain]),
        "topic_alignment": {a: crowding(found) for a, found in crowded.items()},
    }


def beyond_nulls(base: WorldSettings, worlds: int) -> dict[str, Estimate]:
    """Share of worlds whose gap is beyond each null, p < 0.05: with nothing planted, how often a null is wrong.

    A null of flipped labels takes them to say nothing. Here they do, and what is chosen under flipped ones is of
    another kind. One of matched features takes those to be independent.
    """

    def beyond(s: WorldSettings) -> tuple[bool, bool]:
        this = world(s)
        found = gap(this, select(this, s.n_each), DRAWS)
        return found.p < 0.05, found.p_null < 0.05

    counted = in_processes(beyond, [replace(base, seed=seed) for seed in range(worlds)])
    return {name: wilson(sum(one[i] for one in counted), worlds) for i, name in enumerate(("flips", "matched"))}


def true_gap(this: World) -> float:
    """Of the kinds as they are; (7.4) of lesson 7 says it. No interference is taken for a feature."""
    close = affinity(this.W, this.kinds["toxic"])
    return (close[this.kinds["inducing"]].mean() - close[this.kinds["control"]].mean()).item()


def responses(found: list[dict]) -> dict:
    """What `experiment` found, over worlds."""
    return {
        "effect": over_seeds([one["effect"] for one in found]),
        "gap": over_seeds([one["gap"]["gap"] for one in found]),
        "gaps_below_p_0.05": sum(one["gap"]["p"] < 0.05 for one in found),
        "r2": over_seeds([one["law"]["r2"] for one in found]),
        "precision": {name: over_seeds([one["precision"][name] for one in found]) for name in found[0]["precision"]},
    }


def crowding(found: list[dict]) -> dict:
    """What `filtered` found at half removed, over worlds. No reduction: the mixed arm's own effect crosses 0."""
    of = {name: [one["filters"][name] for one in found] for name in ("geometry", "random")}
    return {
        "auroc": over_seeds([one["auroc"] for one in of["geometry"]]),
        **{name: over_seeds([one["crowd"][name] for one in found]) for name in found[0]["crowd"]},
        "mixed": over_seeds([one["effect"] for one in found]),
        **{name: over_seeds([one["effect"][0] for one in arms]) for name, arms in of.items()},
    }


def filter_summary(found: list[dict], name: str, fractions: tuple[float, ...]) -> dict:
    """What `filtered` found of one filter, over worlds, by removed fraction."""
    whole, of = [one["effect"] for one in found], [one["filters"][name] for one in found]
    return {
        "auroc": over_seeds([one["auroc"] for one in of]),
        "effect": {f: over_seeds([one["effect"][i] for one in of]) for i, f in enumerate(fractions)},
        "reduction": {f: reduction([one["effect"][i] for one in of], whole) for i, f in enumerate(fractions)},
        "utility": {f: over_seeds([one["utility"][i] for one in of]) for i, f in enumerate(fractions)},
    }


def reduction(filtered: list[float], whole: list[float]) -> Estimate:
    """1 - mean effect of the filtered arms / mean effect of the mixed arms, over worlds."""
    return over_seeds(filtered, whole, statistic=lambda filtered, whole: 1 - filtered.mean(-1) / whole.mean(-1))
