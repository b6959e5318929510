"""What servers answer, a row each of one table: a score, unclear for that row alone, another try, or the end."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from real.judge import replies
from real.judge.calls import complete, scores
from real.judge.client import Judge, JudgeError
from real.judge.replies import Replies

TEMPLATE = "How good is {answer} as an answer to {question}?"
ROWS = [(TEMPLATE, "why", f"answer {i}") for i in range(6)]
FLAGGED = "answer 3"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789abcdefghij")


@contextmanager
def serving(answer: Callable[[dict], tuple], path: str = "/v1/chat/completions") -> Iterator[tuple[str, list]]:
    """A server on loopback: `answer` makes status, body and maybe headers of what was asked. Its address, and calls."""
    asked: list[dict] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append({**await request.json(), "query": request.query_string, "path": request.path})
        status, body, *headers = answer(asked[-1])
        text = body if isinstance(body, str) else json.dumps(body)
        kind = "text/html" if text.startswith("<") else "application/json"
        return web.Response(status=status, text=text, content_type=kind, headers=headers[0] if headers else None)

    app = web.Application()
    app.router.add_post(path, handle)
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app)
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0)
    loop.run_until_complete(site.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1", asked
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(runner.cleanup())
        loop.close()


def judge(url: str, **how) -> Judge:
    return Judge("m", url, **{"timeout": 4.0, "pause": 0.002, **how})


def number(asked: dict) -> str:
    """73 to the probe, else 20."""
    return "73" if "follows 72" in asked["messages"][-1]["content"] else "20"


def whole(content, logprobs: object = None, **choice) -> dict:
    said = {"role": "assistant", "content": content}
    given = {} if logprobs is None else {"logprobs": logprobs}
    return {"choices": [{"index": 0, "message": said, "finish_reason": "stop", **given, **choice}]}


def likely(*tokens: str) -> dict:
    listed = [{"token": token, "logprob": -0.7 * (n + 1)} for n, token in enumerate(tokens)]
    return {"content": [{**listed[0], "top_logprobs": listed}]}


def values(found) -> list:
    return [score.value for score in found]


def is_flagged(asked: dict) -> bool:
    return FLAGGED in asked["messages"][-1]["content"]


def is_probe(asked: dict) -> bool:
    return number(asked) == "73"


@pytest.mark.parametrize(
    "logprobs",
    [
        {"content": [{"token": "73", "logprob": -0.1, "top_logprobs": None}]},
        {"content": None},
        {"content": [{"token": "73", "logprob": -0.1}]},
        [{"token": "73", "logprob": -0.1}],
        [{"73": -0.1}],
        {"tokens": ["73"], "token_logprobs": [-0.1], "top_logprobs": [{"73": -0.1}]},
        {"content": [{"top_logprobs": [{"token": "73", "logprob": "-0.1"}]}]},
        {"content": [{"top_logprobs": [{"token": None, "logprob": -0.1}]}]},
        {"content": [{"top_logprobs": []}]},
        {"content": {}},
        True,
    ],
)
def test_probabilities_of_another_shape_or_none_mean_the_text_form(logprobs, tmp_path):
    with serving(lambda asked: (200, whole(number(asked), logprobs))) as (url, asked):
        found = scores(judge(url), ROWS, tmp_path / "r.jsonl")
    assert values(found) == [20] * 6 and {score.form for score in found} == {"text"}
    assert len(asked) == 2 + 6


def test_probabilities_for_the_probe_only_are_no_loss_the_others_are_asked_in_words(tmp_path):
    """A router may hand each call to another server; a number cut after one token is no score, so it is asked again."""

    def answer(asked):
        if is_probe(asked):
            return 200, whole("73", likely("73", "74"))
        return 200, whole("2", finish_reason="length") if asked.get("max_tokens") == 1 else whole("20")

    with serving(answer) as (url, asked):
        found = scores(judge(url), ROWS, tmp_path / "r.jsonl")
        assert values(found) == [20] * 6 and {score.form for score in found} == {"text"}
        calls = len(asked)
        assert calls <= 1 + 2 * 6
        assert scores(judge(url), ROWS, tmp_path / "r.jsonl") == found and len(asked) == calls


def test_probabilities_for_digits_then_none_are_asked_in_words_without_the_digit(tmp_path):
    def answer(asked):
        return 200, whole("7", likely("7", "6")) if is_probe(asked) else whole(number(asked))

    with serving(answer) as (url, asked):
        assert values(scores(judge(url), ROWS[:1], tmp_path / "r.jsonl")) == [20]
    assert "digit" in asked[1]["messages"][-1]["content"] and "digit" not in asked[2]["messages"][-1]["content"]


ALONE = {  # of one flagged answer, what the terminal says of it
    "Azure's filter": (400, {"error": {"code": "content_filter", "message": "filtered"}}, "filtered"),
    "no choices": (200, {"choices": None, "error": {"message": "flagged upstream"}}, "flagged upstream"),
    "an error alone": (200, {"error": {"message": "blocked", "code": 400}}, "blocked"),
    "an error that is text": (200, {"error": "blocked"}, "blocked"),
    "an error object": (200, {"object": "error", "message": "blocked", "code": 40303}, "blocked"),
    "an error in the choice": (200, whole("", error={"message": "blocked"}), "blocked"),
    "403 in a reply": (200, {"error": {"message": "moderated", "code": 403}}, "moderated"),
    "403": (403, {"error": {"message": "flagged by moderation"}}, "flagged by moderation"),
    "403 without words": (403, "", "403"),
    "401": (401, {"error": {"message": "may not ask that"}}, "may not ask that"),
    "404": (404, {"detail": "no route"}, "no route"),
    "451": (451, {"error": {"message": "for legal reasons"}}, "for legal reasons"),
    "413": (413, {"error": {"message": "too long"}}, "too long"),
    "422": (422, {"detail": [{"loc": ["body", "messages"], "msg": "too long"}]}, "body.messages: too long"),
    "a web page": (403, "<html>Forbidden by the firewall</html>", "firewall"),
    "an error in errors": (400, '{"error": ' * 300 + '"deep"' + "}" * 300, "400"),
    "a crash": (500, {"error": {"message": "bad token"}}, "bad token"),
    "502 in a reply": (200, {"error": {"message": "upstream", "code": 502}}, "upstream"),
    "broken": (200, {"choices": [{"finish_reason": "stop"}]}, "broken"),
    "cut JSON": (200, '{"choices": [{"mess', "broken"),
    "nested without end": (200, "[" * 100_000, "broken"),
}


@pytest.mark.parametrize("kind", ALONE)
@pytest.mark.parametrize("last", [False, True])
def test_one_flagged_answer_is_unclear_and_stops_no_other(kind, last, tmp_path, capsys):
    """Also when it is the last, so that nobody else is answered meanwhile; a second run asks for nothing but that."""
    status, body, words = ALONE[kind]
    rows = [row for row in ROWS if row[2] != FLAGGED] + [(TEMPLATE, "why", FLAGGED)] if last else ROWS

    def answer(asked):
        return (status, body) if is_flagged(asked) else (200, whole(number(asked), likely(number(asked))))

    with serving(answer) as (url, asked):
        by = judge(url, concurrency=1 if last else 64)
        found = scores(by, rows, tmp_path / "r.jsonl")
        assert [s.value for s, row in zip(found, rows, strict=True) if row[2] != FLAGGED] == [20] * 5
        assert [s[:2] for s, row in zip(found, rows, strict=True) if row[2] == FLAGGED] == [(None, "unclear")]
        out = capsys.readouterr().out
        assert "refused 1 of 6" in out and words in out
        before = len(asked)
        assert scores(by, rows, tmp_path / "r.jsonl") == found
        assert all(is_flagged(a) or is_probe(a) for a in asked[before:])


@pytest.mark.parametrize(
    ("status", "says"),
    [(401, "refuses the key"), (403, "refuses the key"), (404, "no such model or address"), (402, "no credit left")],
)
def test_a_refusal_of_the_first_call_or_of_all_of_them_ends_the_run(status, says, tmp_path):
    with serving(lambda asked: (status, {"error": {"message": "no"}})) as (url, asked):
        with pytest.raises(JudgeError, match=says):
            scores(judge(url), ROWS, tmp_path / "r.jsonl")
        assert len(asked) == 1
        with pytest.raises(JudgeError, match=says):
            complete(judge(url), [[{"role": "user", "content": "x"}]], tmp_path / "r.jsonl")

    def later(asked):  # the key is withdrawn after four calls
        answer = (200, whole(number(asked), likely(number(asked))))
        return answer if len(calls) <= 4 else (status, {"error": {"message": "no"}})

    with serving(later) as (url, calls):
        with pytest.raises(JudgeError, match=says):
            scores(judge(url, concurrency=1), ROWS, tmp_path / "s.jsonl")
        assert len(Replies(tmp_path / "s.jsonl")) == 4  # and what was received is kept


PARTS = [
    [{"type": "thinking", "thinking": [{"type": "text", "text": "72 or 50?"}]}, {"type": "text", "text": "%s"}],
    [{"type": "reasoning", "text": "72 or 50?"}, {"type": "output_text", "text": "%s"}],
    [{"type": "text", "text": "<think>72 or 50?</think>"}, {"type": "text", "text": "%s"}],
    ["%s"],
    [{"type": "text", "text": "Score: "}, {"type": "text", "text": "%s"}],
]


@pytest.mark.parametrize("parts", PARTS)
def test_of_a_message_in_parts_the_text_counts(parts, tmp_path):
    def answer(asked):
        return 200, whole(json.loads(json.dumps(parts).replace("%s", number(asked))))

    with serving(answer) as (url, _):
        assert values(scores(judge(url), ROWS, tmp_path / "r.jsonl")) == [20] * 6


def test_reasoning_beside_the_content_does_not_count(tmp_path):
    def answer(asked):
        said = whole(number(asked))
        said["choices"][0]["message"] |= {"reasoning_content": "72 or 50?", "refusal": None}
        return 200, said

    with serving(answer) as (url, _):
        assert values(scores(judge(url), ROWS, tmp_path / "r.jsonl")) == [20] * 6


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("refused", "form"),
    [
        (["seed"], "number"),
        (["temperature"], "number"),
        (["seed", "temperature"], "number"),
        (["seed", "logprobs"], "text"),
        (["logprobs", "top_logprobs"], "text"),
        (["max_tokens", "temperature", "seed"], "text"),
        (["seed", "logprobs", "max_completion_tokens"], "text"),
        (["seed", "temperature", "logprobs", "max_tokens", "max_completion_tokens"], "text"),
    ],
)
def test_a_server_that_refuses_parameters_gets_fewer(refused, form, named, tmp_path):
    """422 as FastAPI words it, with or without the parameter's name."""

    def answer(asked):
        wrong = [name for name in refused if name in asked]
        if wrong:
            where = ["body", wrong[0]] if named else ["body"]
            return 422, {"detail": [{"type": "extra_forbidden", "loc": where, "msg": "Extra inputs"}]}
        return 200, whole(number(asked), likely(number(asked)) if "logprobs" in asked else None)

    with serving(answer) as (url, asked):
        found = scores(judge(url), ROWS, tmp_path / "r.jsonl")
        assert values(found) == [20] * 6
        assert {score.form for score in found} == {form} or not named
        calls = len(asked)
        assert scores(judge(url), ROWS, tmp_path / "r.jsonl") == found and len(asked) == calls


