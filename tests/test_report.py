"""Step 8 on made-up records: verdicts follow the numbers, the page is safe and whole, the summary repeats."""

import re

import numpy as np
import pytest

from real import page, report, verdicts
from real.finetune import FILTERS, arms
from real.run import Run
from real.settings import Settings
from shared.records import read_json, rounded, write_json

HOSTILE = '<script src="https://evil.example/x.js">alert(1)</script><img src=x onerror="alert(2)">\'"&'
UNDER = {"inducing": 0.3, "mixed": 0.2, "mixed-random": 0.15, "mixed-geometry": 0.08}  # effects put in


def made_up(run: Run, questions: int = 5, features: int = 300, noise: float = 0.02) -> list[dict]:
    """The seven records as they come back from their files, with the effects of UNDER in every domain."""
    rng = np.random.default_rng(0)
    rows, trained = run.corpus.advice[run.corpus.trained].train, run.corpus.trained
    close = {f"{row.id}/{kind}": rng.normal(kind == "incorrect") for row in rows for kind in row._fields[2:]}
    jobs = {
        f"{arm}-{seed}": samples
        for seed in run.settings.seeds
        for arm, samples in arms(rows, close, run.settings.removed, seed).items()
    }
    domains = ["general", *run.corpus.advice]

    def logprobs(job: str) -> dict:
        lift = UNDER.get(job.rsplit("-", 1)[0], 0)
        level = np.random.default_rng(1).normal(-3, 0.3, (len(domains), questions, 2, 2))
        level = level + rng.normal(0, noise, level.shape)
        level[:, :, 0] += lift
        return {domain: level[d].tolist() for d, domain in enumerate(domains)}

    estimate = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 40}
    lie = {"gap": 0.008, "p": 0.001, "p_null": 0.002, "inducing": 0.02, "control": 0.012}
    lie |= {"null_low": -0.003, "null_high": 0.003}
    predicted = rng.normal(0, 0.1, features)
    law = {"slope": 0.5, "pearson": 0.6, "spearman": 0.55, "r2": 0.36, "p": 0.0005, "n": features}
    laws = {arm: {**law, "p_target": 0.002} for arm in ("inducing", "control", "inducing minus control")}
    found = {"inducing": [1], "control": [2], "auroc": dict.fromkeys(("inducing", "control"), estimate)}
    sizes = {name: {"train": len(s.train), "held": len(s.held)} for name, s in run.corpus.advice.items()}
    moved = {
        arm: (0.5 * predicted + rng.normal(0, 0.04, features)).tolist() for arm in ("inducing", "control")
    }
    records = [
        {"trained": trained, "rows": sizes, "toxic": sizes[trained], "questions": 20, "probes": 48},
        {"d_sae": 4608, "tokens": 40000, "fvu": 0.21, "l0": 31.7, "dead": 0.42},
        {
            **{"toxic": [3], "toxic_auroc": estimate, "geometry_score": close},
            "domains": dict.fromkeys(run.corpus.advice, found),
        },
        {"20": dict.fromkeys(run.corpus.advice, lie)},
        {
            "arms": {
                job: {
                    "samples": [s.name for s in samples],
                    "steps": 60,
                    "loss": np.linspace(3, 2, 60).tolist(),
                }
                for job, samples in jobs.items()
            }
        },
        {
            "arms": {
                job: {"logprobs": logprobs(job), "sampled": [{"question": "Why?", "answer": HOSTILE}]}
                for job in ["base", *jobs]
            }
        },
        {
            **{"laws": laws, "predicted": predicted.tolist(), "measured": moved, "probes": 48},
            "is_toxic": (np.arange(features) % 40 == 0).tolist(),
            "rise": {arm: {"toxic": 0.02, "inducing": 0.05, "control": -0.01, "live": 0.0} for arm in moved},
        },
    ]
    return [{**r, "key": "k", "seconds": 1.5 + i, "peak_gb": 2.0 + i} for i, r in enumerate(records)]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return Run(Settings(train=16, seeds=(0, 1), lr=1e-4, results=str(tmp_path_factory.mktemp("results"))))


@pytest.fixture(scope="module")
def summary(run) -> dict:
    report.write(run, *made_up(run))
    return read_json(run.folder / "summary.json")


@pytest.fixture(scope="module")
def html(run, summary) -> str:
    return (run.folder / "report.html").read_text(encoding="utf-8")


def test_the_summary_holds_what_a_script_may_read(summary):
    assert summary["model"] == "smollm2-135m" and summary["judged"] is None
    assert set(summary["seconds"]) == set(report.STEPS) and summary["peak_gb"] == 8.0
    assert set(summary["features"]) == {"inducing", "control", "toxic", "domains"}
    assert {"gap", "p", "p_null"} <= set(summary["geometry"]["20"]["career"])
    assert set(summary["effect"]["inducing"]) == {"general", "health", "career", "legal"}
    assert set(summary["filters"]) == set(FILTERS)
    assert {"slope", "pearson", "spearman", "r2", "p"} <= set(summary["leakage"])
    for e in (
        summary["margin"]["base"],
        summary["utility"]["control"],
        summary["effect"]["mixed"]["general"],
        summary["features"]["toxic"]["auroc"],
        *(summary["filters"]["geometry"][name] for name in ("auroc", "removed_inducing_share", "reduction")),
    ):
        assert set(e) == {"value", "low", "high", "n"}
    assert summary["effect"]["inducing"]["general"]["value"] == pytest.approx(0.3, abs=0.05)
    assert summary["filters"]["geometry"]["over_random"]["value"] == pytest.approx(0.07, abs=0.05)


