"""The client against a judge that fails a fifth of the time, dies, echoes the key, or cannot judge; and a real one."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import proxy
import pytest

from real import forms, rubric
from real.judge import Judge, scores
from real.replies import Replies

ROOT = Path(__file__).parents[1]
KEY = "sk-test-0123456789abcdefghij"
TEMPLATE = "How good is {answer} as an answer to {question}?"
SCRIPT = """
import sys
from pathlib import Path
from real import forms, rubric
from real.judge import Judge, scores
url, cache, n = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
rubrics = [("How good is {answer} as an answer to {question}?", "why", f"<item-{i}>") for i in range(n)]
print([score.value for score in scores(Judge("m", url, timeout=4.0, pause=0.05), rubrics, cache)])
"""


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def judge(url: str, model: str = "m", **how) -> Judge:
    return Judge(model, url, **{"timeout": 4.0, "pause": 0.05, **how})


def rubrics(n: int) -> list[tuple[str, str, str]]:
    return [(TEMPLATE, "why", f"<item-{i}>") for i in range(n)]


def right(i: int) -> float:
    """What the published rule makes of the stub's reply: 0.7 for one number, 0.1 for another."""
    first, second = proxy.numbers(f"item-{i}")
    return (0.7 * first + 0.1 * second) / 0.8


def calls(log: Path) -> list[list[str]]:
    return [line.split(" ", 1) for line in log.read_text().splitlines() if line.startswith("item")]


def handed_over(log: Path) -> Counter:
    return Counter(name for name, fault in calls(log) if fault == "good")


def test_of_1000_judgements_with_a_fifth_of_the_replies_spoilt_all_are_scored_none_twice_none_wrong(tmp_path):
    log, cache = tmp_path / "log", tmp_path / "cache" / "replies.jsonl"
    with proxy.serving("number", faults=0.2, log=log) as url:
        found = scores(judge(url), rubrics(1000), cache)
        faults = Counter(fault for _, fault in calls(log))
        assert set(faults) == {"good", *proxy.FAULTS} and 0.15 < 1 - faults["good"] / faults.total() < 0.25
        assert [score.value for score in found] == pytest.approx([right(i) for i in range(1000)])
        assert handed_over(log) == Counter(f"item-{i}" for i in range(1000))

        before = log.read_bytes()
        assert scores(judge(url), rubrics(1000), cache) == found
        assert log.read_bytes() == before  # no call at all


def test_after_kill_9_ten_times_all_are_scored_none_wrong_and_nothing_that_was_kept_is_asked_again(tmp_path):
    """What was in flight at a kill may be asked for again, 64 calls at most, and nothing else."""
    log, cache, n = tmp_path / "log", tmp_path / "replies.jsonl", 1000
    kept, seen = set(), 0
    with proxy.serving("number", faults=0.2, log=log) as url:
        for kill in range(1, 12):
            out = run_until(url, cache, n, lines=kill * n // 12 if kill < 11 else None)
            asked = calls(log)
            assert not kept & {name for name, _ in asked[seen:]}
            kept, seen = kept_in(cache, judge(url), n), len(asked)
    assert json.loads(out.splitlines()[-1]) == pytest.approx([right(i) for i in range(n)])
    good = handed_over(log)
    assert set(good) == {f"item-{i}" for i in range(n)} and good.total() <= n + 10 * 64


def run_until(url: str, cache: Path, n: int, lines: int | None) -> str:
    """n judgements in a process of their own, killed once so many are kept; what it printed, if it is not killed."""
    command = [sys.executable, "-c", SCRIPT, url, str(cache), str(n)]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if lines is None:
        return run.communicate(timeout=120)[0]
    while not cache.exists() or cache.read_bytes().count(b"\n") < lines:
        assert run.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert run.returncode == -signal.SIGKILL
    return ""


def kept_in(cache: Path, by: Judge, n: int) -> set[str]:
    replies = Replies(cache)
    prompts = {f"item-{i}": forms.body("number", rubric.fill(*texts)) for i, texts in enumerate(rubrics(n))}
    return {name for name, body in prompts.items() if by.key(body) in replies}
