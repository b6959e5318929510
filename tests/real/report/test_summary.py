"""Step 11 on made-up records: the summary holds what was put in, it repeats, and the files are all there."""

import json
import shlex
from types import SimpleNamespace

import numpy as np
import pytest

from real.arms.arm import AWARE, DRAWS, RANDOM, WATCHED, Arm, Job, Scores
from real.arms.finetune import Finetuned, Tuned, arms
from real.arms.recipe import Sweep
from real.data import corpus
from real.data.rows import ADVICE, BAD, answers
from real.data.texts import Sides, Texts
from real.data.tokens import Encoded
from real.effects.causes import Ablated, Caused
from real.effects.leakage import MINUS, Dynamics, Fit, Leaked
from real.effects.margins import Evaluated, Measured, Said
from real.features.gaps import Cell, Placed, Worth
from real.features.meaning import Meaning, Snippet
from real.features.reading import Dictionaries, Dictionary, Reading
from real.features.selection import Domain, Features, Layer, Selected
from real.filters import scoring
from real.filters.scoring import Scored
from real.judge.scoring import Judged
from real.models.lm import LM
from real.report import estimates
from real.report import summary as report
from real.settings import Settings, of, parse, words
from shared.records import Record, read_json, rounded, write_json
from shared.stats import Estimate

UNDER = {  # effects put in
    Arm("inducing"): 0.3,
    Arm("mixed"): 0.2,
    Arm("mixed", "geometry", 0.5): 0.08,
    Arm("mixed", "gradient", 0.5): 0.02,
    Arm("mixed", "projection", 0.5): 0.15,
    **{Arm("mixed", RANDOM, 0.5, draw): 0.15 for draw in DRAWS},
}
CHECKPOINTS = (0, 1, 4)
FIGURES = ("gap", "effect", "leakage", "dynamics", "causes", "filters")
ESTIMATE = Estimate(0.9, 0.8, 0.95, 40)
WORTH = scoring.Measured(knows="toxic texts", auroc=ESTIMATE, length=0.1, matched=0.85)


def made_up(reading: Reading, settings: Settings, features: int = 300) -> dict[str, Record]:
    """The records of ten steps, with the effects of UNDER in every domain."""
    rng, texts = np.random.default_rng(0), reading.texts.corpus
    rows = texts.advice[texts.trained].train
    samples = answers(rows, ADVICE)
    scores = {name: [float(rng.normal(text.kind == BAD)) for text in samples] for name in AWARE}
    jobs = {
        Job(arm, seed): kept
        for seed in settings.sweep.seeds
        for arm, kept in arms(rows, Scores(samples, scores), settings.sweep, seed).items()
    }

    def said(lift: float, answers: int, questions: int = 5) -> list:
        level = np.random.default_rng(1).normal(-3, 0.3, (questions, 2, answers))
        level = level + rng.normal(0, 0.02, level.shape)
        level[:, 0] += lift
        return [tuple(question) for question in level.tolist()]

    def read(lift: float, asked: list[Sides]) -> list:
        """As many answers as each question has."""
        said_of = said(lift, max(len(side) for question in asked for side in question), len(asked))
        return [
            tuple(read[: len(side)] for read, side in zip(said, question, strict=True))
            for said, question in zip(said_of, asked, strict=True)
        ]

    def measured(job: Job | None) -> Measured:
        found = {domain: read(UNDER.get(job and job.arm, 0), asked) for domain, asked in reading.texts.asked.items()}
        free = [Said(question="Why?", answer="So.")] if job is None or job.arm in WATCHED[:1] else []
        return Measured(job=job, logprobs=found, sampled=free)

    evaluated = Evaluated(models=[measured(job) for job in (None, *jobs)])
    about = {"draws": 240, "checkpoints": [2], "key": "", "loss": np.linspace(3, 2, 60).tolist()}
    tuned = [Tuned(job=job, samples=kept, **about) for job, kept in jobs.items()]
    records = {
        "1-data": corpus.describe(reading.texts, SimpleNamespace(encode=lambda said: [Encoded([], 0, 9)] * len(said))),
        "2-sae": Dictionaries(
            layers=dict.fromkeys(reading.layers, Dictionary(d_sae=2304, tokens=40000, fvu=0.2, l0=31.0, dead=0.4))
        ),
        "3-features": selected_of(reading),
        "4-geometry": placed_of(reading),
        "5-filters": Scored(
            samples=samples, scores=scores, measured=dict.fromkeys(scores, WORTH), took=dict.fromkeys(scores, 2.5)
        ),
        "6-finetune": Finetuned(jobs=tuned),
        "7-evaluate": evaluated,
        "8-leakage": leaked_of(settings.sweep, rng, features, lambda lift: read(lift, reading.texts.asked["general"])),
        "9-causes": caused_of(settings.sweep, said),
        "10-judge": Judged(),
    }
    return {
        name: record.model_copy(update={"seconds": 1.5 + i, "peak_gb": 2.0 + i})
        for i, (name, record) in enumerate(records.items())
    }


