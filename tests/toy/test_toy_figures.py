"""Figures show the numbers that they are given: read back from their axes."""

import torch

from shared.stats import Estimate
from toy import figures, optimiser_figures
from toy.misalignment import FILTERS, FRACTIONS


def estimates(seed: int, n: int) -> list[Estimate]:
    """Values that no two calls share, inside uneven bounds."""
    drawn = torch.rand(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return [Estimate(value, value - low, value + high, 4) for value, low, high in drawn.tolist()]


def lines(ax) -> dict[str, tuple[list, list]]:
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}


def bands(ax) -> list[set]:
    """The corners of every band, a set for each."""
    return [{tuple(corner) for corner in band.get_paths()[0].vertices.tolist()} for band in ax.collections]


def corners(x: list, found: list[Estimate]) -> set:
    return {(at, bound) for at, e in zip(x, found, strict=True) for bound in (e.low, e.high)}


def test_misalignment():
    doses = [0.0, 0.5, 1.0]
    effects = {name: dict(zip(FRACTIONS, estimates(i, 9), strict=True)) for i, name in enumerate(FILTERS)}
    others = {name: dict(zip(FRACTIONS, estimates(50 + i, 9), strict=True)) for i, name in enumerate(FILTERS)}
    crowded = {name: estimates(20 + i, 3) for i, name in enumerate(("mixed", "random", "geometry", "auroc"))}
    found = {
        "alignment": {
            a: {"effect": e, "gap": other}
            for a, e, other in zip(doses, estimates(30, 3), estimates(31, 3), strict=True)
        },
        "filters": {
            name: {"effect": effects[name], "reduction": others[name], "utility": others[name]} for name in FILTERS
        },
        "topic_alignment": {a: {name: of[i] for name, of in crowded.items()} for i, a in enumerate(doses)},
    }
    points, kinds = torch.rand(2, 6, dtype=torch.float64), {"toxic": torch.tensor([0, 1]), "control": torch.tensor([2])}
    a, b, c, d = figures.misalignment_figure(tuple(points), kinds, found).axes
    for ids, drawn in zip(kinds.values(), a.collections, strict=True):
        assert drawn.get_offsets().tolist() == points[:, ids].T.tolist()
    assert list(b.lines[0].get_ydata()) == [at["effect"].value for at in found["alignment"].values()]
    assert corners(doses, estimates(30, 3)) <= bands(b)[0]
    for name in FILTERS:
        assert lines(c)[name] == (list(FRACTIONS), [e.value for e in effects[name].values()])
    for (name, of), band in zip(effects.items(), bands(c), strict=True):
        assert corners(list(FRACTIONS), list(of.values())) <= band, name
    for name, label in (("mixed", "nothing"), ("random", "random half"), ("geometry", "geometry's half")):
        assert lines(d)[f"{label} removed"] == (doses, [e.value for e in crowded[name]])
    assert [text.get_text() for text in d.texts] == [f"{e.value:.2f}" for e in crowded["auroc"]]


def test_dictionaries():
    crowd, kinds, what = estimates(9, 3), ("trained", "untrained"), ("r2", "cosine")
    drawn = {kind: {name: estimates(10 * i + j, 3) for j, name in enumerate(what)} for i, kind in enumerate(kinds)}
    found = {
        width: {"per_dimension": crowd[i]} | {kind: {name: of[i] for name, of in drawn[kind].items()} for kind in kinds}
        for i, width in enumerate((40, 20, 10))
    }
    for name, ax in zip(what, figures.dictionary_figure(found).axes, strict=True):
        for kind in kinds:
            assert lines(ax)[f"SAE, {kind}"] == ([e.value for e in crowd], [e.value for e in drawn[kind][name]])


def test_rescaling():
    counts, shares, rules = [1, 4], [0.9, 0.5], ("sgd", "spectral", "muon")
    modes = {rule: [3.0 + i, 2.0, 1.0] for i, rule in enumerate(rules)}
    measured = {rule: dict(zip(counts, estimates(i, 2), strict=True)) for i, rule in enumerate(rules)}
    predicted = {name: {1: 0.4, 4: value} for name, value in (("gradient", 0.4), ("spectral", 0.3))}
    first = {rule: estimates(10 + i, 2) for i, rule in enumerate(rules)}
    rise = {rule: {0.1: {"effect": first[rule]}, 0.2: {"effect": estimates(9, 2)}} for rule in rules}
    ratios = {k: {kind: ratio(10 * k + i) for i, kind in enumerate(("topics", "bare"))} for k in counts}
    found = {"modes": modes, "shared": {"alpha": 0.4, "predicted": predicted, "measured": measured}}
    a, b, c, d = optimiser_figures.rescaling_figure(found, {"shares": shares, "rules": rise, "ratios": ratios}).axes
    for rule in rules:
        label = optimiser_figures.STYLE[rule][2]
        assert rule == "sgd" or lines(a)[label] == (modes["sgd"], modes[rule])
        assert lines(c)[label] == (shares, [e.value for e in first[rule]])
    assert points(b) == [(counts, [e.value for e in at.values()]) for at in measured.values()]
    ways = (("bare", "directions"), ("topics", "directions"), ("topics", "first step"))
    expected = [([ratios[k][kind][way] for k in counts], kind) for kind, way in ways]
    values = {kind: [ratios[k][kind]["measured"]["spectral"].value for k in counts] for kind in ("topics", "bare")}
    assert points(d) == [(x, values[kind]) for x, kind in expected]


def ratio(seed: int) -> dict:
    (spectral, lion), (directions, first) = estimates(seed, 2), estimates(seed + 100, 2)
    return {"directions": directions.value, "first step": first.value, "measured": {"spectral": spectral, "lion": lion}}


def points(ax) -> list[tuple[list, list]]:
    """Of what was drawn with error bars."""
    return [(list(marks.get_xdata()), list(marks.get_ydata())) for marks, *_ in ax.containers]
