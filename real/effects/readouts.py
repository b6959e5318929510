"""What fine-tuning adds to the residual stream at neutral probes, and the margin beside it, along the way.

A probe's shift is the mean, over the base model's own greedy answer, of what an arm adds to the residual stream of the
main layer: [d_model]. Every readout's change is its product with a unit feature direction (E1).
"""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from real.arms.arm import WATCHED
from real.arms.finetune import Tuned, folders
from real.arms.weights import wearing
from real.data.packing import Packed, pack, rows
from real.data.tokens import Encoded
from real.effects.margins import Logprobs, asked, first, read_questions
from real.features.reading import Reading
from real.models import forward
from real.models.lm import LM
from real.models.sampling import sample
from shared.code import code
from shared.records import Record, cached, digest, write_bytes

NEW_TOKENS = 24


class Row(NamedTuple):
    """Texts that share a pass."""

    ids: list[int]
    texts: list[Encoded]
    packed: Packed
    inputs: Float[Tensor, "node d_model"] | None  # into the first adapted block; None where that is the lowest


class Readouts(Record):
    """Of the base model, or of an arm at every checkpoint and after the last step; hidden states are in its file."""

    said: list[str]  # the base model's answers to the probes
    general: list[Logprobs]  # one answer a side


def along(
    reading: Reading, tuned: list[Tuned]
) -> tuple[dict[str, Float[Tensor, "seed checkpoint probe d_model"]], dict[str, list[list[Logprobs]]]]:
    """Arm -> shifts, and -> seed -> checkpoint -> log-probabilities of general answers. The first is the base model."""
    base, off = watch(reading)
    shifts, general = ({arm.data: [] for arm in WATCHED} for _ in range(2))
    for job, folder in folders(reading, tuned)[1:]:
        found, states = watch(reading, folder)
        shifts[job.arm.data].append(torch.cat([off, states]) - off)
        general[job.arm.data].append([*base.general, *found.general])
    return {arm: torch.stack(read) for arm, read in shifts.items()}, general


def watch(reading: Reading, folder: Path | None = None) -> tuple[Readouts, Float[Tensor, "checkpoint probe d_model"]]:
    """Of the arm in this folder, or of the base model, with the residual stream; kept."""
    kept = record(reading, folder)
    found = cached(*kept, lambda: _read(reading, folder))
    return found, torch.from_numpy(np.load(kept[0].with_suffix(".npy")))


def record(reading: Reading, folder: Path | None) -> tuple[Path, str, type[Readouts]]:
    """Where readouts are kept, and as what."""
    said = [reading.texts.said[text] for text in asked({"general": first(reading.texts.asked["general"])})]
    name = folder.name if folder else "base"
    key = digest(reading.lm, reading.layer, reading.texts.corpus.probes, said, code(watch), name)
    return reading.folder / "readouts" / f"{name}.json", key, Readouts


def _read(reading: Reading, folder: Path | None) -> Readouts:
    lm, prompts = reading.lm, reading.texts.corpus.probes
    said = watch(reading)[0].said if folder else sample(lm.model, lm.tokenizer, prompts, NEW_TOKENS, temperature=0.0)
    probes = probe_rows(lm, lm.encode(list(zip(prompts, said, strict=True))))
    questions, steps = {"general": first(reading.texts.asked["general"])}, folder.glob("step-*") if folder else []
    seen, general = [], []
    for worn in [*sorted(steps, key=lambda path: int(path.name.removeprefix("step-"))), folder]:
        with wearing(lm.model, worn):
            seen.append(probe_resid(reading, probes))
            general.append(read_questions(reading, questions)["general"])
    file, array = record(reading, folder)[0].with_suffix(".npy"), io.BytesIO()
    np.save(array, torch.stack(seen).numpy())
    write_bytes(file, array.getvalue())
    return Readouts(said=said, general=general, made={file.name: ""})


def probe_rows(lm: LM, texts: list[Encoded]) -> list[Row]:
    found = []
    for ids in rows(texts):
        own = [texts[i] for i in ids]
        packed = pack(own)
        found.append(Row(ids, own, packed, forward.below(lm.model, packed, lm.spec.first)))
    return found


def probe_resid(reading: Reading, probes: list[Row]) -> Float[Tensor, "probe d_model"]:
    """Residual stream of the main layer, mean over every probe's answer."""
    means, lm = {}, reading.lm
    for row in probes:
        resid = leaving(lm.model, row, lm.spec.first, reading.layer).cpu()
        for i, text, path in zip(row.ids, row.texts, row.packed.paths, strict=True):
            said = path[text.start : max(text.end, text.start + 1)]  # of an empty answer its end of turn
            means[i] = resid[said].mean(0)
    return torch.stack([means[i] for i in range(len(means))])


def leaving(model, row: Row, first: int, layer: int) -> Float[Tensor, "node d_model"]:
    """A row's residual stream after a block, with what the model wears now."""
    with forward.blocks(model, first):
        return forward.resid_post(model, row.packed, [layer], row.inputs)[layer]
