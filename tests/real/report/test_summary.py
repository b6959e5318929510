"""Step 11 on made-up records: the summary holds what was put in, it repeats, and the files are all there."""

import numpy as np
import pytest

from real.arms import filters
from real.arms.finetune import WATCHED, arms
from real.report import estimates
from real.report import summary as report
from real.run import Run
from real.settings import Settings, parse, words
from shared.records import read_json, rounded, write_json

UNDER = {
    "inducing": 0.3,
    "mixed": 0.2,
    "mixed-geometry@0.5": 0.08,
    "mixed-gradient@0.5": 0.02,
}  # effects put in
UNDER |= {f"mixed-{name}@0.5": 0.15 for name in ("projection", *filters.DRAWS)}
STEPS = (0, 2, 4)
ESTIMATE = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 40}


def made_up(run: Run, questions: int = 5, features: int = 300) -> list[dict]:
    """The ten records as they come back from their files, with the effects of UNDER in every domain."""
    rng = np.random.default_rng(0)
    rows, trained = run.corpus.advice[run.corpus.trained].train, run.corpus.trained
    names = [f"{row.id}/{kind}" for row in rows for kind in ("incorrect", "correct")]
    scores = {f: {name: rng.normal(name.endswith("incorrect")) for name in names} for f in filters.AWARE}
    jobs = {f"{arm}-{seed}": s for seed in run.settings.seeds for arm, s in arms(run, scores, seed).items()}
    domains = ["general", *run.corpus.advice]

    def said(lift: float, answers: int) -> list:
        level = np.random.default_rng(1).normal(-3, 0.3, (questions, 2, answers))
        level = level + rng.normal(0, 0.02, level.shape)
        level[:, 0] += lift
        return level.tolist()

    def logprobs(job: str) -> dict:
        return {domain: said(UNDER.get(job.rsplit("-", 1)[0], 0), 2) for domain in domains}

    sizes = {name: {"train": len(s.train), "held": len(s.held)} for name, s in run.corpus.advice.items()}
    records = [
        {"trained": trained, "rows": sizes, "toxic": sizes[trained], "questions": 20, "probes": 48},
        {
            str(layer): {"d_sae": 2304, "tokens": 40000, "fvu": 0.2, "l0": 31.0, "dead": 0.4}
            for layer in run.layers
        },
        {str(layer): features_of(run) for layer in run.layers},
        geometry_of(run),
        {"scores": scores, "gradient": {}, "judge": {}},
        {
            "arms": {
                job: {"samples": s, "steps": 60, "checkpoints": [2], "loss": np.linspace(3, 2, 60).tolist()}
                for job, s in jobs.items()
            }
        },
        {
            "arms": {
                job: {
                    "logprobs": logprobs(job),
                    "sampled": [{"question": "Why?", "answer": "So."}]
                    if job.startswith(("base", "ind"))
                    else [],
                }
                for job in ["base", *jobs]
            }
        },
        leakage_of(run, rng, features, said),
        causes_of(run, said),
        {"items": [], "judges": {}},
    ]
    return [{**r, "key": "k", "seconds": 1.5 + i, "peak_gb": 2.0 + i} for i, r in enumerate(records)]


def features_of(run: Run) -> dict:
    found = {"inducing": [1], "control": [2], "auroc": dict.fromkeys(("inducing", "control"), ESTIMATE)}
    return {"toxic": [3], "toxic_auroc": ESTIMATE, "domains": dict.fromkeys(run.corpus.advice, found)}


def geometry_of(run: Run) -> dict:
    lie = {"gap": 0.008, "p": 0.001, "p_null": 0.002, "inducing": 0.02, "control": 0.012}
    lie |= {"null_low": -0.003, "null_high": 0.003, "p_holm": 0.02}
    lie["by_k"] = {str(k): dict(lie) for k in (25, 50, 100)}
    feature = {"id": 7, "r": 0.4, "tokens": ["a"] * 8}
    feature["snippets"] = [{"before": "b", "token": "t", "after": "a", "activation": 1.0}]
    return {
        "gaps": {str(layer): dict.fromkeys(run.corpus.advice, lie) for layer in run.layers},
        "meaning": dict.fromkeys(("inducing", "control", "toxic"), [feature]),
    }