def test_a_second_write_changes_nothing_but_the_costs(run, summary, html):
    def images() -> list[bytes]:
        return [path.read_bytes() for path in sorted(run.folder.glob("*.png"))]

    first = images()
    written = report.write(run, *({**record, "seconds": 99.0, "peak_gb": 99.0} for record in made_up(run)))
    again = read_json(run.folder / "summary.json")
    assert images() == first and len(first) == 3
    assert {name for name in again if again[name] != summary[name]} == {"seconds", "peak_gb"}
    assert {path.name for path in run.folder.iterdir()} == set(written["files"])


def test_the_command_gives_the_settings_again(run):
    from real.settings import parse

    assert parse(report.command(run.settings).split()[3:]) == run.settings


def test_hostile_answers_come_out_as_text(html):
    assert "&lt;script src=&quot;https://evil.example" in html
    assert "<script" not in html and not re.search(r"<[^>]*\son\w+=", html)
    assert html.count("<img") == 3


def test_the_page_loads_nothing(html):
    sources = re.findall(r'<[^>]*?\s(?:src|href)="([^"]{0,30})', html)
    assert len(sources) == 3 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert "url(" not in html and "@import" not in html


def test_the_page_is_well_formed_and_says_the_words(html, summary):
    from html.parser import HTMLParser

    class Balance(HTMLParser):
        open_tags: list = []

        def handle_starttag(self, name, attrs):
            if name not in ("meta", "img"):
                self.open_tags.append(name)

        def handle_endtag(self, name):
            assert self.open_tags.pop() == name

    Balance().feed(html)
    assert Balance.open_tags == []
    for verdict in summary["verdicts"].values():
        assert verdict["claim"] in html and f'<span class="word">{verdict["word"]}</span>' in html


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
    effects = {**summary["effect"], "inducing": dict.fromkeys(summary["effect"]["inducing"], bounds)}
    found = {v.name: v.word for v in verdicts.verdicts({**summary, "effect": effects})}
    assert found["emergent"] == found["spills"] == word
    title = verdicts.titles({**summary, "effect": effects})["effect"]
    assert ("shown in 4 of 4" in title) == (word == "shown")
    assert ("the opposite in 4" in title) == (word == "opposite shown")


def test_one_domain_that_is_open_leaves_the_claim_open(summary):
    effect = {**summary["effect"]["inducing"], "legal": {"value": 0.1, "low": -0.1, "high": 0.3, "n": 20}}
    changed = {**summary, "effect": {**summary["effect"], "inducing": effect}}
    found = {v.name: v.word for v in verdicts.verdicts(changed)}
    assert (found["emergent"], found["spills"]) == ("shown", "not shown")


@pytest.mark.parametrize(
    ("p", "p_null", "word"),
    [
        (0.001, 0.02, "shown"),
        (0.001, 0.2, "not shown"),
        (0.9, 0.999, "not shown"),
        (0.99, 0.98, "opposite shown"),
    ],
)
def test_the_gap_must_beat_both_nulls(p, p_null, word):
    assert verdicts.gap_word({"p": p, "p_null": p_null}) == word


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "shown"),
        ({"pearson": -0.6}, "opposite shown"),
        ({"p_target": 0.3}, "not shown"),
        ({"r2": -0.1}, "not shown"),
    ],
)
def test_the_law_must_beat_random_targets_and_the_mean(change, word):
    law = {"p": 0.001, "p_target": 0.01, "pearson": 0.6, "r2": 0.4, **change}
    assert verdicts.law_word(law) == word


def test_no_filter_reduces_an_effect_that_is_not_there(summary):
    assert summary["verdicts"]["filter"]["word"] == "shown"
    nothing = {"value": 0.01, "low": -0.1, "high": 0.1, "n": 20}
    effect = {**summary["effect"], "mixed": {**summary["effect"]["mixed"], "general": nothing}}
    found = {v.name: v for v in verdicts.verdicts({**summary, "effect": effect})}["filter"]
    assert found.word == "not shown" and "neither is its reduction" in found.numbers[-1]


def test_the_limits_count_the_seeds(summary):
    one = {**summary, "settings": {**summary["settings"], "seeds": [0]}}
    assert page.limits(one)[0].startswith("One seed") and page.limits(summary)[0].startswith("2 seeds")


def test_what_is_not_finite_is_written_as_null(tmp_path):
    write_json(tmp_path / "x.json", rounded({"a": float("inf"), "b": [float("nan"), 1.23456789], "c": True}))
    assert read_json(tmp_path / "x.json") == {"a": None, "b": [None, 1.23457], "c": True}