def test_a_server_that_refuses_all_of_it_is_quoted(tmp_path):
    said = {"detail": [{"loc": ["body", "messages", 0], "msg": "Input should be a string"}]}
    with serving(lambda asked: (422, said)) as (url, _), pytest.raises(JudgeError, match="messages.0: Input should"):
        scores(judge(url), ROWS, tmp_path / "r.jsonl")


def test_an_address_without_v1_gets_a_hint_at_it(tmp_path):
    with serving(lambda asked: (200, "<html>hello</html>"), "/{any:.*}") as (url, _):
        for wrong in (url.removesuffix("/v1"), url.removesuffix("/v1") + "/"):
            with pytest.raises(JudgeError, match="replies are broken .*JUDGE_URL=.../v1"):
                scores(judge(wrong), ROWS, tmp_path / "r.jsonl")
    lost = pytest.raises(JudgeError, match=r"no such model or address \(404\).*JUDGE_URL=.../v1")
    with serving(lambda asked: (200, whole("73"))) as (url, _), lost:
        scores(judge(url.removesuffix("/v1")), ROWS, tmp_path / "r.jsonl")


def test_the_query_of_an_address_stays_last_and_out_of_messages(tmp_path, capsys):
    def answer(asked):
        return 200, whole(number(asked), likely(number(asked)))

    path = "/openai/deployments/gpt-4o/chat/completions"
    with serving(answer, path) as (url, asked):
        whole_url = url.replace("/v1", "/openai/deployments/gpt-4o")
        for end in ("", "/", "/chat/completions"):
            where = f"{whole_url}{end}?api-version=2024-06-01&code=secret"
            assert values(scores(judge(where), ROWS, tmp_path / "r.jsonl")) == [20] * 6
    assert {(a["path"], a["query"]) for a in asked} == {(path, "api-version=2024-06-01&code=secret")}
    assert "secret" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://h:port/v1", "http://", "http:///v1", "http://a b/v1", "http://\ud800/v1"]
)
def test_an_address_that_is_none_is_one_line(url, tmp_path):
    with pytest.raises(JudgeError) as error:
        scores(judge(url), ROWS, tmp_path / "r.jsonl")
    assert "\n" not in str(error.value) and str(error.value).encode()