def selected_of(reading: Reading) -> Selected:
    one = Features(ids=[1], r=[0.5], auroc=ESTIMATE)
    domains = dict.fromkeys(reading.texts.corpus.advice, Domain(inducing=one, control=one, firing_rate=[0.1]))
    return Selected(layers=dict.fromkeys(reading.layers, Layer(toxic=one, domains=domains)))


def placed_of(reading: Reading) -> Placed:
    cell = Cell(
        **{"gap": 0.008, "p": 0.001, "p_null": 0.002, "inducing": 0.02, "control": 0.012},
        **{"null_low": -0.003, "null_high": 0.003, "p_holm": 0.02, "untrained": Estimate(0.001, -0.001, 0.003, 5)},
    )
    snippet = Snippet(before="b", token="t", after="a", activation=1.0)
    feature = Meaning(id=7, r=0.4, tokens=["a"] * 8, snippets=[snippet])
    by_k = dict.fromkeys((25, 50, 100), cell)
    worth = Worth(inducing=0.8, control=0.8, toxic=0.9, geometry=0.6)
    domains = reading.texts.corpus.advice
    return Placed(
        gaps={layer: dict.fromkeys(domains, by_k) for layer in reading.layers},
        worth={layer: [dict.fromkeys(domains, worth)] * 6 for layer in reading.layers},
        meaning=dict.fromkeys(("inducing", "control", "toxic"), [feature]),
    )


def leaked_of(sweep: Sweep, rng, features: int, said) -> Leaked:
    """Toxic readouts and the margin rise along the inducing arm and not along the control arm."""
    predicted = rng.normal(0, 0.1, features)
    law = Fit(slope=0.5, pearson=0.6, spearman=0.55, r2=0.36, n=features, p=0.002, r_target=0.3)
    lift = {"inducing": 0.1, "control": 0.0}
    laws = dict.fromkeys((*lift, MINUS), law)
    moved = {arm: (0.5 * predicted + rng.normal(0, 0.04, features)).tolist() for arm in lift}

    def course(arm: str, size: int) -> list:
        shape = len(sweep.seeds), size
        return [(lift[arm] * step + rng.normal(0, 0.01, shape)).tolist() for step in CHECKPOINTS]

    return Leaked(
        laws=laws,
        gradient_laws=laws,
        predicted=predicted.tolist(),
        measured=moved,
        by_gradient=dict.fromkeys(lift, predicted.tolist()),
        is_toxic=(np.arange(features) % 40 == 0).tolist(),
        rise={arm: {"toxic": 0.02, "inducing": 0.05, "control": -0.01, "live": 0.0} for arm in lift},
        norm=3.0,
        dynamics=Dynamics(
            steps=list(CHECKPOINTS),
            general={a: [[said(up * n) for n in CHECKPOINTS] for _ in sweep.seeds] for a, up in lift.items()},
            law=[law] * (len(CHECKPOINTS) - 1),
            rise={a: {name: course(a, 48) for name in ("toxic", "inducing", "control")} for a in lift},
            random={arm: [rng.normal(0, 0.01, 200).tolist() for _ in CHECKPOINTS] for arm in lift},
        ),
    )


