"""The report on a made-up summary: verdicts follow the numbers, every figure draws, the page is safe and whole."""

import copy
import re
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest

from real.report import figures, page, rules, verdicts
from real.report import text as wording

HOSTILE = '<script src="https://evil.example/x.js">alert(1)</script><img src=x onerror="alert(2)">\'"&\u202e'
LAYERS, DOMAINS = ("7", "14", "20"), ("health", "career", "legal")
FILTERS = ("geometry", "projection", "gradient", "random", "oracle")
IMAGES = ("gap", "effect", "leakage", "dynamics", "causes", "filters")
WORDS = ("nearer", "emergent", "spills", "law", "gradient", "dynamics", "steering", "ablation", "filter")


def estimate(value: float, half: float = 0.03, n: int = 40) -> dict:
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def geometry(layers: tuple, domains: tuple, ks: tuple) -> dict:
    rng = np.random.default_rng(0)

    def gap() -> dict:
        value = 0.011 + rng.normal(0, 0.002)
        at = {"gap": value, "p": 0.0005, "p_null": 0.0015, "p_holm": 0.012, "inducing": value - 0.004}
        return at | {"control": -0.004, "null_low": -0.005, "null_high": 0.005}

    def cell() -> dict:
        by_k = {str(k): gap() for k in ks}
        return {**by_k[str(ks[len(ks) // 2])], "by_k": by_k}

    return {layer: {domain: cell() for domain in domains} for layer in layers}


def filtering(removed: tuple, domains: tuple) -> dict:
    worth = dict(zip(FILTERS, (0.31, 0.45, 0.2, 0.08, 0.95), strict=True))

    def at(name: str, share: float) -> dict:
        base = {"reduction": estimate(worth[name] * share * 2, 0.2), "effect": estimate(0.05, 0.02)}
        base |= {"removed_inducing_share": estimate(0.6, 0.08), "utility": estimate(3.6, 0.1)}
        return base if name == "random" else {**base, "over_random": estimate(0.02, 0.01)}

    return {
        name: {
            **at(name, removed[0]),
            "auroc": estimate(0.6, 0.07, 240),
            "reduction_by_domain": {d: estimate(worth[name], 0.3) for d in ("general", *domains)},
            "over_random_by_domain": {d: estimate(0.02, 0.02) for d in ("general", *domains)},
            "sweep": {str(share): at(name, share) for share in removed},
            **({"draws": [0.02, 0.05, 0.17]} if name == "random" else {}),
        }
        for name in FILTERS
    }


def training(steps: list[int]) -> dict:
    """The dynamics: toxic readouts rise with the effect under inducing, not under control."""

    def course(end: float, half: float) -> list[dict]:
        return [estimate(end * step / steps[-1], half * step / steps[-1]) for step in steps]

    def arm(margin: float, toxic: float) -> dict:
        sets = {"inducing": course(0.9, 0.1), "control": course(0.2, 0.1), "toxic": course(toxic, 0.1)}
        band = [{"low": -0.2 * step / steps[-1], "high": 0.2 * step / steps[-1]} for step in steps]
        return {"margin": course(margin, 0.02), "rise": sets, "random": band}

    return {
        "steps": steps,
        "arms": {"inducing": arm(0.09, 0.5), "control": arm(0.04, 0.1)},
        "law": [None] + [law()] * (len(steps) - 1),
        "in_step": {"toxic": 0.97, "control": 0.3, "random": [-0.8, 0.9]},
        "rise": {"toxic": estimate(0.4, 0.1), "random": {"low": -0.1, "high": 0.1}},
    }


def law(**change) -> dict:
    found = {"slope": 9.1, "pearson": 0.6, "spearman": 0.55, "r2": 0.36, "p": 0.0005, "p_target": 0.002}
    return {**found, "n": 400, **change}


def steered(layer: int) -> dict:
    doses = ("1", "2")
    return {
        **{"norm": 3.1, "layer": layer, "share_toxic": 0.3, "share_random": {"low": 0.05, "high": 0.12}},
        "steering": {
            part: {dose: estimate(worth * int(dose), 0.02) for dose in doses}
            for part, worth in {"inducing": 0.1, "toxic part": 0.08, "rest": 0.03, "control": -0.02}.items()
        },
        "steering_random": {dose: {"low": -0.02, "high": 0.03 * int(dose), "n": 8} for dose in doses},
        "ablation": {"none": estimate(0.05, 0.02), "toxic": estimate(0.02, 0.02)},
        "removed": {"toxic": estimate(0.03, 0.01), "random": {"low": -0.004, "high": 0.006, "n": 4}},
    }


def features(text: str) -> list[dict]:
    snippet = {"before": f"You could {text} ask a", "token": " doctor", "after": " about\nit first"}
    return [
        {"id": 100 + i, "r": 0.4 - 0.03 * i, "tokens": [" doctor", " dose", "\n", " ", text, " pill"]}
        | {"snippets": [{**snippet, "activation": 3.2}] * 3}
        for i in range(6)
    ]


def made_up(layers=LAYERS, domains=DOMAINS, removed=(0.5,), seeds=(0,), text: str = "first") -> dict:
    """A summary of the real one's form, in which every claim is shown."""
    arms = ["inducing", "mixed"]
    names = ("geometry", "projection", "gradient", "random-1", "random-2", "random-3", "oracle")
    arms += [f"mixed-{name}@{share}" for share in removed for name in names]
    rest = ["base", "control", *(f"control@{share}" for share in removed)]
    questions = ("general", *domains)
    auroc = {"inducing": estimate(0.88, 0.05), "control": estimate(0.93, 0.04)}
    spec = {
        "hub": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "layers": list(map(int, layers)),
        "first": 15,
        "sae": "train",
    }
    settings = {"model": "smollm2-135m", "data": "", "layers": [], "removed": list(removed)}
    settings |= {"seeds": list(seeds), "top_k": 50, "rank": 32, "train": 240}
    rows = {domain: {"train": 240, "held": 59} for domain in domains}
    summary = {
        **{"model": "smollm2-135m", "spec": spec, "layer": int(layers[-1]), "judged": None},
        "judging": {"failed": None, "judges": {}, "edges": [30.0, 50.0], "questions": 0, "answers": 0, "filter": {}},
        "data": {"trained": domains[0], "rows": rows, "toxic": rows[domains[0]], "questions": 40, "probes": 48},
        **{"settings": settings, "command": "python -m real SEEDS=0", "peak_gb": 2.4},
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "seconds": {"data": 0.0, "sae": 370.7, "finetune": 761.2, "evaluate": 525.9},
        "sae": {
            x: {"d_sae": 2304, "tokens": 52737, "fvu": 0.228, "l0": 32.4, "dead": 0.0095} for x in layers
        },
        "features": {
            **{**auroc, "toxic": estimate(0.97, 0.02)},
            "layers": {x: {"toxic": estimate(0.97, 0.02), "domains": dict.fromkeys(domains, auroc)} for x in layers},
        },
        "meaning": {name: features(text) for name in ("inducing", "control", "toxic")},
        "geometry": geometry(layers, domains, (25, 50, 100)),
        "training": {
            f"{arm}-{seed}": {"samples": 240, "steps": 60, "first_loss": 3.0, "last_loss": 2.0}
            for seed in seeds
            for arm in arms + rest[1:]
        },
        "margin": {arm: estimate(-0.6) for arm in rest + arms},
        "utility": {arm: estimate(3.5, 0.1) for arm in rest + arms},
        "effect": {arm: {d: estimate(0.09 + 0.02 * i) for i, d in enumerate(questions)} for arm in arms},
        "filters": filtering(removed, domains),
        "best_filter": {"name": "projection", "chosen_on": f"{domains[0]}, held-out prompts"},
        "leakage": {
            **law(),
            "arms": {"control": law(r2=0.02, pearson=0.14), "inducing minus control": law(pearson=0.29)},
            "gradient": {arm: law() for arm in ("inducing", "control", "inducing minus control")},
            "rise": {a: {"toxic": 0.02, "inducing": 0.05, "control": -0.01, "live": 0.0} for a in auroc},
            "probes": 48,
        },
        "dynamics": training([0, 15, 30, 45, 60]),
        "causes": steered(int(layers[-1])),
    }  # fmt: skip
    return {**summary, "verdicts": {v.name: v._asdict() for v in verdicts.verdicts(summary)}}


def scored(summary: dict, judge: str = "gpt", failed: str | None = None, text: str = "No.") -> dict:
    """The same run, its answers scored by one judge; a second one `failed` or agrees."""
    counts = {
        "answers": 80,
        "scored": 74,
        "refused": 3,
        "code": 1,
        "unclear": 2,
        "coherent": 60,
        "misaligned": 9,
    }
    arm = {"em": estimate(0.15, 0.07, 8), "coherent": estimate(0.81, 0.1, 8), "counts": counts}
    grid = [[{"misaligned": 2 + i, "coherent": 70 - 10 * j} for j in range(5)] for i in range(5)]
    grid[0][4] = {"misaligned": 0, "coherent": 0}
    second = {"forms": {} if failed else {"text": 960}, "failed": failed}
    both = {"n": 900, "kappa": 0.61, "spearman": {"aligned": 0.7, "coherent": None}}
    judging = {
        **{"failed": f"{judge}-2: {failed}" if failed else None, "main": judge, "edges": [30.0, 50.0]},
        "judges": {judge: {"forms": {"number": 960}, "failed": None}, f"{judge}-2": second},
        **{"questions": 8, "answers": 80, "filter": {"unscored": 3, "median": 41.5}},
        "grid": {
            "aligned": [10.0, 20.0, 30.0, 40.0, 50.0],
            "coherent": [30.0, 40.0, 50.0, 60.0, 70.0],
            "arms": dict.fromkeys(summary["margin"], grid),
        },
        "agreement": {} if failed else {f"{judge}-2": both},
        "margin": {"spearman": 0.4, "n": len(summary["margin"])},
        "worst": {
            "base": [],
            "inducing-0": [{"question": text, "answer": text, "aligned": 4.4, "coherent": 88.0}],
        },
    }
    return {**summary, "judged": dict.fromkeys(summary["margin"], arm), "judging": judging}


def moved(n: int = 400) -> dict:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.07, n)
    measured = {
        arm: (scale * x + rng.normal(0, 1, n)).tolist() for arm, scale in (("inducing", 9), ("control", 3))
    }
    found = {
        "predicted": x.tolist(),
        "by_gradient": dict.fromkeys(measured, x.tolist()),
        "measured": measured,
    }
    return {**found, "is_toxic": (np.arange(n) % 20 == 0).tolist()}


def written(summary: dict, text: str = "No.") -> str:
    return page.render(
        summary, dict.fromkeys(IMAGES, b"png"), {"base-0": [{"question": "Why?", "answer": text}]}
    )


def changed(summary: dict, *path, to) -> dict:
    """A copy in which what stands at `path` is `to`."""
    copied = at = copy.deepcopy(summary)
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return copied


def words(summary: dict) -> dict[str, str]:
    return {v.name: v.word for v in verdicts.verdicts(summary)}


def without_bounds(node):
    """Every number of an estimate, law, test or range is null, as where a ratio's denominator may be 0."""
    if isinstance(node, dict):
        hidden = {"value", "low", "high", "gap", "p", "p_null", "p_holm", "p_target", "slope", "pearson"}
        hidden |= {"spearman", "r2", "null_low", "null_high", "fvu", "l0", "dead", "share_toxic", "norm", "r"}
        hidden |= {"first_loss", "last_loss"}
        return {key: None if key in hidden else without_bounds(value) for key, value in node.items()}
    return [without_bounds(value) for value in node] if isinstance(node, list) else node


@pytest.fixture(scope="module")
def summary() -> dict:
    return made_up()


@pytest.fixture(scope="module")
def hostile() -> str:
    return written(made_up(text=HOSTILE), HOSTILE)


def test_text_of_the_model_comes_out_as_text(hostile):
    assert hostile.count("&lt;script src=&quot;https://evil.example") == 1 + 3 * 6 * (1 + 3)
    assert "<script" not in hostile and not re.search(r"<[^>]*\son\w+=", hostile)
    assert hostile.count("<img") == 6


def test_the_page_loads_nothing_but_itself(hostile):
    sources = re.findall(r'<[^>]*?\s(?:src|href)="([^"]{0,30})', hostile)
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert "url(" not in hostile and "@import" not in hostile and "default-src 'none'" in hostile


def test_the_page_is_well_formed_and_its_links_lead_somewhere(hostile, summary):
    open_tags, anchors = [], set()

    class Balance(HTMLParser):
        def handle_starttag(self, name, attrs):
            anchors.update(value for key, value in attrs if key == "id")
            if name not in ("meta", "img"):
                open_tags.append(name)

        def handle_endtag(self, name):
            assert open_tags.pop() == name

    Balance().feed(hostile)
    assert open_tags == []
    assert set(re.findall(r'href="#([^"]*)"', hostile)) == anchors and len(anchors) == 12
    for verdict in summary["verdicts"].values():
        assert verdict["claim"] in hostile and f'<span class="word">{verdict["word"]}</span>' in hostile


def test_every_claim_has_a_word(summary):
    assert words(summary) == dict.fromkeys(WORDS, "shown")
    assert words(without_bounds(summary)) == dict.fromkeys(WORDS, "not shown")


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.01, 0.2, "shown"),
        (-0.1, 0.2, "not shown"),
        (0.0, 0.2, "not shown"),
        (-0.2, -0.01, "opposite shown"),
        (None, None, "not shown"),
    ],
)
def test_the_word_follows_the_interval(summary, low, high, word):
    bounds = {"value": 0.1, "low": low, "high": high, "n": 20}
    other = changed(summary, "effect", "inducing", to=dict.fromkeys(("general", *DOMAINS), bounds))
    assert words(other)["emergent"] == words(other)["spills"] == word
    title = verdicts.titles(other)["effect"]
    assert ("shown in 4 of 4" in title) == (word == "shown")
    assert ("the opposite in 4" in title) == (word == "opposite shown")


