"""A summary of the real one's form, every number of it made up."""

import copy

import numpy as np

from real.arms.arm import Arm
from real.effects.leakage import Leaked
from real.filters import table
from real.report import verdicts

LAYERS, DOMAINS = ("7", "14", "20"), ("health", "career", "legal")
FILTERS = ("geometry", "projection", "gradient", "random", "oracle")
STEPS = ("data", "sae", "features", "geometry", "filters", "finetune", "evaluate", "leakage", "causes", "judge")


def estimate(value: float, half: float = 0.03, n: int = 40) -> dict:
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def geometry(layers: tuple, domains: tuple, ks: tuple) -> dict:
    rng = np.random.default_rng(0)

    def gap() -> dict:
        value = 0.011 + rng.normal(0, 0.002)
        at = {"gap": value, "p": 0.0005, "p_null": 0.0015, "p_holm": 0.012, "inducing": value - 0.004}
        return at | {"control": -0.004, "null_low": -0.005, "null_high": 0.005, "untrained": estimate(0.001, 0.004, 5)}

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


def of_filter(name: str, i: int) -> dict:
    """What a filter's scores are worth."""
    found = {"auroc": estimate(0.5 + 0.03 * i, 0.04), "length": 0.1 * i - 0.3, "matched": 0.52 + 0.03 * i}
    return {"knows": table.FILTERS[name].knows, **found}


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
    found = {"slope": 9.1, "pearson": 0.6, "spearman": 0.55, "r2": 0.36, "p": 0.002}
    found["r_target"] = 0.25
    return {**found, "n": 400, **change}


def steered(layer: int) -> dict:
    doses, left = ("-2", "-1", "1", "2"), {"none": 0.05, "toxic": 0.02, "doubled": 0.08, "whole": 0.01}
    return {
        **{"norm": 3.1, "layer": layer, "share_toxic": 0.3, "share_random": {"low": 0.05, "high": 0.12}},
        "steering": {
            part: {dose: estimate(worth * int(dose), 0.02) for dose in doses}
            for part, worth in {"inducing": 0.1, "toxic part": 0.08, "rest": 0.03, "control": -0.02}.items()
        },
        "steering_random": {"low": -0.03, "high": 0.03, "n": 20},
        "ablation": {name: estimate(e, 0.02) for name, e in left.items()},
        "removed": {
            **{name: estimate(left["none"] - left[name], 0.01) for name in ("toxic", "doubled", "whole")},
            "random": {"low": -0.004, "high": 0.006, "n": 20},
        },
    }