def leakage_of(run: Run, rng, features: int, said) -> dict:
    """Toxic readouts and the margin rise along the inducing arm and not along the control arm."""
    predicted = rng.normal(0, 0.1, features)
    law = {
        "slope": 0.5,
        "pearson": 0.6,
        "spearman": 0.55,
        "r2": 0.36,
        "p": 0.0005,
        "n": features,
        "p_target": 0.002,
    }
    laws = dict.fromkeys(("inducing", "control", "inducing minus control"), law)
    moved = {arm: (0.5 * predicted + rng.normal(0, 0.04, features)).tolist() for arm in WATCHED}
    lift = {"inducing": 0.1, "control": 0.0}

    def course(arm: str, size: int) -> list:
        return [(lift[arm] * step + rng.normal(0, 0.01, size)).tolist() for step in STEPS]

    return {
        **{
            "laws": laws,
            "gradient_laws": laws,
            "predicted": predicted.tolist(),
            "measured": moved,
            "probes": 48,
        },
        "by_gradient": dict.fromkeys(WATCHED, predicted.tolist()),
        "is_toxic": (np.arange(features) % 40 == 0).tolist(),
        "rise": {arm: {"toxic": 0.02, "inducing": 0.05, "control": -0.01, "live": 0.0} for arm in WATCHED},
        "norm": 3.0,
        "dynamics": {
            "steps": list(STEPS),
            "general": {
                a: [[said(lift[a] * n, 2) for n in STEPS] for _ in run.settings.seeds] for a in WATCHED
            },
            "law": [law] * (len(STEPS) - 1),
            "rise": {a: {name: course(a, 48) for name in ("toxic", "inducing", "control")} for a in WATCHED},
            "random": {arm: [rng.normal(0, 0.01, 200).tolist() for _ in STEPS] for arm in WATCHED},
        },
    }