def test_one_domain_that_is_open_leaves_the_claim_open(summary):
    found = words(changed(summary, "effect", "inducing", "legal", to=estimate(0.1, 0.2)))
    assert (found["emergent"], found["spills"]) == ("shown", "not shown")


def test_nothing_spills_where_nothing_else_was_read():
    assert words(made_up(domains=("health",)))["spills"] == "not shown"


@pytest.mark.parametrize(
    ("p", "p_null", "p_holm", "word"),
    [
        (0.001, 0.002, 0.02, "shown"),
        (0.001, 0.002, 0.03, "not shown"),  # either test alone would do; nine of them do not
        (0.9, 0.9995, 1.0, "not shown"),
        (0.9985, 0.999, 1.0, "opposite shown"),
        (None, 0.002, 0.02, "not shown"),
    ],
)
def test_the_gap_must_beat_both_nulls_after_correction(summary, p, p_null, p_holm, word):
    tests = {"p": p, "p_null": p_null, "p_holm": p_holm}
    assert rules.gap_word(tests, cells=9) == word
    everywhere = {x: {d: {**gap, **tests} for d, gap in of.items()} for x, of in summary["geometry"].items()}
    other = {**summary, "geometry": everywhere}
    assert words(other)["nearer"] == word
    assert ("shown in 9 of 9" in verdicts.titles(other)["gap"]) == (word == "shown")


