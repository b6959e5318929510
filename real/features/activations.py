"""Activations on disk: one pass of the base model over every text of a run, read by all that comes later."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from real.data.packing import pack, rows
from real.data.tokens import Encoded
from real.models.devices import row_size
from real.models.forward import readers, resid_post
from shared.cores import shared_out


class Store(NamedTuple):
    """resid_post of `layer` at the tokens `spans[i]` = (start, end) of text i, in a file of float32 rows (.npy)."""

    path: Path
    layer: int
    spans: list[tuple[int, int]]

    @property
    def offsets(self) -> np.ndarray:
        """Text i has the file's rows offsets[i] to offsets[i + 1]."""
        return np.concatenate([[0], np.cumsum([end - start for start, end in self.spans])])


class Activations(NamedTuple):
    """A Store as read back; `rows` stays on disk."""

    rows: np.ndarray  # [token d_model] float32
    offsets: np.ndarray  # [text + 1]

    def text(self, i: int) -> Float[Tensor, "token d_model"]:
        return torch.from_numpy(self.rows[self.offsets[i] : self.offsets[i + 1]])


def residuals(
    model, texts: list[Encoded], layers: Sequence[int], desc: str
) -> Iterator[tuple[int, dict[int, Float[Tensor, "pos d_model"]]]]:
    """(i, layer -> resid_post at every token of text i, on the CPU), in whatever order is quick.

    A GPU computes a row while the row before is taken from here.
    """
    with tqdm(total=len(texts), desc=desc, unit="text") as bar:
        groups, before = rows(texts, row_size(model.device)), None

        def begin(own, ids: list[int]) -> tuple:
            return ids, *_begin(own, [texts[i] for i in ids], layers)

        begun = shared_out(begin, readers(model), groups)
        for now in chain(begun, [None]):
            if before:
                ids, paths, resid, finish = before
                finish()
                for i, path in zip(ids, paths, strict=True):
                    yield i, {layer: resid[layer][path] for layer in layers}
                bar.update(len(ids))
            before = now


def _begin(model, texts: list[Encoded], layers: Sequence[int]) -> tuple[list, dict[int, Tensor], Callable]:
    """A row's paths, its resid_post on its way to the CPU, and what waits for it to be there."""
    packed = pack(texts)
    resid = resid_post(model, packed, layers)
    if model.device.type == "cpu":
        return packed.paths, resid, lambda: None
    there = {layer: torch.empty_like(r, device="cpu", pin_memory=True) for layer, r in resid.items()}
    events = []
    for layer, r in resid.items():
        there[layer].copy_(r, non_blocking=True)
        events.append(torch.cuda.current_stream(r.device).record_event())
    return packed.paths, there, lambda: [event.synchronize() for event in events]


def harvest(model, texts: list[Encoded], stores: list[Store]) -> None:
    """Fill the stores in one pass over the texts. A killed harvest leaves no store's `path`."""
    d_model = model.config.hidden_size
    unfinished = [store.path.with_suffix(".part") for store in stores]
    with ExitStack() as stack:
        files = []
        for store, part in zip(stores, unfinished, strict=True):
            part.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(part.open("wb"))
            header = {"descr": "<f4", "fortran_order": False, "shape": (int(store.offsets[-1]), d_model)}
            np.lib.format.write_array_header_1_0(file, header)
            files.append((store, store.offsets, file, file.tell()))
        layers = sorted({store.layer for store in stores})
        for i, resid in residuals(model, texts, layers, "harvest"):
            for store, offsets, file, start in files:
                first, end = store.spans[i]
                file.seek(start + int(offsets[i]) * d_model * 4)
                file.write(resid[store.layer][first:end].float().numpy().tobytes())
    for store, part in zip(stores, unfinished, strict=True):
        part.replace(store.path)


def read(store: Store) -> Activations:
    """Nothing is read before it is looked at. A change would stay in memory ("c"), off the disk."""
    return Activations(np.load(store.path, mmap_mode="c"), store.offsets)


def pooled(sae, activations: Activations, texts: list[int]) -> Iterator[Float[Tensor, "sample d_sae"]]:
    """Mean feature_acts over each text's answer tokens, 64 texts at a time, whatever the number of texts."""
    for at in range(0, len(texts), 64):
        chunk = texts[at : at + 64]
        with torch.no_grad():
            yield torch.stack([sae.encode(activations.text(i)).mean(0) for i in chunk])


def answer_means(activations: Activations, texts: list[int]) -> Float[Tensor, "text d_model"]:
    """Mean activation over each text's answer tokens."""
    return torch.stack([activations.text(i).mean(0) for i in texts])