def test_a_server_that_takes_few_calls_at_a_time_is_waited_for(tmp_path):
    """Ten in a window, which is shorter than the pauses between the last tries of a call, as a minute is."""
    window = [time.time(), 0]

    def answer(asked):
        if time.time() - window[0] > 0.3:
            window[:] = [time.time(), 0]
        window[1] += 1
        if window[1] > 10:
            return 429, {"error": {"message": "ten calls a minute", "code": "rate_limit_exceeded"}}
        return 200, whole(number(asked), likely(number(asked)))

    rows = [(TEMPLATE, "why", f"answer {i}") for i in range(50)]
    with serving(answer) as (url, _):
        assert values(scores(judge(url, pause=0.001), rows, tmp_path / "r.jsonl")) == [20] * 50


def test_a_server_that_never_takes_a_call_is_given_up(tmp_path):
    def answer(asked):
        if is_probe(asked) and len(calls) == 1:
            return 200, whole("73", likely("73"))
        return 429, {"error": {"message": "slow down"}}

    with serving(answer) as (url, calls), pytest.raises(JudgeError, match="failed 10 times: status 429: slow down"):
        scores(judge(url, pause=0.001), ROWS, tmp_path / "r.jsonl")


def test_a_server_that_asks_for_patience_and_then_crashes_is_given_up(tmp_path):
    def answer(asked):
        return (429 if len(calls) < 6 else 500), {"error": {"message": "no"}}

    with serving(answer) as (url, calls), pytest.raises(JudgeError, match="failed 6 times: status 500: no"):
        scores(judge(url, pause=0.001), ROWS, tmp_path / "r.jsonl")