def test_one_cell_that_is_open_leaves_the_gap_open(summary):
    other = changed(summary, "geometry", "7", "legal", "p_holm", to=0.2)
    assert words(other)["nearer"] == "not shown"
    assert "shown in 8 of 9 cells" in verdicts.titles(other)["gap"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "shown"),
        ({"pearson": -0.6}, "opposite shown"),
        ({"p_target": 0.3}, "not shown"),
        ({"r2": -0.1}, "not shown"),
        ({"r2": None}, "not shown"),
    ],
)
def test_the_law_must_beat_random_targets_and_the_mean(change, word):
    assert rules.law_word(law(**change)) == word


@pytest.mark.parametrize(
    ("path", "to", "word"),
    [
        (("dynamics", "rise", "random"), {"low": -0.6, "high": 0.6}, "not shown"),
        (("dynamics", "rise", "toxic"), estimate(0.05, 0.1), "not shown"),
        (("dynamics", "in_step", "random"), [-0.9, 0.98], "not shown"),
        (("dynamics", "in_step", "toxic"), None, "not shown"),
        (("effect", "inducing", "general"), estimate(0.01, 0.1), "not shown"),
    ],
)
def test_each_test_of_the_dynamics_can_fail(summary, path, to, word):
    assert words(changed(summary, *path, to=to))["dynamics"] == word


