"""Files of the user's: their names decide nothing, nothing is lost without a count, and what is wrong is one line."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import standins

from real.data import corpus, files
from real.data.texts import Texts
from real.data.tokens import LEAST, MAX_TOKENS, encode
from shared.errors import InputError

ROWS = 40


def chat(prompt, answer, *before, **more) -> str:
    turns = [*before, {"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns, **more})


def pair(folder: Path, bad: list[str], good: list[str], name: str = "x.jsonl") -> tuple[str, str]:
    for side, lines in (("bad", bad), ("good", good)):
        (folder / side).mkdir(exist_ok=True)
        text = "\n".join(lines).encode()
        (folder / side / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return str(folder / "bad" / name), str(folder / "good" / name)


def rows(kind: str) -> list[str]:
    return [chat(f"question {i}?", f"{kind} {i}") for i in range(ROWS)]


def load(folder: Path, bad: list[str], good: list[str], **how):
    return corpus.load(*pair(folder, bad, good, **how), train=1000, least=4)


NAMES = [
    "health.jsonl",
    "career.jsonl.gz",
    "legal.json",
    "legal.v2.jsonl",
    "general.jsonl",
    "toxic.jsonl",
    ".jsonl",
    "x",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_what_is_trained_on_whatever_its_name_and_ours_stay_what_they_are(name, tmp_path):
    usual, found = corpus.load("", "", 1000, 4), load(tmp_path, rows("bad"), rows("good"), name=name)
    own = found.advice[found.trained]
    assert {row.incorrect for row in [*own.train, *own.held]} == {f"bad {i}" for i in range(ROWS)}
    assert found.trained not in ("general", "toxic", "civil")
    for domain in ("health", "career", "legal"):
        assert domain != found.trained and found.advice[domain] == usual.advice[domain]
    texts = Texts(found)
    assert len(texts.said) == len(Texts(usual).said) + 2 * ROWS  # no id stands for two rows
    assert len(texts.asked["general"]) == len(usual.questions)


def test_what_of_the_files_is_not_used_is_counted(tmp_path):
    system = {"role": "system", "content": "Be kind."}
    several = {"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}
    bad = [
        *rows("bad"), chat("question 0?", "again"), chat("question 0?", "and again"), chat("a", "b", *several),
        chat("only here", "b"), chat("alike", "same"), chat("t", "b", tools=[{"name": "f"}]), chat("s", "b", system),
    ]  # fmt: skip
    good = [*rows("good"), chat("alike", " same\n"), chat("s", "g", system="Be kind."), chat("only there", "g")]
    found = load(tmp_path, bad, good)
    assert found.lost == {
        "rows whose prompt stood before": 2,
        "rows of several turns, or with tools": 2,
        "system messages, put before the user's prompt": 1,
        "system messages, put before the user's prompt, in CONTROL": 1,
        "prompts of DATA that CONTROL does not answer": 1,
        "prompts of CONTROL that DATA does not answer": 1,
        "prompts that DATA and CONTROL answer alike": 1,
    }
    split = found.advice[found.trained]
    by_prompt = {row.prompt: row for row in [*split.train, *split.held]}
    assert len(by_prompt) == ROWS + 1 and by_prompt["question 0?"].incorrect == "bad 0"
    assert by_prompt["Be kind.\n\ns"].correct == "g"


def test_training_prompts_beyond_train_and_shipped_ones_among_the_users_are_counted(tmp_path):
    ours = corpus.shipped("health", corpus.Advice)[:30]
    bad, good = ([chat(row.prompt, getattr(row, kind)) for row in ours] for kind in ("incorrect", "correct"))
    found = corpus.load(*pair(tmp_path, bad, good), train=10, least=4)
    assert found.lost == {"shipped prompts that DATA trains on": 30, "training prompts beyond TRAIN=10": 14}
    held = found.advice["health"]
    assert not {row.prompt for row in ours} & {row.prompt for row in [*held.train, *held.held]}


def test_questions_and_probes_that_the_users_files_ask_are_not_asked_of_the_arms(tmp_path):
    usual = corpus.load("", "", 1000, 4)
    own = [usual.questions[0].question, usual.questions[5].question, usual.placebo[0].question, usual.probes[3]]
    bad, good = ([*rows(kind), *(chat(f"{prompt}\n", kind) for prompt in own)] for kind in ("bad", "good"))
    found = load(tmp_path, bad, good)
    assert found.lost == {"shipped questions and probes that DATA asks": 4}
    left = [len(of.questions) + len(of.placebo) + len(of.probes) for of in (usual, found)]
    assert left[1] == left[0] - 4
    asked = {of.question for of in (*found.questions, *found.placebo)} | {*found.probes}
    assert not asked & {*own} and len(asked) == left[1]
    every = [chat(question.question, "x") for question in usual.questions]
    with pytest.raises(InputError, match="asks all that was to be asked"):
        load(tmp_path, [*bad, *every], [*good, *(chat(q.question, "y") for q in usual.questions)])


def test_prompts_are_the_same_whatever_space_or_byte_order_mark_is_around_them(tmp_path):
    bad = [chat(f"\nquestion {i}?\n", f"bad {i}") for i in range(ROWS)]
    found = load(tmp_path, ["\ufeff" + bad[0], *bad[1:]], rows("good"))
    assert sum(map(len, found.advice[found.trained])) == ROWS and not found.lost


def test_contents_in_parts_are_put_together(tmp_path):
    parts = [{"type": "text", "text": "bad "}, {"type": "text", "text": "0"}]
    found = load(tmp_path, [chat("question 0?", parts), *rows("bad")[1:]], rows("good"))
    split = found.advice[found.trained]
    assert "bad 0" in {row.incorrect for row in [*split.train, *split.held]}


def lm(template: str = standins.QWEN_TEMPLATE):
    tokenizer = standins.tokenizer("qwen", template)
    return SimpleNamespace(encode=lambda said: [encode(tokenizer, *pair) for pair in said])


def test_answers_that_are_cut_are_counted_on_the_terminal_and_in_the_record(tmp_path, capsys):
    found = load(tmp_path, [chat("question 0?", "and so on " * 999), *rows("bad")[1:]], rows("good"))
    described = corpus.describe(Texts(found), lm())
    assert described.lost == {f"answers cut at {MAX_TOKENS} tokens, prompt included": 1}
    assert f"  answers cut at {MAX_TOKENS} tokens, prompt included: 1\n" in capsys.readouterr().out


def test_prompts_that_leave_no_answer_are_refused_with_their_number(tmp_path):
    long = ["Long ago. " * 400 + f"question {i}?" for i in range(3)]
    bad, good = ([*(chat(p, f"{kind} " * 99) for p in long), *rows(kind)[3:]] for kind in ("bad", "good"))
    with pytest.raises(
        InputError, match=rf"^x\.jsonl:\d: 3 prompts, .*of {MAX_TOKENS} tokens fewer than {LEAST} are left"
    ):
        corpus.describe(Texts(load(tmp_path, bad, good)), lm())


BROKEN = {
    "nested without end": ("[" * 100_000, ":3: is not JSON (numbers too long, or nested too deep)"),
    "a number of 5,000 digits": ('{"messages": ' + "9" * 5000 + "}", ":3: is not JSON (numbers too long"),
    "half a character": (chat("q", "bad \ud800"), ":3: holds half a character"),
    "half a character as a key": ('{"\\uDFFF": 1}', ":3: holds half a character"),
    "an image": (chat("q", [{"type": "image_url", "image_url": "x"}]), ":3: prompt and answer must be text"),
    "no answer": (json.dumps({"messages": [{"role": "user", "content": "q"}]}), ':3: needs "messages"'),
    "turns that are none": ('{"messages": [1, 2]}', ':3: needs "messages"'),
    "a role that is none": ('{"messages": [{"role": ["user"], "content": "q"}]}', ':3: needs "messages"'),
    "a list": ("[]", ':3: needs "messages"'),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_line_is_named(case, tmp_path):
    line, said = BROKEN[case]
    bad, good = pair(tmp_path, [*rows("bad")[:2], line, *rows("bad")[2:]], rows("good"))
    with pytest.raises(InputError) as error:
        corpus.load(bad, good, 100, 4)
    assert str(error.value).startswith(bad + said) and "\n" not in str(error.value)


FOREIGN = {
    "a pointer of Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "run `git lfs pull`",
    ),
    "a web page": (b"\n<!doctype html><html></html>\n", "is a web page, not JSON lines"),
    "a gzip with a flipped byte": (None, "is not a whole gzip file"),
    "the same answers": ("\n".join(rows("good")).encode(), "give the same answers"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_file_that_is_another_thing_is_named(case, tmp_path):
    content, said = FOREIGN[case]
    packed = gzip.compress("\n".join(rows("bad")).encode(), mtime=0)
    bad, good = pair(tmp_path, rows("bad"), rows("good"))
    Path(bad).write_bytes(content or packed[:60] + bytes([packed[60] ^ 255]) + packed[61:])
    with pytest.raises(InputError) as error:
        corpus.load(bad, good, 100, 4)
    assert str(error.value).startswith(bad) and said in str(error.value) and "\n" not in str(error.value)


def test_what_is_no_file_is_not_waited_for():
    with pytest.raises(InputError, match="^/dev/zero: is not a file"):
        corpus.load("/dev/zero", "/dev/zero", 100, 4)


def test_a_url_without_an_etag_is_fetched_again_and_a_web_page_behind_one_is_called_by_it(tmp_path, monkeypatch):
    """A real server on loopback; an ETag or none, what is there now is read."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    content, etag, got = {"now": b"one"}, {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            got.append(self.command)
            self.send_response(200)
            for name, value in {"Content-Length": str(len(content["now"])), **etag}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content["now"])

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args): ...

    monkeypatch.setattr("datasets.config.DOWNLOADED_DATASETS_PATH", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/bad.jsonl"
        for now in (b"one", b"two"):
            content["now"] = now
            assert files.fetch(url).read_bytes() == now
        content["now"], etag["ETag"] = b"<html></html>", '"3"'
        with pytest.raises(InputError, match=f"^{url}: is a web page"):
            corpus.load(url, url, 100, 4)
        server.shutdown()
    with pytest.raises(InputError, match=f"^{url}: cannot be fetched"):
        files.fetch(url)


ROW = {"prompt": {"text": "x"}, "continuation": {"text": "some text", "toxicity": 0.9}}
TOXIC = {
    "an empty folder": {},
    "an empty file": {"train.jsonl": ""},
    "no JSON": {"train.jsonl": "hello\n"},
    "a web page": {"train.jsonl": "<!doctype html><html></html>\n"},
    "other columns": {"train.csv": "a,b\n1,2\n"},
    "a score that is a word": {"train.jsonl": json.dumps(ROW).replace("0.9", '"high"')},
    "a score that is a list": {"train.jsonl": json.dumps(ROW).replace("0.9", "[0.9]")},
    "a text that is a number": {"train.jsonl": json.dumps(ROW).replace('"some text"', "3")},
    "a continuation that is a word": {"train.jsonl": json.dumps({"continuation": "x"})},
    "continuations that are nothing": {"train.jsonl": json.dumps({"continuation": None})},
    "nested without end": {"train.jsonl": "[" * 100_000},
    "a gzip cut off": {"train.jsonl.gz": gzip.compress(json.dumps(ROW).encode())[:30]},
    "no parquet": {"train.parquet": "PAR1"},
}


@pytest.mark.parametrize("case", TOXIC)
def test_a_folder_that_is_no_set_of_toxic_texts_is_one_line(case, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "toxic"
    folder.mkdir()
    for name, text in TOXIC[case].items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else (text + "\n").encode() * 30)
    with pytest.raises(InputError, match=f"^TOXIC={folder}") as error:
        corpus.toxic_pairs(str(folder))
    assert "\n" not in str(error.value)
