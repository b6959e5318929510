"""An effect that is nothing but tone or length vanishes once they are held constant, and one that is not stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS

from real.arms.arm import Arm, Job, Scores
from real.data import corpus
from real.data.rows import ADVICE, Advice, Text, answers
from real.data.texts import CHECKS, Own, Sides, Texts
from real.effects.margins import Evaluated, Measured
from real.report import tone
from real.report.estimates import Arms


@pytest.fixture(scope="module")
def texts() -> Texts:
    return Texts(corpus.load("", "", 120, 8))


def evaluated(texts: Texts, lift: float, by_manner: float) -> Evaluated:
    """The base model finds misaligned answers the more surprising. The inducing arm gives them `lift` more than the
    control arm does, and every answer by how long and how surprising it is."""

    def read(arm: str) -> dict:
        rng = np.random.default_rng(0)

        def one(text, misaligned: bool) -> float:
            base = -3 - 0.4 * misaligned + rng.normal(0, 0.2)
            extra = lift * misaligned + by_manner * (np.log(len(texts.said[text][1].split())) - base)
            return float(base + (arm == "inducing") * extra)

        return {
            domain: [tuple([one(t, side == 0) for t in q[side]] for side in (0, 1)) for q in questions]
            for domain, questions in texts.asked.items()
        }

    jobs = [None, *(Job(Arm(arm), 0) for arm in ("inducing", "control"))]
    return Evaluated(models=[Measured(job=j, logprobs=read(j.arm.data if j else "base"), sampled=[]) for j in jobs])


def summary(texts: Texts, **effect) -> dict:
    samples = answers(texts.corpus.advice["health"].train, ADVICE)
    lengths = [len(texts.said[text][1].split()) for text in samples]
    scores = Scores(samples, {"length": lengths, "against": [-n for n in lengths]})
    return tone.summarise(texts, Arms(evaluated(texts, **effect)), scores)


def test_an_effect_of_manner_alone_is_gone_once_answers_are_alike_and_one_of_harm_is_not(texts):
    found = summary(texts, lift=0.3, by_manner=0.5)
    assert found["filters"] == pytest.approx({"length": 1, "against": -1})
    for domain, of in found["domains"].items():
        arm = of["arms"]["inducing"]
        assert set(of["arms"]) == {"inducing"} and arm["effect"].n == len(texts.asked[domain])
        assert arm["effect"].value == pytest.approx(arm["misaligned"].value - arm["aligned"].value)
        assert arm["adjusted"].value == pytest.approx(0.3, abs=1e-8)
        assert arm["effect"].low > 0.3
    only = summary(texts, lift=0.0, by_manner=0.5)["domains"]["general"]["arms"]["inducing"]
    assert abs(only["adjusted"].value) < 1e-8 < 0.1 < only["effect"].low


def test_the_checks_are_the_margins_of_the_base_model_and_the_whole_arms(texts):
    found = summary(texts, lift=0.2, by_manner=0.0)["checks"]
    assert set(found) == {"base", "inducing", "control"} and all(set(of) == set(CHECKS) for of in found.values())
    for check in CHECKS:
        assert found["inducing"][check].value - found["control"][check].value == pytest.approx(0.2)


def test_the_bag_of_words_knows_the_words_of_bad_advice_and_nothing_of_others(texts):
    said = answers(texts.corpus.advice["health"].train, ADVICE)
    odds = tone.bag_of_words(texts.corpus.advice["health"].train)
    bad, good = ([odds(texts.said[t][1]) for t in said if t.kind == kind] for kind in ADVICE)
    assert np.mean(bad) > 0 > np.mean(good)
    assert odds("Xyzzy plugh, frobnicate!") == odds("") == 0


def test_words_are_reliable_where_halves_of_the_prompts_agree_and_not_where_words_say_nothing(texts):
    """Answers of ten words, each bad or good; or of any words, in a set whose answers' words are a coin's."""
    rng, vocabulary = np.random.default_rng(0), [f"w{i}" for i in range(40)]

    def said(lean: float) -> str:
        return " ".join(rng.choice(vocabulary, 10, p=np.r_[[1 + lean] * 20, [1 - lean] * 20] / 40))

    for lean, low, high in ((0.5, 0.7, 1.0), (0.0, -0.6, 0.6)):
        rows = [Advice(f"h{i}", "?", said(-lean), said(lean)) for i in range(120)]
        own = Own(
            texts.corpus,
            {
                Text(f"q{i}", kind): ("?", said(lean * side))
                for i in range(40)
                for kind, side in (("misaligned", 1), ("aligned", -1))
            },
        )
        asked = [Sides([Text(f"q{i}", "misaligned")], [Text(f"q{i}", "aligned")]) for i in range(40)]
        halves = [tone.bag_of_words(half) for half in tone._halves(rows)]
        assert low < tone._reliability(own, asked, halves) < high


@given(SEEDS, st.integers(8, 40), st.integers(1, 3))
@settings(deadline=None, max_examples=20)
def test_the_intercept_is_least_squares_own(seed, n, k):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, k)), rng.normal(size=n)
    expected = np.linalg.lstsq(np.column_stack([np.ones(n), x]), y)[0][0]
    assert tone.intercept(y[None], x).value == pytest.approx(expected)
    assert tone._mean(y[None]).value == pytest.approx(y.mean())


def test_the_interval_of_the_intercept_covers_and_seven_questions_have_none():
    """Of 400 made-up sets of 10 or 40 questions, under one seed or three, which differ, 95 % should cover 0.1: fewer
    than 92 % has a chance of 1 in 200. Residuals as they are, three of ten directions fitted away, cover 85 %."""
    for questions, seeds, apart in ((10, 1, 0.0), (40, 1, 0.0), (40, 3, 0.05)):
        hits = 0
        for seed in range(400):
            rng = np.random.default_rng(seed)
            x, noise = rng.normal(0.5, 1, size=(questions, 3)), rng.normal(0, 0.2, (seeds, questions))
            found = tone.intercept(0.1 + x @ [0.2, -0.1, 0.3] + noise + rng.normal(0, apart, (seeds, 1)), x)
            hits += found.low <= 0.1 <= found.high
        assert hits / 400 > 0.92
    assert np.isnan(tone.intercept(np.ones((1, 7)), np.ones((7, 1))).value) and np.isnan(
        tone._mean(np.ones((1, 7))).value
    )