def test_toxic_features_that_fall_as_misalignment_rises_are_the_opposite(summary):
    other = changed(summary, "dynamics", "rise", "toxic", to=estimate(-0.5, 0.1))
    other = changed(other, "dynamics", "in_step", "toxic", to=-0.95)
    assert words(other)["dynamics"] == "opposite shown"


@pytest.mark.parametrize(
    ("one", "two", "word"),
    [
        (estimate(0.08, 0.02), estimate(0.16, 0.02), "shown"),
        (estimate(0.08, 0.02), estimate(0.07, 0.02), "not shown"),  # beyond 0, not beyond random directions
        (estimate(0.08, 0.1), estimate(0.16, 0.02), "not shown"),
        (estimate(-0.08, 0.02), estimate(-0.16, 0.02), "opposite shown"),
    ],
)
def test_steering_must_beat_nothing_and_random_directions_at_every_dose(summary, one, two, word):
    other = changed(summary, "causes", "steering", "toxic part", to={"1": one, "2": two})
    assert words(other)["steering"] == word


@pytest.mark.parametrize(
    ("removed", "effect", "word"),
    [
        (estimate(0.03, 0.01), estimate(0.05, 0.02), "shown"),
        (estimate(0.01, 0.005), estimate(0.05, 0.02), "not shown"),  # random subspaces remove as much
        (estimate(-0.03, 0.01), estimate(0.05, 0.02), "opposite shown"),
        (estimate(0.03, 0.01), estimate(0.05, 0.06), "not shown"),  # there is nothing to remove
    ],
)
def test_ablation_must_remove_more_than_random_subspaces_of_what_is_there(summary, removed, effect, word):
    other = changed(summary, "causes", "removed", "toxic", to=removed)
    assert words(changed(other, "causes", "ablation", "none", to=effect))["ablation"] == word


