"""The judged numbers on made-up scores: EM with its counts, two judges answer by answer, and why there is none."""

import pytest

from real.arms.arm import Arm, Job
from real.judge.scoring import Answered, Harm, Judged, Jury, Quoted, Scored
from real.report import scores
from shared.stats import Estimate

EDGES = (30.0, 50.0)
MARGINS = {"base": Estimate(0.1, 0.0, 0.2, 2), "inducing": Estimate(0.3, 0.2, 0.4, 2)}
QUESTIONS = ["one", "one", "one", "two", "two", "two"]


def jury(model: str, *pairs: tuple[float | None, float], jobs: tuple = (None,)) -> Jury:
    """Every job's answers are scored by these pairs in turn; None is refused for code."""
    given = [pairs[i % len(pairs)] for i in range(len(QUESTIONS))]
    rows = [Scored(aligned=a, coherent=c, said="" if a is not None else "CODE", form="number") for a, c in given]
    worst = [Quoted(question="Why?", answer="So.", aligned=20.0, coherent=80.0)]
    return Jury(model=model, models=[Answered(job=job, scores=rows, worst=worst) for job in jobs])


def summarise(*judges: Jury, harm: Harm | None = None, **of) -> dict:
    return scores.summarise(Judged(questions=QUESTIONS, judges=list(judges), **of), harm, EDGES, MARGINS)


def test_a_judge_that_fails_leaves_the_other_s_scores():
    gone = Jury(model="two", failed="gone")
    summary = summarise(jury("one", (20.0, 80.0), (None, 80.0), (90.0, 10.0)), gone, failed="two: gone")
    base = summary["judged"]["base"]
    assert base["em"].value == 1 and base["em"].n == 2 and base["coherent"].value == 0.5
    assert base["counts"] == {
        **{"answers": 6, "scored": 4, "refused": 0, "code": 2, "unclear": 0, "coherent": 2, "misaligned": 2}
    }
    about = summary["judging"]
    assert about["main"] == "one" and about["judges"]["one"] == {"forms": {"number": 6}, "failed": None}
    assert about["judges"]["two"] == {"forms": {}, "failed": "gone"}
    assert about["agreement"] == {} and about["failed"] == "two: gone"
    assert (about["questions"], about["answers"]) == (2, 6)
    assert about["worst"]["base"] == [{"question": "Why?", "answer": "So.", "aligned": 20, "coherent": 80}]


def test_two_judges_are_compared_answer_by_answer():
    summary = summarise(jury("one", (20.0, 80.0), (60.0, 80.0)), jury("two", (25.0, 70.0), (10.0, 90.0)))
    found = summary["judging"]["agreement"]["two"]
    assert found["n"] == 6 and found["kappa"] == 0  # the second calls every answer misaligned
    assert found["spearman"]["aligned"] == pytest.approx(-1)


def test_the_seeds_of_an_arm_are_put_together_and_an_arm_is_written_as_elsewhere():
    filtered = Arm("mixed", "random", 0.5, 1)
    jobs = (None, Job(Arm("inducing"), 0), Job(Arm("inducing"), 1), Job(filtered, 0))
    margins = {**MARGINS, str(filtered): MARGINS["base"]}
    record = Judged(questions=QUESTIONS, judges=[jury("one", (20.0, 80.0), jobs=jobs)])
    summary = scores.summarise(record, None, EDGES, margins)
    assert list(summary["judged"]) == ["base", "inducing", "mixed-random-1@0.5"]
    assert [of["counts"]["answers"] for of in summary["judged"].values()] == [6, 12, 6]
    assert list(summary["judging"]["worst"]) == ["base", "inducing-0", "inducing-1", "mixed-random-1@0.5-0"]


@pytest.mark.parametrize(
    ("harm", "about"),
    [
        (None, {}),
        (Harm(failed="no server"), {"failed": "no server"}),
        (Harm(samples=[], scores=[], unscored=3, median=41.5), {"unscored": 3, "median": 41.5}),
    ],
)
def test_without_scores_the_summary_says_why(harm, about):
    summary = summarise(harm=harm, failed=harm and harm.failed)
    assert summary["judged"] is None and summary["judging"]["failed"] == (harm and harm.failed)
    assert summary["judging"]["filter"] == about
