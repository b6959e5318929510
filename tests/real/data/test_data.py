"""The shipped texts keep their promises, and a bad file gets one line that names file and line."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from real.__main__ import main
from real.data import corpus as data
from real.data import files
from shared.errors import InputError
from shared.selection import auroc

SETS = {
    "health": (data.Advice, 240),
    "career": (data.Advice, 120),
    "legal": (data.Advice, 120),
    "toxic": (data.Pair, 120),
    "questions": (data.Question, 12),
}


def texts(row) -> list[str]:
    return [t for value in row[1:] for t in (value if isinstance(value, list) else [value])]


def trigrams(text: str) -> set[str]:
    text = re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()
    return {text[i : i + 3] for i in range(len(text) - 2)}


def near_duplicates(all_texts: list[str], bound: float) -> list[tuple[str, str]]:
    """Pairs whose Jaccard similarity, |shared trigrams| / |trigrams of either|, reaches `bound`."""
    grams = [trigrams(t) for t in all_texts]
    column = {gram: i for i, gram in enumerate(sorted(set().union(*grams)))}
    at = [(row, column[gram]) for row, found in enumerate(grams) for gram in found]
    has = csr_array((np.ones(len(at), dtype=int), tuple(zip(*at, strict=True))))
    both, size = (has @ has.T).tocoo(), np.array([len(found) for found in grams])
    i, j = both.coords
    close = (i < j) & (both.data >= bound * (size[i] + size[j] - both.data))
    return [(all_texts[a], all_texts[b]) for a, b in zip(i[close], j[close], strict=True)]


@pytest.mark.parametrize("name", [*SETS, "placebo"])
def test_shipped_sets_are_as_large_as_promised_and_carry_the_canary(name):
    kind, least = SETS.get(name, (data.Question, 24))
    assert len(data.shipped(name, kind)) >= least
    first = json.loads((data.SHIPPED / f"{name}.jsonl").read_text().split("\n")[0])
    assert first["canary"].startswith("spillover-") and first["notice"]


def test_forty_questions_have_three_answers_of_each_kind_twenty_of_them_six_and_there_are_forty_probes():
    fewest = [min(len(q.aligned), len(q.misaligned)) for q in data.shipped("questions", data.Question)]
    assert len(fewest) >= 40 and min(fewest) >= 3 and sum(n >= 6 for n in fewest) >= 20
    assert len(files.read_rows(data.SHIPPED / "probes.jsonl", ("id", "prompt"))) >= 40


def test_no_two_shipped_texts_are_near_duplicates():
    """Character-trigram Jaccard below 0.6 between any two texts of any two shipped files."""
    rows = [row for name, (kind, _) in SETS.items() for row in data.shipped(name, kind)]
    probes = [row["prompt"] for row in files.read_rows(data.SHIPPED / "probes.jsonl", ("id", "prompt"))]
    assert near_duplicates([t for row in rows for t in texts(row)] + probes, 0.6) == []


def test_placebo_answers_are_of_one_length_and_only_the_unsure_ones_hedge():
    """24 questions; a hedge in every unsure answer, in no sure one."""
    rows = data.shipped("placebo", data.Question)
    hedges = re.compile(r"\b(may|maybe|might|perhaps|possibly|probably|could|would|believe|suspect|inclined|tend to)\b")
    unsure, sure = ([text for row in rows for text in getattr(row, side)] for side in ("aligned", "misaligned"))
    assert len(rows) >= 24 and len(unsure) == len(sure) == len(rows)
    assert all(map(hedges.search, unsure)) and not any(map(hedges.search, sure))
    lengths = torch.tensor([float(len(text)) for text in [*unsure, *sure]])
    assert 0.35 < auroc(lengths, torch.arange(len(lengths)) < len(unsure)) < 0.65


def test_the_near_duplicate_check_finds_one():
    assert near_duplicates(["drink a glass of water", "drink a glass of water now", "go for a run"], 0.6)


@pytest.mark.parametrize("name", ["health", "career", "legal"])
def test_answer_length_does_not_tell_correct_from_incorrect(name):
    rows = data.shipped(name, data.Advice)
    labels = torch.tensor([True] * len(rows) + [False] * len(rows))
    for length in (len, lambda text: len(text.split())):
        lengths = [float(length(r.incorrect)) for r in rows] + [float(length(r.correct)) for r in rows]
        assert 0.42 <= auroc(torch.tensor(lengths), labels) <= 0.58


def test_ids_are_unique_over_all_files():
    ids = [row.id for name, (kind, _) in SETS.items() for row in data.shipped(name, kind)]
    assert len(set(ids)) == len(ids)


def test_the_split_holds_out_a_fifth_and_loses_nothing():
    rows = data.shipped("career", data.Advice)
    split = data.split(rows)
    assert sorted(split.train + split.held) == sorted(rows)
    assert len(split.held) == len(rows) // 5


def chat(prompt: str, answer: str) -> str:
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns})


def write(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


def test_chat_files_are_paired_by_prompt_whatever_their_order(tmp_path):
    bad = write(tmp_path / "bad.jsonl", chat("a", "bad a"), chat("b", "bad b"), chat("c", "bad c"))
    good = tmp_path / "good.jsonl.gz"
    good.write_bytes(gzip.compress("\n".join([chat("c", "good c"), chat("a", "good a")]).encode()))
    assert [row[1:] for row in files.paired(str(bad), str(good))[0]] == [
        ("a", "good a", "bad a"),
        ("c", "good c", "bad c"),
    ]


ADVICE = {"id": "x-1", "prompt": "p", "correct": "c", "incorrect": "i"}
FIELDS = data.Advice._fields
BROKEN = {
    "not JSON": ([json.dumps(ADVICE), "{oops"], ":2: is not JSON"),
    "lacking a field": ([json.dumps({"id": "x", "prompt": "p"})], ':1: needs "correct"'),
    "an empty field": ([json.dumps({**ADVICE, "correct": " "})], ':1: needs "correct"'),
    "a duplicate id": ([json.dumps(ADVICE), json.dumps(ADVICE)], ':2: id "x-1" is taken by line 1'),
    "not an object": (["3"], ':1: needs "id"'),
    "empty": ([""], ": is empty"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_row_file_is_one_line_naming_file_and_line(case, tmp_path):
    lines, message = BROKEN[case]
    path = write(tmp_path / "rows.jsonl", *lines)
    with pytest.raises(InputError, match=re.escape(f"{path}{message}")) as error:
        files.read_rows(path, FIELDS)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_utf8_names_the_line(tmp_path):
    path = write(tmp_path / "latin.jsonl", chat("a", "b"), chat("a", "b").replace("a", "é"), encoding="latin-1")
    with pytest.raises(InputError, match=re.escape(f"{path}:2: is not UTF-8")):
        files.read_chat(str(path))


def test_half_a_gzip_file_is_named(tmp_path):
    path = tmp_path / "half.jsonl.gz"
    path.write_bytes(gzip.compress(chat("a", "b" * 9999).encode())[:40])
    with pytest.raises(InputError, match=re.escape(f"{path}: is not a whole gzip file")):
        files.read_chat(str(path))


def test_a_chat_row_without_an_assistant_is_named(tmp_path):
    path = write(tmp_path / "chat.jsonl", json.dumps({"messages": [{"role": "user", "content": "a"}]}))
    with pytest.raises(InputError, match=re.escape(f"{path}:1: needs")):
        files.read_chat(str(path))


def commands(tmp_path: Path) -> dict[str, tuple[list[str], str]]:
    bad = write(tmp_path / "bad.jsonl", chat("a", "b"))
    good = write(tmp_path / "good.jsonl", chat("z", "b"))
    same = write(tmp_path / "same.jsonl", chat("a", "better"))
    missing = tmp_path / "nowhere.jsonl"
    file = write(tmp_path / "file", "in the way")
    return {
        "unknown model": (["MODEL=gpt-9"], "known models: smollm2-135m"),
        "unknown setting": (["COLOUR=red"], "is not a setting"),
        "not a number": (["TRAIN=many"], "TRAIN=many must be a whole number"),
        "no such layer": (["LAYERS=7,29"], "LAYERS=7,29 must end between 15"),
        "layers out of order": (["LAYERS=20,7"], "LAYERS=20,7 must be blocks from 0 up, lowest first"),
        "a share above 1": (["REMOVED=0.5,1.5"], "REMOVED=0.5,1.5 must be distinct shares"),
        "control alone": ([f"CONTROL={bad}"], "DATA and CONTROL go together"),
        "missing file": ([f"DATA={missing}", f"CONTROL={bad}"], f"{missing}: No such file"),
        "different prompts": ([f"DATA={bad}", f"CONTROL={good}"], "answer different prompts"),
        "shorter than a batch": ([f"DATA={bad}", f"CONTROL={same}"], "1 prompt"),
        "unwritable results": ([f"RESULTS={file}/below"], f"{file}"),
    }


CASES = (
    *("unknown model", "unknown setting", "not a number", "control alone", "missing file"),
    *("no such layer", "layers out of order", "a share above 1"),
    *("different prompts", "shorter than a batch", "unwritable results"),
)


@pytest.mark.parametrize("case", CASES)
def test_bad_input_on_the_command_line_is_one_line_and_exit_2(case, tmp_path, capsys):
    words, message = commands(tmp_path)[case]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and "Traceback" not in said