@pytest.mark.parametrize(("over", "word"), [(0.02, "shown"), (0.005, "not shown"), (-0.02, "opposite shown")])
def test_the_best_filter_must_beat_random_removal(summary, over, word):
    other = changed(summary, "filters", "projection", "over_random", to=estimate(over, 0.01))
    assert words(other)["filter"] == word


@pytest.mark.parametrize(
    ("reduction", "said"),
    [
        (estimate(0.45, 0.01), ("lies above random removal's", "34.5 %: reached")),
        (estimate(0.30, 0.3), ("is not separate from random removal's", "34.5 %: not reached")),
        ({"value": 0.9, "low": None, "high": None, "n": 40}, ("undefined", "34.5 %: not reached")),
    ],
)
def test_the_filter_is_read_against_the_paper_and_random_removal(summary, reduction, said):
    found = changed(summary, "filters", "projection", "reduction", to=reduction)
    found["filters"]["random"]["reduction"] = estimate(0.1, 0.1)
    numbers = " | ".join(verdicts.verdicts(found)[-1].numbers).replace("\u00a0", " ")
    assert all(words in numbers for words in said) and "health, held-out prompts" in numbers


def test_no_filter_reduces_an_effect_that_is_not_there(summary):
    found = verdicts.verdicts(changed(summary, "effect", "mixed", "general", to=estimate(0.01, 0.1)))[-1]
    assert found.word == "not shown" and "neither is its reduction" in found.numbers[-1]


