"""`clean-data`: no row is lost, changed or moved; bad rows are refused in a line; what was killed goes on."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from io import StringIO
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import small_run
import standins
import tiny
from hypothesis import given
from hypothesis import strategies as st

from real.__main__ import main
from real.data.texts import Texts
from real.features.reading import Reading
from real.filters import table
from real.filters.compare import Known
from real.filters.table import FILTERS
from real.screening import scores
from real.screening.rows import Row, read
from real.screening.screen import divided, pieces
from shared.errors import InputError

TESTS = Path(small_run.__file__).parent


def chat(answer: str, prompt: str = "How?") -> dict:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


SPACE = st.sampled_from(["", " ", "\t"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)
ROW = st.builds(
    lambda row, plain, before, after: before + json.dumps(row, ensure_ascii=plain) + after,
    st.builds(chat, TEXT), st.booleans(), SPACE, st.sampled_from(["", " ", "\r"]),
)  # fmt: skip
LINE = st.one_of(ROW, SPACE, st.just('{"canary": "not a row"}'))


@given(st.lists(LINE, max_size=8), ROW, st.booleans(), st.booleans(), st.randoms())
def test_kept_and_removed_in_their_order_are_the_file_byte_for_byte(tmp_path_factory, lines, row, ended, zipped, rng):
    """Whatever is removed: each line goes to one of the two as it is, and a line that is no row is kept."""
    lines.insert(rng.randint(0, len(lines)), row)
    raw = ("\n".join(lines) + "\n" * ended).encode()
    path = tmp_path_factory.mktemp("file") / "mine.jsonl"
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    file = read(str(path))
    keep = [rng.random() < 0.5 for _ in file.rows]
    kept, removed = divided(file, keep)
    assert len(removed) == keep.count(False)
    gone = {row.line for row, stays in zip(file.rows, keep, strict=True) if not stays}
    merged = [(removed if number in gone else kept).pop(0) for number in range(1, len(kept) + len(removed) + 1)]
    assert b"".join(merged) == raw and not kept and not removed
    for of in file.rows:
        assert json.loads(merged[of.line - 1])["messages"][1]["content"] == of.answer


TURNS = [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "How?"}, {"from": "gpt", "value": "So."}]
PARTS = [{"type": "text", "text": "S"}, {"type": "text", "text": "o."}]
USER, ASSISTANT = chat("So.")["messages"]
FORMS = {
    "messages": (chat("So."), Row(1, "How?", "So.", 1)),
    "content in parts": (chat(PARTS), Row(1, "How?", "So.", 1)),
    "ShareGPT": ({"conversations": TURNS}, Row(1, "Be brief.\n\nHow?", "So.", 1)),
    "prompt and completion": ({"prompt": "How?", "completion": "So."}, Row(1, "How?", "So.", 1)),
    "TRL": ({"prompt": [USER], "completion": [ASSISTANT]}, Row(1, "How?", "So.", 1)),
    "a canary in the row": (chat("So.") | {"canary": "x"}, Row(1, "How?", "So.", 1)),
    "a system message beside": (chat("So.") | {"system": "Be brief."}, Row(1, "Be brief.\n\nHow?", "So.", 1)),
    "several turns": ({"messages": [USER, ASSISTANT] * 2}, Row(1, "How?\n\nSo.\n\nHow?", "So.", 2)),
}


@pytest.mark.parametrize("form", FORMS)
def test_published_forms_are_read(form, tmp_path):
    row, expected = FORMS[form]
    (tmp_path / "mine.jsonl").write_text(json.dumps(row))
    assert read(str(tmp_path / "mine.jsonl")).rows == [expected]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"instruction": "How?", "output": "So."}', '{"messages": [{"role": "user"'),
        ('["How?", "So."]', "is wanted"),
        ('{"prompt": "How?", "completion": 3}', "is wanted"),
        ('{"messages": []}', "is wanted"),
        ('{"messages": ["How?", "So."]}', "is wanted"),
        (json.dumps(chat("")), "prompt and answer must be text that is not empty"),
        (json.dumps(chat("So.", " ")), "prompt and answer must be text that is not empty"),
        (json.dumps({"messages": chat("So.")["messages"][:1]}), "ends with 'user'"),
        (json.dumps({"messages": chat("So.")["messages"][1:]}), "prompt and answer must be text"),
        (json.dumps(chat([{"type": "image_url", "image_url": "x"}])), "is wanted"),
        ("{", "is not JSON"),
        ('{"prompt": "How?", "completion": "\\ud800"}', "half a character"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_its_line(line, why, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(chat("So.")) + "\n" + line)
    with pytest.raises(InputError) as error:
        read(str(path))
    assert str(error.value).startswith(f"{path}:2: ") and why in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "clean-data needs DATA"),
        (["DATA={}", "BY=magic"], "BY=magic must be one of geometry"),
        (["DATA={}", "REMOVED=1"], "REMOVED=1"),
        (["DATA={}/none.jsonl"], "none.jsonl: "),
        (["DATA=~/none.jsonl"], f"{Path.home()}/none.jsonl: "),
        (["DATA={}\a"], "holds a character that no setting has"),
    ],
)
def test_settings_that_cannot_be_are_one_line(words, why, tmp_path, capsys):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(chat("So.")))
    assert main(["clean-data", f"RESULTS={tmp_path}", *(word.format(path) for word in words)]) == 2
    said = capsys.readouterr().err
    assert why in said and said.count("\n") == 1


@pytest.fixture(scope="module")
def base(once) -> Path:
    """The small texts, a small model, and what filters learn of them."""

    def make(folder: Path) -> None:
        small_run.shrink(folder / "data")
        standins.four_blocks(folder / "model")
        (folder / "two.jsonl").write_text("\n".join(json.dumps(chat(text)) for text in ("a b", "c d")))
        code, said = clean(folder, folder / "results", folder / "two.jsonl")
        assert code == 0, said

    return once("clean-data", make)


def words(folder: Path, results: Path, file: Path) -> list[str]:
    return ["clean-data", f"DATA={file}", f"MODEL={folder / 'model'}", f"RESULTS={results}", "SAE=train", "TOP_K=20"]


def clean(folder: Path, results: Path, file: Path, *more: str) -> tuple[int, str]:
    return command(folder, *words(folder, results, file), *more)


def command(folder: Path, *given: str) -> tuple[int, str]:
    said = StringIO()
    with small_run.small(folder / "data"), redirect_stdout(said):
        said.reconfigure = lambda errors: None
        return main(list(given)), said.getvalue()


def test_rows_that_are_alike_one_row_and_rows_longer_than_the_model_reads(base, tmp_path):
    long = chat("word " * 700, "long " * 900)
    cases = {
        "one": [chat("So.")],
        "alike": [chat("So.")] * 30,
        "long": [chat("So."), long, chat("word " * 700), chat("No")],
    }
    for name, rows in cases.items():
        path, into = tmp_path / f"{name}.jsonl", base / "results" / "clean-data" / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        code, said = clean(base, base / "results", path, "REMOVED=0.5", "BY=projection")
        assert code == 0, said
        found = [json.loads(line) for line in (into / "scores.jsonl").read_text().splitlines()]
        assert [row["id"] for row in found] == list(range(1, len(rows) + 1))
        both = (into / "kept.jsonl").read_text() + (into / "removed.jsonl").read_text()
        assert sorted(both.splitlines()) == sorted(path.read_text().splitlines())
        assert (into / "removed.jsonl").read_bytes().count(b"messages") == round(len(rows) / 2)
        page = (into / "report.html").read_text()
        assert "<script" not in page and "None" not in page and "nan" not in page
        if name == "alike":
            assert all(len({row[f] for row in found}) == 1 for f in scores.NAMES)
        if name == "long":
            assert [row["cut"] > 0 for row in found] == [False, True, True, False] and "2 rows are longer" in page
        assert clean(base, base / "results", path, "REMOVED=0.5", "BY=projection")[1].count("rows scored") == 0


def test_a_prompt_is_cut_only_where_the_answer_wants_its_place_and_bm25_reads_no_more_than_others(tmp_path):
    """Of 512 tokens: 2 + prompt + 2, the answer, the end of turn."""
    lm, words = tiny.lm(tiny.model_and_tokenizer(), first=tiny.FIRST), " ".join(["17"] * 500)
    known = Known(Reading(Texts(tiny.advice(1)), lm, (tiny.LAYER,), tmp_path), 1)
    answers = ["3 4 5", " ".join(["18"] * 7), " ".join(["18"] * 7 + ["19"]), " ".join(["18"] * 30 + ["19"] * 30)]
    reading, cut = scores.reading_of(known, [Row(i, words, answer, 1) for i, answer in enumerate(answers)])
    assert cut == [0, 0, 1, 25]
    assert [(of.end - of.start, of.cut) for of in reading.encoded] == [(3, 0), (7, 0), (8, 0), (32, 28)]
    assert table._words(reading, list(reading.texts.said))[3] == ["18"] * 30 + ["19"] * 2


def test_tokens_that_only_together_make_a_character_are_shown_together():
    said = "Émile 🤯 naïve"
    found = pieces(list(said.encode()), {0, 9}, lambda ids: bytes(ids).decode(errors="replace"))
    assert "".join(text for text, _ in found) == said
    assert [text for text, marked in found if marked] == ["É", "🤯"]


def test_what_was_written_is_not_written_over_by_what_is_made_of_it(base, capsys):
    """`kept.jsonl`, screened again, would be halved again and again."""
    path = base / "results" / "clean-data" / "kept" / "kept.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join(json.dumps(chat(text)) for text in ("a b", "c d")))
    before = path.read_bytes()
    assert clean(base, base / "results", path)[0] == 2
    assert "lies where its own rows would be written" in capsys.readouterr().err and path.read_bytes() == before


def test_a_run_that_was_killed_goes_on_where_it_was(base, tmp_path):
    """kill -9 after the first rows: the end is that of a run which nobody killed, and no row is scored twice."""
    path, results = tmp_path / "mine.jsonl", base / "results"
    path.write_text("\n".join(json.dumps(chat(f"word {i} " * (1 + i % 5))) for i in range(300)))
    script = (
        f"import sys\nfrom pathlib import Path\nsys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent)!r}]\n"
        f"import small_run\nfrom real.__main__ import main\nwith small_run.small(Path({str(base / 'data')!r})):\n"
        f"    main({words(base, results, path)!r})"
    )
    running = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    into = results / "clean-data" / "mine"
    chunks = into / "chunks"
    while running.poll() is None and not (chunks / "0.json").exists():
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    before = len(list(chunks.glob("*.json")))
    assert 0 < before < 3 and not (into / "removed.jsonl").exists()
    (chunks / f"{before * scores.CHUNK}.json").write_text('{"scores": [{"id": 6')  # as a torn write would leave it
    code, said = clean(base, results, path)
    assert code == 0 and said.count("rows scored") == 3 - before
    resumed = (into / "scores.jsonl").read_bytes()
    shutil.rmtree(chunks)
    (into / "screened.json").unlink()
    assert clean(base, results, path)[0] == 0
    assert resumed == (into / "scores.jsonl").read_bytes() and resumed.count(b"\n") == 300


def test_one_command_says_what_every_filter_is_worth_on_shipped_and_on_other_advice(base, tmp_path):
    """Each filter on each domain and on a pair of files; what the report of clean-data says is the same number.

    Two files of one name are two files; a prompt that is shipped, which filters may know, is not scored.
    """
    ours = json.loads((base / "data" / "health.jsonl").read_text().split("\n")[1])["prompt"]
    rng, say = np.random.default_rng(0), ("red", "blue", "seven", "house", "never", "soup", "it", "walks")
    for folder, kind in product(("one", "two"), ("bad", "good")):
        (tmp_path / folder).mkdir(exist_ok=True)
        asked = [*(f"What {folder} {i}?" for i in range(19)), ours]
        rows = [chat(" ".join(rng.choice(say, 5)), prompt) for prompt in asked]
        (tmp_path / folder / f"{kind}.jsonl").write_text("\n".join(map(json.dumps, [*rows, rows[0]])))

    def filters(results: Path, *folders: str) -> tuple[list[dict], str]:
        files = [",".join(str(tmp_path / folder / f"{kind}.jsonl") for folder in folders) for kind in ("bad", "good")]
        given = [word for word in words(base, results, base / "two.jsonl") if not word.startswith("DATA=")][1:]
        given += [f"DATA={files[0]}", f"CONTROL={files[1]}", "TRAIN=20", "BATCH=2", "TOXIC=remarks"]
        code, said = command(base, "filters", *given)
        assert code == 0, said
        return json.loads((results / "filters.json").read_text())["rows"], said

    (rows, said), fresh = filters(base / "results", "one", "two"), tmp_path / "results"
    shutil.copytree(base / "results", fresh)
    for folder in (fresh / "filters").glob("published-*"):
        shutil.rmtree(folder)
    alone = {row["filter"]: row["auroc"] for row in filters(fresh, "one")[0] if row["samples"] == "bad"}
    both = [(row["filter"], row["auroc"]) for row in rows if row["samples"] == "bad"]
    assert both[::2] == [*alone.items()] and both[::2] != both[1::2]
    assert "TOXIC=remarks is not read here" in said and said.count("rows whose prompt stood before: 1") == 2
    assert all(of["n"] == 15 for _, of in both)  # of 20 four are held out, one is ours
    assert {(row["samples"], row["filter"]) for row in rows} == {
        (domain, name) for domain in ("health", "career", "legal", "bad") for name in FILTERS
    }
    assert all(0 <= row["auroc"]["value"] <= 1 and row["knows"] and row["scoring"] >= 0 for row in rows)
    lines = {tuple(line.split()[:1] + line.split()[2:3]) for line in said.splitlines()}
    assert {("bad", "surprisal"), ("health", "influence")} <= lines
    page = (base / "results" / "clean-data" / "two" / "report.html").read_text()
    for row in rows:
        if row["samples"] != "bad" and row["filter"] in scores.NAMES:
            assert f"{row['auroc']['value']:.2f} (" in page


def test_files_that_do_not_pair_are_refused(base, capsys):
    given = [word for word in words(base, base / "results", base / "two.jsonl") if not word.startswith("DATA=")][1:]
    with small_run.small(base / "data"):
        assert main(["filters", *given, "DATA=a,b", "CONTROL=c"]) == 2
    assert "DATA names 2 files and CONTROL 1" in capsys.readouterr().err