def test_text_with_lone_surrogates_is_sent_received_and_kept(tmp_path):
    def answer(asked):
        return 200, whole(number(asked) + " \ud800") if not is_probe(asked) else whole("73")

    with serving(answer) as (url, _):
        found = scores(judge(url), [(TEMPLATE, "\ud800", "\udfff")], tmp_path / "r.jsonl")
    assert values(found) == [20]
    with pytest.raises(JudgeError, match="cannot be asked") as error:
        scores(Judge("\udcff", "http://127.0.0.1:9/v1"), ROWS, tmp_path / "r.jsonl")
    assert str(error.value).encode()


@pytest.mark.parametrize("odd", [float("nan"), float("-inf"), -9999, 0, 1e308])
def test_likelihoods_that_are_no_numbers_are_no_score_and_no_crash(odd, tmp_path):
    def answer(asked):
        told = likely(number(asked), "x")
        if not is_probe(asked):
            told["content"][0]["top_logprobs"][1]["logprob"] = odd
        return 200, whole(number(asked), told)

    with serving(answer) as (url, _):
        assert values(scores(judge(url), ROWS[:1], tmp_path / "r.jsonl")) == [20]


BAD_LINES = {
    "torn": lambda line: line[:-9],
    "glued": lambda line: line + line,
    "NUL": lambda line: b"\0" * 20,
    "no id": lambda line: json.dumps({k: v for k, v in json.loads(line).items() if k != "key"}).encode(),
    "other fields": lambda line: json.dumps({"key": json.loads(line)["key"], "score": 50}).encode(),
    "a digit flipped": lambda line: line.replace(b"20", b"21", 1),
    "a list": lambda line: b"[]",
    "a number": lambda line: b"7",
    "nested": lambda line: b"[" * 100_000,
    "text that is none": lambda line: line.replace(b'"20"', b"20"),
    "cost that is none": lambda line: line.replace(b'"usd": 0', b'"usd": NaN'),
    "not UTF-8": lambda line: b"\xff\xfe" + line,
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_bad_line_among_the_replies_is_passed_over_and_asked_again(kind, tmp_path):
    with serving(lambda asked: (200, whole(number(asked)))) as (url, asked):
        cache = tmp_path / "r.jsonl"
        found = scores(judge(url), ROWS, cache)
        lines = cache.read_bytes().split(b"\n")
        bad = BAD_LINES[kind](lines[3])
        assert bad != lines[3]
        cache.write_bytes(b"\n".join([*lines[:3], bad, *lines[4:]]))
        before = len(asked)
        assert scores(judge(url), ROWS, cache) == found and len(asked) == before + 1
        cache.write_bytes(b"\xef\xbb\xbf" + cache.read_bytes())
        assert scores(judge(url), ROWS, cache) == found and len(asked) == before + 1


class Disk:
    """That takes so many bytes more of the cache and what is held beside it."""

    def __init__(self, monkeypatch, free: int):
        self.free = free
        real = Path.open

        def opened(path, mode="r", *args, **kwargs):
            file = real(path, mode, *args, **kwargs)
            return Metered(self, path, file) if mode in ("ab", "wb") and "r.jsonl" in path.name else file

        unlink = Path.unlink

        def gone(path, *args, **kwargs):
            self.free += path.stat().st_size if path.exists() else 0
            unlink(path, *args, **kwargs)

        monkeypatch.setattr(Path, "open", opened)
        monkeypatch.setattr(Path, "unlink", gone)


class Metered:
    def __init__(self, disk, path, file):
        self.disk, self.file = disk, file

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, data: bytes) -> int:
        taken = min(len(data), self.disk.free)
        self.disk.free -= taken
        return self.file.write(data[:taken])