def causes_of(run: Run, said) -> dict:
    """The toxic part raises the margin by 0.1 a dose, and a third of the effect goes with the toxic directions."""
    lift = {
        "inducing": 0.1,
        "toxic part": 0.1,
        "rest": 0.0,
        "control": 0.0,
        "random-1": 0.0,
        "random-2": 0.01,
    }
    left = {"none": 0.3, "toxic": 0.2, "random-1": 0.3, "random-2": 0.29}
    return {
        "norm": 3.0,
        "steered": {
            "base": said(0, 1),
            **{f"{d} x{n}": said(n * e, 1) for d, e in lift.items() for n in (1, 2)},
        },
        "ablated": {
            f"{arm}-{seed}": {name: said(e * (arm == "inducing"), 1) for name, e in left.items()}
            for arm in WATCHED
            for seed in run.settings.seeds
        },
        "share_toxic": 0.3,
        "share_random": [0.1, 0.2],
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return Run(Settings(train=16, seeds=(0, 1), lr=1e-4, results=str(tmp_path_factory.mktemp("results"))))


@pytest.fixture(scope="module")
def summary(run) -> dict:
    report.write(run, *made_up(run))
    return read_json(run.folder / "summary.json")


def test_the_summary_holds_what_a_script_may_read(summary):
    assert summary["model"] == "smollm2-135m" and summary["judged"] is None
    assert set(summary["seconds"]) == set(report.STEPS) and summary["peak_gb"] == 11.0
    assert set(summary["features"]) == {"inducing", "control", "toxic", "layers"}
    assert {"gap", "p", "p_null", "p_holm", "by_k"} <= set(summary["geometry"]["20"]["career"])
    assert set(summary["effect"]["inducing"]) == {"general", "health", "career", "legal"}
    assert set(summary["filters"]) == set(estimates.SHOWN)
    assert {"slope", "pearson", "spearman", "r2", "p"} <= set(summary["leakage"])
    for e in (
        summary["margin"]["base"],
        summary["utility"]["control"],
        summary["effect"]["mixed"]["general"],
        summary["features"]["toxic"]["auroc"],
        *(summary["filters"]["geometry"][name] for name in ("auroc", "removed_inducing_share", "reduction")),
    ):
        assert set(e) == {"value", "low", "high", "n"}


def test_the_summary_gives_back_the_effects_that_were_put_in(summary):
    def near(value: float):
        return pytest.approx(value, abs=0.05)

    assert summary["effect"]["inducing"]["general"]["value"] == near(0.3)
    found = summary["filters"]
    assert found["geometry"]["over_random"]["value"] == near(0.15 - 0.08)
    assert found["random"]["reduction"]["value"] == pytest.approx(1 - 0.15 / 0.2, abs=0.15)
    assert found["random"]["removed_inducing_share"]["n"] == 3 * 2 * 8  # draws, seeds, samples removed
    assert found["oracle"]["auroc"]["value"] == 1 and found["oracle"]["removed_inducing_share"]["value"] == 1
    assert summary["best_filter"]["name"] == "gradient"  # it lowers the margin on held-out health advice most
    along = summary["dynamics"]
    assert [m["value"] for m in along["arms"]["inducing"]["margin"]] == [near(0.0), near(0.2), near(0.4)]
    assert along["rise"]["toxic"]["value"] == near(0.4) and along["in_step"]["toxic"] > 0.98
    assert along["law"][0] is None and len(along["law"]) == len(STEPS)
    causes = summary["causes"]
    assert causes["steering"]["toxic part"]["2"]["value"] == near(0.2)
    assert causes["steering"]["rest"]["2"]["value"] == near(0.0)
    assert causes["ablation"]["toxic"]["value"] == near(0.2) and causes["removed"]["toxic"]["value"] == near(
        0.1
    )
    assert causes["removed"]["random"]["high"] < 0.05


def test_the_best_filter_is_chosen_without_a_general_question(run):
    """Whatever is said about general questions, the choice stays."""
    records = made_up(run)
    arms = records[6]["arms"]
    for job in arms:
        if job.startswith("mixed-projection"):
            arms[job]["logprobs"]["general"] = [[[-9.0] * 2, [-1.0] * 2] for _ in range(5)]
    steps = dict(zip(report.STEPS, records, strict=True))
    assert report.summarise(run, steps)["best_filter"]["name"] == "gradient"


def test_a_sweep_of_removed_shares_has_every_share(tmp_path):
    run = Run(Settings(train=16, removed=(0.5, 0.25), results=str(tmp_path)))
    report.write(run, *made_up(run))
    found = read_json(tmp_path / "summary.json")["filters"]["projection"]
    assert set(found["sweep"]) == {"0.5", "0.25"}
    assert found["sweep"]["0.25"]["removed_inducing_share"]["n"] == 4
    assert found["reduction"] == found["sweep"]["0.5"]["reduction"]
    assert (tmp_path / "sweep.png").exists()


def test_a_second_write_changes_nothing_but_the_costs(run, summary):
    def images() -> list[bytes]:
        return [path.read_bytes() for path in sorted(run.folder.glob("*.png"))]

    first = images()
    written = report.write(run, *({**record, "seconds": 99.0, "peak_gb": 99.0} for record in made_up(run)))
    again = read_json(run.folder / "summary.json")
    assert images() == first and len(first) == 6
    assert {name for name in again if again[name] != summary[name]} == {"seconds", "peak_gb"}
    assert {path.name for path in run.folder.iterdir()} == set(written["files"])


def test_the_command_gives_the_settings_again(run):
    assert parse(report.command(run.settings).split()[3:]) == run.settings


@pytest.mark.parametrize(
    "given",
    [
        ["PRESET=paper"],
        # what is the default, but not the preset's
        ["PRESET=paper", "TRAIN=120", "TOXIC=", "REMOVED=0.25,0.5"],
        ["LAYERS=14,20", "EDGES=25.0,50.0", "FIRST=0", "MAX_USD=2.5"],
    ],
)
def test_the_words_of_settings_give_them_again_with_a_preset_too(given):
    assert parse(words(parse(given))) == parse(given)
    assert sorted(words(parse(given))) == sorted(given)


def test_what_is_not_finite_is_written_as_null(tmp_path):
    write_json(tmp_path / "x.json", rounded({"a": float("inf"), "b": [float("nan"), 1.23456789], "c": True}))
    assert read_json(tmp_path / "x.json") == {"a": None, "b": [None, 1.23457], "c": True}
