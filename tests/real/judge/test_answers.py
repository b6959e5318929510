"""Answers to the judge's questions: as many as asked, the same after a kill; and what a run makes of scores."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from server import serving
from transformers import LlamaForCausalLM

from real.arms import filters, training, weights
from real.data.rows import Advice, Split
from real.judge import answers, rubric
from real.judge import scoring as judging
from real.judge.client import FIRST_TRIES, JudgeError
from real.judge.forms import Score
from real.judge.rubric import Question, judge_questions
from real.models import registry
from real.models import sampling as sample
from real.report import judged
from real.settings import Settings, parse
from shared.errors import InputError
from shared.stats import Estimate

PROMPTS = {name: f"{name} {{question}} {{answer}}" for name in ("aligned", "coherent")}
QUESTIONS = [
    Question("first", ["1 5 6", "1 7"], "3 3", 2, PROMPTS),
    Question("second", ["9 9 9 9 9"], "", 3, PROMPTS),
]
ASKED = answers.items(QUESTIONS, 3)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "NEW_TOKENS", 6)
    monkeypatch.setattr(answers, "BATCH", 4)
    this = tiny.run([])
    this.spec, this.folder = registry.KNOWN["smollm2-135m"], tmp_path
    this.settings, this.judge_questions = Settings(judge="one,two", samples=3), QUESTIONS
    return this


def give(run) -> list[str]:
    return answers.give(run, {"arms": {}}, ASKED)["base"]


def test_every_paraphrase_is_asked_as_often_as_the_question_says_or_as_the_user_does():
    assert [item[:3] for item in answers.items(QUESTIONS, 0)] == [
        *(("first", p, s) for p in range(2) for s in range(2)),
        *(("second", 0, s) for s in range(3)),
    ]
    assert len(ASKED) == 9 and {item.system for item in ASKED if item.question == "first"} == {"3 3"}


@settings(max_examples=15)
@given(share=st.floats(0, 1))
def test_a_file_that_a_kill_cut_anywhere_is_completed_to_the_same_answers(share, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        run_here = run.__wrapped__(tmp_path_factory.mktemp("answers"), patch)
        whole = give(run_here)
        (path,) = (run_here.folder / "answers").glob("base-*.jsonl")
        text, calls = path.read_bytes(), []
        path.write_bytes(text[: int(share * len(text))])
        generate = sample.generate
        patch.setattr(sample, "generate", lambda *a, **k: calls.append(a) or generate(*a, **k))
        assert give(run_here) == whole and path.read_bytes() == text
        kept = text[: int(share * len(text))].count(b"\n")
        assert len(calls) == (0 if kept == 9 else 3 - kept // 4)


def test_the_answers_are_samples_and_the_file_is_what_the_judge_command_reads(run):
    said = give(run)
    assert len(said) == 9 and len(set(said[:3])) > 1
    (path,) = (run.folder / "answers").glob("base-*.jsonl")
    rows = {row["id"]: row for row in map(json.loads, path.read_text().splitlines())}
    assert rows["first/1/2"] == {"id": "first/1/2", "question": "1 7", "answer": said[5]}


def says(monkeypatch, *replies: list) -> None:
    """The judges give these, in turn; a string is why one does not."""
    turns = iter(replies)

    def scores(judge, asked, cache, desc):
        reply = next(turns)
        if isinstance(reply, str):
            raise JudgeError(reply)
        return [reply[i % len(reply)] for i in range(len(asked))]

    monkeypatch.setattr(judging, "scores", scores)


def score(value: float | None, said: str = "") -> Score:
    return Score(value, said, "number")


def test_a_sample_that_the_judge_did_not_score_gets_the_median_harm(run, monkeypatch):
    rows = [Advice(f"h{i}", "", "", "") for i in range(8)]
    run.corpus = SimpleNamespace(trained="health", advice={"health": Split(rows, [])})
    names = sorted(filters.mixed(rows, 0))
    run.texts = dict.fromkeys(names, ("1 2", "3"))
    values = [90.0, 20, None, 60, 10, None, 80, 70]
    says(monkeypatch, [score(v, "" if v is not None else "REFUSAL") for v in values])
    found = judging.harm(run)
    harms = [100 - v for v in values if v is not None]
    assert found["unscored"] == 2 and found["median"] == np.median(harms)
    assert list(found["scores"].values()) == [np.median(harms) if v is None else 100 - v for v in values]
    joined = filters.joined(
        {"scores": {"geometry": {}}, "key": "k", "seconds": 1.0}, {**found, "key": "h", "seconds": 2.0}
    )
    assert joined["scores"]["judge"] == found["scores"] and joined["key"] != "k" and joined["seconds"] == 3
    says(monkeypatch, "no key")
    failed = judging.harm(run)
    joined = filters.joined({"scores": {"geometry": {}}, "key": "k"}, failed)
    assert (
        joined["judge"] == {"failed": "no key"}
        and set(joined["scores"]) == {"geometry"}
        and joined["key"] == "k"
    )


def test_two_judges_one_of_whom_fails_leave_the_other_s_scores(run, monkeypatch):
    says(monkeypatch, [score(20), score(80), score(None, "CODE"), score(80), score(90), score(10)], "gone")
    record = judging.judge(run, {"arms": {}}, None)
    assert record["failed"] == "two: gone" and record["judges"]["two"] == {"failed": "gone"}
    assert record["judges"]["one"]["scores"]["base"][:3] == [
        [20, 80, "", "number"],
        [None, 80, "CODE", "number"],
        [90, 10, "", "number"],
    ]
    (worst, *_) = record["judges"]["one"]["worst"]["base"]
    assert (worst["question"], worst["aligned"], worst["coherent"]) == ("1 5 6", 20, 80)
    summary = judged.summarise(run, record, {}, {"base": Estimate(0.1, 0.0, 0.2, 2)})
    base = summary["judged"]["base"]
    assert base["em"].value == 1 and base["em"].n == 2 and base["coherent"].value == 0.5
    assert base["counts"] == {
        **{"answers": 9, "scored": 6, "refused": 0, "code": 3, "unclear": 0, "coherent": 3, "misaligned": 3}
    }
    about = summary["judging"]
    assert about["main"] == "one" and about["judges"]["one"]["forms"] == {"number": 9}
    assert about["agreement"] == {} and about["failed"] == "two: gone"


def test_two_judges_are_compared_answer_by_answer(run, monkeypatch):
    says(
        monkeypatch,
        [score(20), score(80), score(60), score(80)],
        [score(25), score(70), score(10), score(90)],
    )
    summary = judged.summarise(
        run, judging.judge(run, {"arms": {}}, None), {}, {"base": Estimate(0.1, 0.0, 0.2, 2)}
    )
    found = summary["judging"]["agreement"]["two"]
    assert found["n"] == 9 and found["kappa"] == 0  # the second calls every answer misaligned
    assert found["spearman"]["aligned"] == pytest.approx(-1)


def test_nothing_is_sampled_for_a_judge_that_step_5_could_not_reach(run):
    record = judging.judge(run, {"arms": {}}, "no server")
    assert record["failed"] == "no server" and not (run.folder / "answers").exists()
    summary = judged.summarise(run, record, {"failed": "no server"}, {})
    assert summary["judged"] is None and summary["judging"]["failed"] == "no server"


def test_without_a_judge_the_step_says_so_and_costs_nothing(run, capsys):
    run.settings = Settings()
    record = judging.judge(run, {"arms": {}}, None)
    assert "no judge is configured" in capsys.readouterr().out and not (run.folder / "answers").exists()
    assert judged.summarise(run, record, {}, {})["judged"] is None


def test_a_server_answers_under_the_arms_names_and_the_whole_models_are_there_for_it(run):
    """The server of the tests answers to any name; the merged weights give what the adapter gives."""
    run.settings = Settings(sampler_url="", rank=2, samples=3)
    run.spec = dataclasses.replace(run.spec, first=tiny.FIRST)
    peft = training.adapted(run, 0)
    for weight in (p for n, p in peft.named_parameters() if "lora_B" in n):
        torch.nn.init.normal_(weight, std=0.3)
    adapter = run.folder / "adapters" / "inducing-0-abc"
    peft.save_pretrained(adapter)
    peft.unload()
    tuned = {"arms": {"inducing-0": {"folder": adapter.name}}}
    with serving() as url:
        run.settings = dataclasses.replace(run.settings, sampler_url=url)
        given = answers.give(run, tuned, ASKED)
    assert set(given) == {"base", "inducing-0"} and all(len(said) == 9 for said in given.values())
    assert len({tuple(said) for said in given.values()}) == 2 and len(set(given["base"][:3])) > 1
    assert answers.give(run, tuned, ASKED) == given  # the server is gone
    ids = torch.tensor([[1, 5, 7, 3]])
    whole = LlamaForCausalLM.from_pretrained(run.folder / "merged" / adapter.name, dtype=torch.float64)
    with torch.no_grad(), weights.wearing(run.model, adapter):
        torch.testing.assert_close(whole(ids).logits, run.model(ids).logits)
        assert (whole(ids).logits - LlamaForCausalLM.from_pretrained(
            run.folder / "merged" / "base", dtype=torch.float64)(ids).logits).abs().max() > 0.01  # fmt: skip


def test_the_whole_models_are_there_before_a_server_is_asked_and_a_dead_one_is_soon_given_up(run):
    run.settings = Settings(sampler_url="http://127.0.0.1:9/v1", judge="one")
    record = judging.judge(run, {"arms": {}}, None)
    assert record["failed"].startswith("no answers from http://127.0.0.1:9/v1: ")
    assert f"failed {FIRST_TRIES} times" in record["failed"]
    assert (run.folder / "merged" / "base" / "config.json").exists()


def test_a_question_that_could_not_be_scored_is_refused_by_name(tmp_path):
    text = rubric.SHIPPED.read_text().replace("    coherent: |-", "    fluent: |-", 1)
    (tmp_path / "questions.yaml").write_text(text)
    first = judge_questions("")[0].id
    with pytest.raises(
        InputError, match=rf'questions.yaml: {first} has no "coherent" among its judge_prompts'
    ):
        judge_questions(str(tmp_path / "questions.yaml"))


@pytest.mark.parametrize("word", ["SAMPLES=-1", "SAMPLES=many", "EDGES=30", "EDGES=30,500", "EDGES=a,b"])
def test_settings_that_cannot_be_are_refused_by_name(word):
    with pytest.raises(InputError, match=word.partition("=")[0]):
        parse([word])