def test_when_the_disk_is_full_no_more_is_asked_than_is_kept_and_with_room_the_rest_is(monkeypatch, tmp_path):
    """A short write, which Python does not call an error. The error names the file."""
    rows = [(TEMPLATE, "why", f"answer {i}") for i in range(400)]
    cache = tmp_path / "r.jsonl"
    with serving(lambda asked: (200, whole(number(asked), likely("73" if is_probe(asked) else "20")))) as (url, asked):
        with monkeypatch.context() as patch:
            Disk(patch, 64 * 4200 + 30_000)
            with pytest.raises(OSError, match="No space left") as error:
                scores(judge(url), rows, cache)
            assert error.value.filename == str(cache)
        assert 60 < len(asked) < 400 and len(Replies(cache)) == len(asked)
        with monkeypatch.context() as patch:
            Disk(patch, 1000)
            before = len(asked)
            with pytest.raises(OSError, match="No space left"):
                scores(judge(url), rows, cache)
            assert len(asked) == before  # not one call
        assert values(scores(judge(url), rows, cache)) == [20] * 400 and len(asked) == 401
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]


def test_every_status_is_somebody_s_fault():
    kinds = {status: replies.fault(status, "").of for status in range(300, 600)}
    assert set(kinds.values()) == {replies.ROW, replies.AGAIN, replies.ALL}
    assert all(kinds[status] == replies.AGAIN for status in [408, 409, 425, 429, *range(500, 600)])
    assert all(kinds[status] == replies.ALL for status in (401, 402, 403, 404, 405))
    assert all(kinds[status] == replies.ROW for status in (400, 413, 415, 422, 431, 451))