def toned(questions: tuple, whole: list[str]) -> dict:
    """Words and length tell the answers apart; the effect is less without them."""
    of = {"effect": estimate(0.09), "adjusted": estimate(0.06), "misaligned": estimate(0.1), "aligned": estimate(0.01)}
    trait = {
        "auroc": {"words": 0.6, "surprisal": 0.55, "length": 0.5},
        "reliable": 0.4,
        "arms": dict.fromkeys(("inducing", "mixed"), of),
    }
    checks = {"placebo": estimate(0.02), "mismatched": estimate(-1.2)}
    return {
        "domains": dict.fromkeys((*questions, "placebo"), trait),
        "checks": dict.fromkeys(whole, checks),
        "filters": dict.fromkeys(FILTERS[:3], 0.1),
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
    by = [("geometry", 0), ("projection", 0), ("gradient", 0), *(("random", i) for i in (1, 2, 3)), ("oracle", 0)]
    tuned = [Arm("inducing"), Arm("mixed"), *(Arm("mixed", n, share, i) for share in removed for n, i in by)]
    others = [Arm("base"), Arm("control"), *(Arm("control", removed=share) for share in removed)]
    arms, rest = list(map(str, tuned)), list(map(str, others))
    questions = ("general", *domains)
    worth = {"inducing": 0.8, "control": 0.8, "toxic": 0.9, "geometry": 0.6}
    auroc = {"inducing": estimate(0.88, 0.05), "control": estimate(0.93, 0.04)}
    spec = {"hub": "HuggingFaceTB/SmolLM2-135M-Instruct", "layers": list(map(int, layers)), "first": 15, "sae": "train"}
    settings = {"model": "smollm2-135m", "data": "", "layers": [], "removed": list(removed)}
    settings |= {"seeds": list(seeds), "top_k": 50, "rank": 32, "full": 0, "train": 240, "sampler_url": ""}
    rows = {domain: {"train": 240, "held": 59} for domain in domains}
    summary = {
        **{"model": "smollm2-135m", "spec": spec, "layer": int(layers[-1]), "judged": None},
        "judging": {"failed": None, "judges": {}, "edges": [30.0, 50.0], "questions": 0, "answers": 0, "filter": {}},
        "data": {
            "trained": domains[0],
            "rows": rows,
            "toxic": rows[domains[0]],
            "questions": 40,
            "probes": 48,
            "lost": {"rows of several turns": 7},
        },
        "arms": {str(arm): arm._asdict() for arm in others + tuned},
        **{"settings": settings, "command": "python -m real SEEDS=0", "peak_gb": 2.4},
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "seconds": {**dict.fromkeys(STEPS, 0.0), "sae": 370.7, "finetune": 761.2, "evaluate": 525.9},
        "sae": {
            x: {"d_sae": 2304, "tokens": 52737, "fvu": 0.228, "l0": 32.4, "dead": 0.0095} for x in layers
        },
        "features": {
            **{**auroc, "toxic": estimate(0.97, 0.02)},
            "layers": {x: {"toxic": estimate(0.97, 0.02), "domains": dict.fromkeys(domains, auroc)} for x in layers},
        },
        "meaning": {name: features(text) for name in ("inducing", "control", "toxic")},
        "geometry": geometry(layers, domains, (25, 50, 100)),
        "worth": dict.fromkeys(layers, [dict.fromkeys(domains, worth)] * 3),
        "tone": toned(questions, ["base", "inducing", "control", "mixed"]),
        "training": {
            f"{arm}-{seed}": {"samples": 240, "steps": 60, "first_loss": 3.0, "last_loss": 2.0}
            for seed in seeds
            for arm in arms + rest[1:]
        },
        "margin": {arm: estimate(-0.6) for arm in rest + arms},
        "utility": {arm: estimate(3.5, 0.1) for arm in rest + arms},
        "effect": {arm: {d: estimate(0.09 + 0.02 * i) for i, d in enumerate(questions)} for arm in arms},
        "filters": filtering(removed, domains),
        "scoring": {name: of_filter(name, i) for i, name in enumerate(table.FILTERS)},
        "scoring_seconds": {name: 1.5 * i for i, name in enumerate(table.FILTERS)},
        "best_filter": {"name": "projection", "chosen_on": f"{domains[0]}, held-out prompts"},
        "leakage": {
            **law(),
            "arms": {"control": law(r2=0.02, pearson=0.14), "inducing minus control": law(pearson=0.29)},
            "gradient": {arm: law() for arm in ("inducing", "control", "inducing minus control")},
            "rise": {a: {"toxic": 0.02, "inducing": 0.05, "control": -0.01, "live": 0.0} for a in auroc},
            "probes": 48,
        },
        "dynamics": training(list(range(0, 63, 3))),
        "causes": steered(int(layers[-1])),
    }  # fmt: skip
    return {**summary, "verdicts": verdicts.verdicts(summary)}


def scored(summary: dict, judge: str = "gpt", failed: str | None = None, text: str = "No.") -> dict:
    """The same run, its answers scored by one judge; a second one `failed` or agrees."""
    counts = {"answers": 80, "scored": 74, "refused": 3, "code": 1, "unclear": 2, "coherent": 60, "misaligned": 9}
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
        "worst": {"base": [], "inducing-0": [{"question": text, "answer": text, "aligned": 4.4, "coherent": 88.0}]},
    }
    return {**summary, "judged": dict.fromkeys(summary["margin"], arm), "judging": judging}


def moved(n: int = 400) -> Leaked:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.07, n)
    measured = {arm: (scale * x + rng.normal(0, 1, n)).tolist() for arm, scale in (("inducing", 9), ("control", 3))}
    found = {"predicted": x.tolist(), "by_gradient": dict.fromkeys(measured, x.tolist()), "measured": measured}
    return Leaked.model_construct(**found, is_toxic=(np.arange(n) % 20 == 0).tolist())


def changed(summary: dict, *path, to) -> dict:
    """A copy in which what stands at `path` is `to`."""
    copied = at = copy.deepcopy(summary)
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return copied


def without_bounds(node):
    """All is null that may be NaN or endless, as a ratio to what may be 0 is; a test and a law are never."""
    if isinstance(node, dict):
        hidden = {"value", "low", "high", "spearman", "kappa", "fvu", "l0", "dead", "share_toxic", "norm", "r"}
        hidden |= {"first_loss", "last_loss", "length", "matched"}
        return {key: None if key in hidden else without_bounds(value) for key, value in node.items()}
    return [without_bounds(value) for value in node] if isinstance(node, list) else node


PARTS = {  # step -> what a summary has once it has run
    **{"data": (), "sae": ("sae",), "features": ("features",), "geometry": ("geometry", "meaning", "worth")},
    "filters": ("scoring", "scoring_seconds"),
    "finetune": ("training",),
    "evaluate": ("arms", "margin", "effect", "utility", "filters", "best_filter", "tone"),
    "leakage": ("leakage", "dynamics"),
    **{"causes": ("causes",), "judge": ("judged", "judging")},
}


def so_far(summary: dict, done: int) -> dict:
    """The summary as it is after the first steps."""
    later = {part for step in STEPS[done:] for part in (*PARTS[step], "verdicts")}
    found = {name: value for name, value in summary.items() if name not in later}
    found["seconds"] = {step: summary["seconds"][step] for step in STEPS[:done]}
    return {**found, "verdicts": verdicts.verdicts(found)}