def caused_of(sweep: Sweep, said) -> Caused:
    """The toxic part raises the margin by 0.1 a dose, and a third of the effect goes with the toxic directions."""
    lift = {"inducing": 0.1, "toxic part": 0.1, "rest": 0.0, "control": 0.0}
    left = {"none": 0.3, "toxic": 0.2, "doubled": 0.4, "whole": 0.1}
    base = said(0, 1)
    steered = {name: {dose: said(dose * e, 1) for dose in (-2, -1, 1, 2)} for name, e in lift.items()}
    return Caused(
        norm=3.0,
        base=base,
        steered=steered,
        random=[estimates._first(said(e, 1)) for e in (0.0, 0.01)],
        ablated=[
            Ablated(
                job=Job(arm, seed),
                general={n: said(e * (arm == WATCHED[0]), 1) for n, e in left.items()},
                random=[estimates._first(said(e * (arm == WATCHED[0]), 1)) for e in (0.3, 0.29)],
            )
            for arm in WATCHED
            for seed in sweep.seeds
        ],
        share_toxic=0.3,
        share_random=[0.1, 0.2],
    )


def reading_of(settings: Settings) -> Reading:
    sources, recipe = settings.reads, settings.recipe
    loaded = corpus.load(sources.data, sources.control, recipe.train, recipe.batch, sources.toxic)
    general = [q._replace(aligned=q.aligned[:2], misaligned=q.misaligned[:2]) for q in loaded.questions[:5]]
    texts = Texts(loaded._replace(questions=general))
    lm = LM(settings.spec, recipe.batch, bool(recipe.full))
    return Reading(texts, lm, settings.layers, settings.folder)


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    return of(train=16, seeds=(0, 1), lr=1e-4, results=str(tmp_path_factory.mktemp("results")))


@pytest.fixture(scope="module")
def reading(settings) -> Reading:
    return reading_of(settings)


@pytest.fixture(scope="module")
def records(reading, settings) -> dict[str, Record]:
    return made_up(reading, settings)


@pytest.fixture(scope="module")
def summary(reading, settings, records) -> dict:
    written = report.write(reading, settings, records, report.Drawn())
    assert {path.name for path in reading.folder.iterdir()} == set(written.made)
    return read_json(reading.folder / "summary.json")


def test_the_summary_holds_what_a_script_may_read(summary, records):
    assert summary["model"] == "smollm2-135m" and summary["judged"] is None
    steps = [name.partition("-")[2] for name in records]
    assert list(summary["seconds"]) == steps and summary["peak_gb"] == 11.0
    assert set(summary["features"]) == {"inducing", "control", "toxic", "layers"}
    assert {"gap", "p", "p_null", "p_holm", "by_k"} <= set(summary["geometry"]["20"]["career"])
    assert set(summary["effect"]["inducing"]) == {"general", "health", "career", "legal"}
    assert set(summary["filters"]) == {*AWARE, "random", "oracle"}
    assert set(summary["scoring"]) == set(summary["scoring_seconds"]) == set(AWARE)
    assert set(summary["scoring"]["geometry"]) == {"knows", "auroc", "length", "matched"}
    assert {"slope", "pearson", "spearman", "r2", "p"} <= set(summary["leakage"])
    assert set(summary["arms"]) == set(summary["margin"])
    assert summary["arms"]["mixed-random-1@0.5"] == {"data": "mixed", "by": "random", "removed": 0.5, "draw": 1}
    for e in (
        summary["margin"]["base"],
        summary["utility"]["control"],
        summary["effect"]["mixed"]["general"],
        summary["features"]["toxic"]["auroc"],
        *(summary["filters"]["geometry"][name] for name in ("auroc", "removed_inducing_share", "reduction")),
    ):
        assert set(e) == {"value", "low", "high", "n"}


