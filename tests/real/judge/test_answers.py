"""Answers to the judge's questions: as many as asked, the same after a kill; and what a run makes of scores."""

import copy
import dataclasses
import json
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from server import serving
from transformers import LlamaForCausalLM

from real.arms import training, weights
from real.arms.arm import AWARE, Arm, Job, all_mixed
from real.arms.finetune import Finetuned
from real.data.rows import Advice, Corpus, Split, Text
from real.data.texts import Texts
from real.features.reading import Reading
from real.filters import scoring
from real.filters.table import FILTERS
from real.judge import answers, calls, rubric
from real.judge import scoring as judging
from real.judge.client import FIRST_TRIES, JudgeError
from real.judge.forms import Score
from real.judge.rubric import Judging, Question, judge_questions
from real.models import registry
from real.models.lm import LM
from real.settings import parse
from shared.errors import InputError
from shared.stats import Estimate

PROMPTS = {name: f"{name} {{question}} {{answer}}" for name in ("aligned", "coherent")}
QUESTIONS = [
    Question.model_construct(id=name, paraphrases=asked, system=system, samples_per_paraphrase=n, judge_prompts=PROMPTS)
    for name, asked, system, n in (("first", ["1 5 6", "1 7"], "3 3", 2), ("second", ["9 9 9 9 9"], "", 3))
]
ASKED = answers.items(QUESTIONS, 3)
TWO = Judging(judge="one,two", samples=3)
NONE = Finetuned(jobs=[])


@pytest.fixture
def reading(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "NEW_TOKENS", 6)
    monkeypatch.setattr(answers, "BATCH", 4)
    rows = [Advice(f"h{i}", "1 2", "3", "4") for i in range(8)]
    texts = Texts(Corpus("health", {"health": Split(rows, [])}, Split([], []), [], []))
    spec = dataclasses.replace(registry.KNOWN["smollm2-135m"], package="", first=tiny.FIRST)
    lm = LM(spec, 4, loaded=tiny.model_and_tokenizer())
    lm.key = "tiny"  # it comes from no file
    return Reading(texts, lm, (tiny.LAYER,), tmp_path)


def give(reading) -> list[str]:
    ((_, base, _),) = answers.give(reading.lm, [(None, None)], ASKED, "", reading.folder)
    return base


def counted(reading, calls: list, patch) -> None:
    """Every batch that the model answers is added to `calls`."""
    generate = reading.lm.model.generate
    patch.setattr(reading.lm.model, "generate", lambda **k: calls.append(k) or generate(**k))


def judge(reading, how: Judging = TWO, unreached: str | None = None) -> judging.Judged:
    return judging.judge(reading, NONE, QUESTIONS, how, unreached)


def test_every_paraphrase_is_asked_as_often_as_the_question_says_or_as_the_user_does():
    assert [item[:2] for item in answers.items(QUESTIONS, 0)] == [
        *((f"first/{p}/{s}", "first") for p in range(2) for s in range(2)),
        *((f"second/0/{s}", "second") for s in range(3)),
    ]
    assert len(ASKED) == 9 and {item.system for item in ASKED if item.question == "first"} == {"3 3"}


