"""The language model's key: what is in its folder, and nothing else of it."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import standins
import torch

from real.models import registry
from real.models.lm import LM
from real.pipeline import _lm
from real.settings import parse
from shared import records


@pytest.fixture(scope="module")
def model(once) -> Path:
    return once("four-blocks", standins.four_blocks)


def key(folder: Path, near: Path | None = None) -> str:
    registry.find.cache_clear()
    spec = registry.find(str(folder))
    return LM(spec, 2, near=near).key


def flip(path: Path) -> None:
    """Its last byte; size and times stay."""
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


EDITS = {
    "weights": lambda folder: flip(folder / "model.safetensors"),
    "tokenizer": lambda folder: append(folder / "tokenizer.json", " "),
    "template": lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),
    "config": lambda folder: append(folder / "config.json", " "),
    "generation config": lambda folder: append(folder / "generation_config.json", " "),
}


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_another_version_of_what_runs_it_is_another_model(model, monkeypatch):
    """So that activations, adapters and evaluations made by other libraries are made again, not said to be of these."""
    before = key(model)
    monkeypatch.setattr(records, "_version", lambda name: "0.0")
    assert key(model) != before


def test_full_fine_tuning_is_not_rounded_to_bfloat16_unless_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    words = ([], ["FULL=1"], ["FULL=1", "DTYPE=bfloat16"])
    assert [_lm(parse(of)).spec.dtype for of in words] == ["bfloat16", "float32", "bfloat16"]


@pytest.mark.parametrize("remembered", [False, True])
@pytest.mark.parametrize("edit", EDITS)
def test_what_is_swapped_in_a_models_folder_is_another_model(edit, remembered, model, tmp_path):
    """Digests that are remembered beside the results do not hide it, nor a file's size and time that stay."""
    folder, near = tmp_path / "model", tmp_path / "results" if remembered else None
    shutil.copytree(model, folder)
    before = key(folder, near)
    EDITS[edit](folder)
    assert key(folder, near) != before


def test_what_no_library_reads_or_only_a_clock_saw_is_not(model, tmp_path):
    folder, near = tmp_path / "model", tmp_path / "results"
    shutil.copytree(model, folder)
    before = key(folder, near)
    (folder / "README.md").write_text("Read me.")
    os.utime(folder / "model.safetensors")
    assert key(folder, near) == key(folder) == before
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert key(tmp_path / "elsewhere", near) == before


def test_how_a_model_is_read_is_part_of_its_key():
    spec = registry.KNOWN["smollm2-135m"]
    keys = {
        LM(replace(spec, **change), 2).key
        for change in ({}, {"dtype": "bfloat16"}, {"first": 3}, {"plain": True}, {"targets": ("q_proj",)})
    }
    assert len(keys) == 5


def test_the_model_is_loaded_when_asked_for_and_forgotten(model):
    registry.find.cache_clear()
    spec = registry.find(str(model))
    lm = LM(spec, 2)
    assert lm.loaded is None and lm.key and lm.loaded is None
    assert lm.model is lm.model and lm.model.dtype == torch.float32
    lm.forget()
    assert lm.loaded is None