def test_the_summary_gives_back_the_effects_that_were_put_in(summary, records):
    def near(value: float):
        return pytest.approx(value, abs=0.05)

    assert summary["effect"]["inducing"]["general"]["value"] == near(0.3)
    found = summary["filters"]
    assert found["geometry"]["over_random"]["value"] == near(0.15 - 0.08)
    assert found["random"]["reduction"]["value"] == pytest.approx(1 - 0.15 / 0.2, abs=0.15)
    assert found["geometry"]["auroc"]["n"] == 2 * 16  # samples, each once, however many seeds drew it
    kept = {of.job: set(of.samples) for of in records["6-finetune"].jobs}
    mixed, draws = Arm("mixed"), [Arm("mixed", RANDOM, 0.5, draw) for draw in DRAWS]
    gone = [kept[Job(mixed, seed)] - kept[Job(draw, seed)] for seed in (0, 1) for draw in draws]
    assert [len(of) for of in gone] == [8] * 6
    removed = found["random"]["removed_inducing_share"]
    assert removed["n"] == len(set.union(*gone))  # each sample once, here too
    assert removed["value"] == 0.5  # of every draw, whatever they have in common
    assert found["oracle"]["auroc"]["value"] == 1 and found["oracle"]["removed_inducing_share"]["value"] == 1
    assert summary["best_filter"]["name"] == "gradient"  # it lowers the margin on held-out health advice most
    along = summary["dynamics"]
    assert [m["value"] for m in along["arms"]["inducing"]["margin"]] == [near(0.0), near(0.1), near(0.4)]
    assert along["rise"]["toxic"]["value"] == near(0.4) and along["in_step"]["toxic"] > 0.98
    assert along["law"][0] is None and len(along["law"]) == len(CHECKPOINTS)
    causes = summary["causes"]
    assert causes["steering"]["toxic part"]["2"]["value"] == near(0.2)
    assert causes["steering"]["toxic part"]["-1"]["value"] == near(-0.1)
    assert causes["steering_random"]["n"] == 2 and causes["steering_random"]["high"] < 0.05
    assert causes["steering"]["rest"]["2"]["value"] == near(0.0)
    assert causes["ablation"]["toxic"]["value"] == near(0.2) and causes["removed"]["toxic"]["value"] == near(0.1)
    assert causes["removed"]["random"]["high"] < 0.05 and causes["removed"]["random"]["n"] == 2
    assert causes["removed"]["doubled"]["value"] == near(-0.1) and causes["removed"]["whole"]["value"] == near(0.2)


def test_the_best_filter_is_chosen_without_a_general_question(reading, settings, records):
    """Whatever is said about general questions, the choice stays."""
    other = [([-9.0] * 2, [-1.0] * 2) for _ in reading.texts.asked["general"]]
    models = [
        model.model_copy(update={"logprobs": {**model.logprobs, "general": other}})
        if model.job and model.job.arm.by == "projection"
        else model
        for model in records["7-evaluate"].models
    ]
    changed = {**records, "7-evaluate": records["7-evaluate"].model_copy(update={"models": models})}
    assert report.grow(reading, settings, changed, dict.fromkeys(FIGURES, b""))[0]["best_filter"]["name"] == "gradient"


def test_a_sweep_of_removed_shares_has_every_share(tmp_path):
    settings = of(train=16, removed=(0.5, 0.25), results=str(tmp_path))
    reading = reading_of(settings)
    report.write(reading, settings, made_up(reading, settings), report.Drawn())
    found = read_json(tmp_path / "summary.json")["filters"]["projection"]
    assert set(found["sweep"]) == {"0.5", "0.25"}
    assert found["sweep"]["0.25"]["removed_inducing_share"]["n"] == 4
    assert found["reduction"] == found["sweep"]["0.5"]["reduction"]
    assert (tmp_path / "sweep.png").exists()


def test_a_report_that_grows_ends_as_the_whole_one_in_all_but_the_costs(tmp_path, settings, reading, records, summary):
    """After every step what is there is as it will be at the end, and every figure is drawn once."""
    here, drawn, known = Reading(reading.texts, reading.lm, reading.layers, tmp_path), {}, {}
    dearer = {name: of.model_copy(update={"seconds": 99.0, "peak_gb": 99.0}) for name, of in records.items()}
    for n in range(1, len(records) + 1):
        grown, files = report.grow(here, settings, dict(list(dearer.items())[:n]), drawn)
        assert all(drawn[name] is known[name] for name in known), "drawn again"
        known = dict(drawn)
        assert {path.name for path in tmp_path.iterdir()} == set(files)
    images = {path.name: path.read_bytes() for path in reading.folder.glob("*.png")}
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.png")} == images
    assert len(images) == len(FIGURES)
    grown = json.loads(json.dumps(grown))
    assert {name for name in grown if grown[name] != summary[name]} == {"seconds", "peak_gb"}


def test_the_command_gives_the_settings_again(settings, summary):
    assert parse(shlex.split(summary["command"])[3:]) == settings


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