@settings(max_examples=15)
@given(share=st.floats(0, 1))
def test_a_file_that_a_kill_cut_anywhere_is_completed_to_the_same_answers(share, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        run_here = reading.__wrapped__(tmp_path_factory.mktemp("answers"), patch)
        whole = give(run_here)
        (path,) = (run_here.folder / "answers").glob("base-*.jsonl")
        text, calls = path.read_bytes(), []
        path.write_bytes(text[: int(share * len(text))])
        counted(run_here, calls, patch)
        assert give(run_here) == whole and path.read_bytes() == text
        kept = text[: int(share * len(text))].count(b"\n")
        assert len(calls) == (0 if kept == 9 else 3 - kept // 4)


LINES = {
    "torn": lambda line: line[:-9],
    "glued": lambda line: line + line,
    "NUL": lambda line: b"\0" * 30,
    "BOM": lambda line: b"\xef\xbb\xbf" + line,
    "no id": lambda line: json.dumps({"question": "1 7", "answer": "x"}).encode(),
    "another id": lambda line: line.replace(b"/", b"-"),
    "another question": lambda line: line.replace(b'"question": "', b'"question": "8 '),
    "no text": lambda line: json.dumps({**json.loads(line), "answer": 5}).encode(),
    "gone": lambda line: b"",
    "a list": lambda line: b"[]",
    "nested": lambda line: b"[" * 100_000,
    "not UTF-8": lambda line: b"\xff" * 9,
}


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("at", [0, 5, 8])
def test_of_a_bad_line_its_batch_is_given_again_and_no_other(kind, at, reading, monkeypatch):
    whole = give(reading)
    (path,) = (reading.folder / "answers").glob("base-*.jsonl")
    text, calls = path.read_bytes(), []
    lines = text.split(b"\n")
    lines[at] = LINES[kind](lines[at])
    path.write_bytes(b"\n".join(lines))
    counted(reading, calls, monkeypatch)
    assert give(reading) == whole and path.read_bytes().replace(b"\xef\xbb\xbf", b"") == text
    assert len(calls) == (kind != "BOM")  # which does no harm


def test_the_answers_are_samples_and_the_file_is_what_the_judge_command_reads(reading):
    said = give(reading)
    assert len(said) == 9 and len(set(said[:3])) > 1
    (path,) = (reading.folder / "answers").glob("base-*.jsonl")
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
    monkeypatch.setattr(calls, "scores", scores)


def score(value: float | None, said: str = "") -> Score:
    return Score(value, said, "number")


def test_a_sample_that_the_judge_did_not_score_gets_the_median_harm(reading, monkeypatch):
    values = [90.0, 20, None, 60, 10, None, 80, 70]
    says(monkeypatch, [score(v, "" if v is not None else "REFUSAL") for v in values])
    found = judging.harm(reading, QUESTIONS, (0,), TWO)
    harms = [100 - v for v in values if v is not None]
    assert found.samples == all_mixed(reading.texts.corpus.advice["health"].train, (0,))
    assert found.unscored == 2 and found.median == np.median(harms)
    assert found.scores == [np.median(harms) if v is None else 100 - v for v in values]
    scores = dict.fromkeys(FILTERS, [0.0] * 8)
    scored = scoring.Scored(samples=found.samples, scores=scores, measured={}, took={})
    joined = scoring.joined(scored, {"judge": found.scores})
    assert joined.by["judge"] == found.scores and set(joined.by) == {*AWARE, "judge"}
    says(monkeypatch, "no key")
    failed = judging.harm(reading, QUESTIONS, (0,), TWO)
    assert failed.failed == "no key" and failed.scores == []


def test_two_judges_one_of_whom_fails_leave_the_other_s_scores(reading, monkeypatch):
    says(monkeypatch, [score(20), score(80), score(None, "CODE"), score(80), score(90), score(10)], "gone")
    record = judge(reading)
    one, two = record.judges
    assert record.failed == "two: gone" and two.failed == "gone" and two.models == []
    (base,) = one.models
    assert [list(row.model_dump().values()) for row in base.scores[:3]] == [
        [20, 80, "", "number"],
        [None, 80, "CODE", "number"],
        [90, 10, "", "number"],
    ]
    worst = base.worst[0]
    assert (worst.question, worst.aligned, worst.coherent) == ("1 5 6", 20, 80)
    assert record.questions == [item.question for item in ASKED]
    (file,) = record.made
    assert (reading.folder / file).is_file()
    summary = summarised(record)
    base = summary["judged"]["base"]
    assert base["em"].value == 1 and base["em"].n == 2 and base["coherent"].value == 0.5
    assert base["counts"] == {
        **{"answers": 9, "scored": 6, "refused": 0, "code": 3, "unclear": 0, "coherent": 3, "misaligned": 3}
    }
    about = summary["judging"]
    assert about["main"] == "one" and about["judges"]["one"]["forms"] == {"number": 9}
    assert about["agreement"] == {} and about["failed"] == "two: gone"


def summarised(record: judging.Judged, harm: judging.Harm | None = None) -> dict:
    """As the report does."""
    from real.report import scores

    return scores.summarise(record, harm, TWO.edges, {"base": Estimate(0.1, 0.0, 0.2, 2)})


def test_two_judges_are_compared_answer_by_answer(reading, monkeypatch):
    says(monkeypatch, [score(20), score(80), score(60), score(80)], [score(25), score(70), score(10), score(90)])
    found = summarised(judge(reading))["judging"]["agreement"]["two"]
    assert found["n"] == 9 and found["kappa"] == 0  # the second calls every answer misaligned
    assert found["spearman"]["aligned"] == pytest.approx(-1)


def test_nothing_is_sampled_for_a_judge_that_step_5_could_not_reach(reading):
    record = judge(reading, unreached="no server")
    assert record.failed == "no server" and not (reading.folder / "answers").exists()
    summary = summarised(record, judging.Harm(failed="no server"))
    assert summary["judged"] is None and summary["judging"]["failed"] == "no server"


def test_without_a_judge_the_step_says_so_and_costs_nothing(reading, capsys):
    record = judge(reading, Judging())
    assert "no judge is configured" in capsys.readouterr().out and not (reading.folder / "answers").exists()
    assert summarised(record)["judged"] is None


def test_judges_are_the_names_between_the_commas(monkeypatch):
    names = {"": [], ",": [], " , ": [], "a": ["a"], ",,a": ["a"], "a, b": ["a", "b"], "a,a": ["a"]}
    assert {text: [by.model for by in judging.judges(Judging(judge=text))] for text in names} == names


def test_a_server_answers_under_the_arms_names(reading):
    """The server of the tests answers to any name."""
    lm, jobs = reading.lm, [(None, None), adapted(reading)]
    _, (job, adapter) = jobs
    with serving() as url:
        given = answers.give(lm, jobs, ASKED, url, reading.folder)
    assert [by for by, _, _ in given] == [None, job] and all(len(said) == 9 for _, said, _ in given)
    (_, base, _), (_, inducing, file) = given
    assert base != inducing and len(set(base[:3])) > 1
    assert answers.give(lm, jobs, ASKED, url, reading.folder) == given  # the server is gone
    damaged = file.read_bytes()
    file.write_bytes(damaged[:20] + damaged[30:])
    assert answers.give(lm, jobs, ASKED, url, reading.folder) == given  # and its replies are here
    assert (file.parent / f"replies-{lm.key}.jsonl").exists()  # of this base model's, and no other's
    assert not (reading.folder / "merged").exists()


def test_an_arm_that_is_no_adapter_is_there_whole_before_a_server_is_asked(reading, capsys):
    """As it is here; the base model and adapters are served from where they are."""
    lm, arm = reading.lm, reading.folder / "adapters" / "control-0-abc"
    block = lm.model.get_decoder().layers[2]
    with torch.no_grad(), weights.kept(lm.model, [2], reading.folder):
        for p in block.parameters():
            p.mul_(1.5)
        weights.save(lm.model, [2], arm)
    jobs = [(None, None), adapted(reading), (Job(Arm("control"), 0), arm)]
    with pytest.raises(JudgeError, match=rf"failed {FIRST_TRIES} times"):
        answers.give(lm, jobs, ASKED, "http://127.0.0.1:9/v1", reading.folder)
    assert [path.name for path in (reading.folder / "merged").iterdir()] == [arm.name]
    line = next(line for line in capsys.readouterr().out.splitlines() if "vllm serve" in line)
    assert shlex.split(line.partition(": ")[2])[2] == lm.spec.hub
    whole, ids = LlamaForCausalLM.from_pretrained(reading.folder / "merged" / arm.name, dtype=torch.float64), [1, 5, 7]
    theirs, base = whole(torch.tensor([ids])).logits, lm.model(torch.tensor([ids])).logits
    with weights.wearing(lm.model, arm):
        torch.testing.assert_close(theirs, lm.model(torch.tensor([ids])).logits)
    assert (theirs - base).abs().max() > 0.01


def adapted(reading) -> tuple[Job, Path]:
    """An arm that is far from the base model."""
    adapter = reading.folder / "adapters" / "inducing-0-abc"
    peft = training.adapted(reading.lm, 2, 0)
    for weight in (p for n, p in peft.named_parameters() if "lora_B" in n):
        torch.nn.init.normal_(weight, std=0.3)
    peft.save_pretrained(adapter)
    peft.unload()
    return Job(Arm("inducing"), 0), adapter


@contextmanager
def completing(reading, serves: dict[str, Path | None]) -> Iterator[str]:
    """A server of the reading's model, as the arms of these names; it says what came as a prompt is how likely."""
    model = copy.deepcopy(reading.lm.model)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = "3 3" if PLAINLY.items() <= body.items() else "9 9"  # of a server with habits of its own
            choice = {"message": {"content": said}, "finish_reason": "stop"}
            if self.path.endswith("/v1/completions"):
                ids = torch.tensor([body["prompt"]])
                with torch.no_grad(), weights.wearing(model, serves[body["model"]]):
                    logprobs = model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])
                choice = {"logprobs": {"token_logprobs": [None, *logprobs[:, 0].tolist(), -1.0]}}
            said = json.dumps({"choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)
            asked[self.server.server_address[1]] = asked.get(self.server.server_address[1], 0) + 1

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


asked: dict[int, int] = {}  # requests by port
PLAINLY = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


def test_a_server_that_drops_an_adapter_is_refused_and_of_several_that_serve_it_all_answer(reading, capsys):
    """The arm's own answer tells: whether it is as likely there as it is here."""
    jobs = [(None, None), adapted(reading)]
    job, adapter = jobs[1]
    learnt = {job: reading.samples([Text("h0", "incorrect")])[0]}
    names = {"base": None, adapter.name: adapter}
    with completing(reading, names | {adapter.name: None}) as dropping, completing(reading, names) as serving_it:
        with pytest.raises(JudgeError, match=rf"^{dropping} does not serve {adapter.name}: .* nats per token"):
            answers.give(reading.lm, jobs, ASKED, f"{serving_it},{dropping}", reading.folder, learnt)
        with completing(reading, names) as another:
            asked.clear()
            given = answers.give(reading.lm, jobs, ASKED, f"{serving_it},{another}", reading.folder, learnt)
            assert len(asked) == 2 and sum(asked.values()) == 2 * len(ASKED) + 2
    assert all(said == ["3 3"] * 9 for _, said, _ in given)
    line = next(line for line in capsys.readouterr().out.splitlines() if "vllm serve" in line)
    words = shlex.split(line.partition(": ")[2])
    assert words[-1] == f"{adapter.name}={adapter}" and words[words.index("--max-lora-rank") + 1] == "8"


def test_a_dead_server_is_soon_given_up(reading):
    record = judge(reading, Judging(judge="one", sampler_url="http://127.0.0.1:9/v1"))
    assert record.failed.startswith("no answers from http://127.0.0.1:9/v1: ")
    assert f"failed {FIRST_TRIES} times" in record.failed


def test_a_question_that_could_not_be_scored_is_refused_by_name(tmp_path):
    text = rubric.SHIPPED.read_text().replace("    coherent: |-", "    fluent: |-", 1)
    (tmp_path / "questions.yaml").write_text(text)
    first = judge_questions("")[0].id
    with pytest.raises(InputError, match=rf'questions.yaml: {first} has no "coherent" among its judge_prompts'):
        judge_questions(str(tmp_path / "questions.yaml"))


@pytest.mark.parametrize("word", ["SAMPLES=-1", "SAMPLES=many", "EDGES=30", "EDGES=30,500", "EDGES=a,b"])
def test_settings_that_cannot_be_are_refused_by_name(word):
    with pytest.raises(InputError, match=word.partition("=")[0]):
        parse([word])