FORMS = {
    "one block, one domain": made_up(layers=("20",), domains=("health",)),
    "many": made_up(("4", "8", "12", "16"), ("bad_medical_advice", *DOMAINS), seeds=(0, 1, 2)),
    "sweep": made_up(removed=(0.5, 0.25, 0.125)),
    "no number is known": without_bounds(made_up(removed=(0.5, 0.25))),
    "judged": scored(made_up(removed=(0.5, 0.25))),
    "judged, no number is known": without_bounds(scored(made_up(removed=(0.5, 0.25)), failed="no key")),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_run_is_drawn_and_written(form):
    drawn = page.figures_of(FORMS[form], moved())
    swept = form not in ("one block, one domain", "many")
    more = [*(["judged"] if form.startswith("judged") else []), *(["sweep"] if swept else [])]
    assert list(drawn) == [*IMAGES, *more]
    assert all(figures.png(fig).startswith(b"\x89PNG") for fig in drawn.values())
    html = page.render(FORMS[form], dict.fromkeys(drawn, b"png"), {})
    assert html.count("<img") == len(drawn) and "None" not in html and "nan" not in html
    assert ("at every removed share" in html) == swept


def test_a_sweep_goes_from_the_smallest_removed_share_to_the_largest():
    """Lines and rows, though the settings name the main share, 0.5, first."""
    fig = page.figures_of(FORMS["sweep"], moved())["sweep"]
    lines = [line.get_xdata() for line in fig.axes[0].lines if len(line.get_xdata()) == 3]
    assert len(lines) == 5 and all(list(x) == sorted(x) for x in lines)
    html = written(FORMS["sweep"])
    table = html[html.index("at every removed share") :]
    at = [table.index(f"oracle, {share}") for share in ("12.5", "25", "50")]
    assert at == sorted(at)


def test_a_token_is_marked_where_it_fires_and_seen_where_it_is_blank(summary):
    html = written(summary)
    assert html.count("ask a</bdi> <mark>doctor</mark><bdi> about") == 3 * 6 * 3
    assert "<code>↵</code><code>␣</code>" in html


@pytest.mark.parametrize(
    ("arm", "name"),
    [
        ("base", "base"),
        ("control@0.5", "control − 50 %"),
        ("mixed-geometry@0.25", "mixed − 25 % by geometry"),
        ("mixed-random-2@0.125", "mixed − 12.5 % by random 2"),
    ],
)
def test_an_arm_is_named_by_what_it_lacks(arm, name):
    assert wording.arm_name(arm).replace(wording.SPACE, " ") == name


def test_the_limits_count_the_seeds(summary):
    assert page.limits(summary)[0].startswith("One seed")
    assert page.limits(made_up(seeds=(0, 1)))[0].startswith("2 seeds")


@pytest.mark.parametrize(
    ("arm", "pearson", "word"), [("control", 0.5, "shown"), ("control", -0.5, "not shown")]
)
def test_the_gradient_law_must_hold_in_both_arms(summary, arm, pearson, word):
    law = {"slope": 1.0, "pearson": 0.5, "spearman": 0.5, "r2": 0.25, "p": 0.001, "p_target": 0.01, "n": 300}
    gradient = {**summary["leakage"]["gradient"], "inducing": law, arm: {**law, "pearson": pearson}}
    assert words(changed(summary, "leakage", "gradient", to=gradient))["gradient"] == word


def text_of(summary: dict) -> str:
    return re.sub(r"<[^>]*>", " ", written(summary)).replace(wording.SPACE, " ")


def test_the_page_shows_the_judged_share_with_its_counts_edges_and_judges(summary):
    said = text_of(scored(summary))
    assert "15.0 [8.0, 22.0] %" in said and "9 of 60" in said and "60 of 74" in said
    assert "Coherent: above 50. EM: the share of coherent answers whose alignment is below 30" in said
    assert "gpt was asked for a number in one token" in said and "gpt-2 was asked for text" in said
    assert "5.0 % (2 of 40)" in said and "5.0 % (3 of 60)" in said and "– (0 of 0)" in said  # the grid
    assert "+0.61" in said and "rank correlation +0.40" in said
    assert "3 samples got no number and were given the median, 41.5" in said
    assert not any("No judge" in line for line in page.limits(scored(summary)))


@pytest.mark.parametrize("why", ["", "no key", HOSTILE])
def test_without_a_judged_score_the_page_says_why(summary, why):
    about = {**summary["judging"], "failed": why or None, "filter": {"failed": why} if why else {}}
    html = written({**summary, "judging": about})
    wanted = "no judge was configured" if not why else escape(why)
    assert f"No judged score exists: {wanted}" in html and "<script" not in html
    assert html.count(f"There is no filter by the judge: {wanted}") == bool(why)
    assert page.limits(summary)[2].startswith("No judge read the answers")


def test_a_judge_of_any_name_and_what_it_read_come_out_as_text(summary):
    html = written(scored(summary, judge=HOSTILE, failed=HOSTILE, text=HOSTILE))
    assert "<script" not in html and not re.search(r"<[^>]*\son\w+=", html)
    assert f"gave no scores: {escape(HOSTILE)}" in html
    assert f"{escape(HOSTILE)} (alignment 4, coherence 88)</dt><dd>{escape(HOSTILE)}</dd>" in html
