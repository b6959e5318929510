"""Activations on disk: one pass of the base model over every text of a run, read by all that comes later."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise, product
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from real.data.packing import pack, rows
from real.data.tokens import Encoded
from real.models.devices import row_size
from real.models.forward import readers, resid_post
from shared.cores import shared_out

ENCODED = 8  # texts encoded at once: a product likes more rows than one has, and a cache no more than these


@dataclass(frozen=True)
class Activations:
    """resid_post of `layer` at the tokens `spans[i]` = (start, end) of text i, in a file of float32 rows (.npy)."""

    path: Path
    layer: int
    spans: list[tuple[int, int]]

    @cached_property
    def offsets(self) -> Int[np.ndarray, " end"]:
        """Text i has the file's rows offsets[i] to offsets[i + 1]."""
        return np.concatenate([[0], np.cumsum([end - start for start, end in self.spans])])

    @cached_property
    def rows(self) -> Float[np.ndarray, "token d_model"]:
        """On disk: nothing is read before it is looked at. A change would stay in memory ("c"), off the disk."""
        return np.load(self.path, mmap_mode="c")

    def text(self, i: int) -> Float[Tensor, "token d_model"]:
        return torch.from_numpy(self.rows[self.offsets[i] : self.offsets[i + 1]])


def harvest(model, texts: list[Encoded], stores: list[Activations]) -> None:
    """Fill the stores in one pass over the texts. A killed harvest leaves no store's `path`."""
    layers, d_model, files = sorted({store.layer for store in stores}), model.config.hidden_size, []

    def begin(own, ids: list[int]) -> tuple:
        packed = pack([texts[i] for i in ids])
        resid = resid_post(own, packed, layers)
        there = {layer: r.to("cpu", non_blocking=True) for layer, r in resid.items()}  # into pinned memory
        copied = [torch.cuda.current_stream(r.device).record_event() for r in resid.values() if r.is_cuda]
        return ids, packed.paths, there, copied

    with ExitStack() as stack:
        for store in stores:
            store.path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(store.path.with_suffix(".part").open("wb"))
            header = {"descr": "<f4", "fortran_order": False, "shape": (int(store.offsets[-1]), d_model)}
            np.lib.format.write_array_header_1_0(file, header)
            files.append((store, file, file.tell()))
        begun = shared_out(begin, readers(model), rows(texts, row_size(model)))
        bar = stack.enter_context(tqdm(total=len(texts), desc="harvest", unit="text"))
        for (ids, paths, resid, copied), _ in pairwise(chain(begun, [None])):  # a GPU is at the next row meanwhile
            for event in copied:
                event.synchronize()
            for (i, path), (store, file, start) in product(zip(ids, paths, strict=True), files):
                first, end = store.spans[i]
                file.seek(start + int(store.offsets[i]) * d_model * 4)
                file.write(resid[store.layer][path[first:end]].float().numpy().tobytes())
            bar.update(len(ids))
    for store in stores:
        store.path.with_suffix(".part").replace(store.path)


def opened(stores: list[Activations]) -> dict[str, Activations]:
    """By name, and open: another command may put those of other texts in the files' place."""
    return {store.path.stem: store for store in stores if store.rows is not None}


def pooled(sae, activations: Activations, texts: list[int]) -> Iterator[Float[Tensor, "sample d_sae"]]:
    """Mean feature_acts over each text's answer tokens, 64 texts at a time."""
    for at in range(0, len(texts), 64):
        chunk, means = [activations.text(i) for i in texts[at : at + 64]], []
        for n in range(0, len(chunk), ENCODED):
            some = chunk[n : n + ENCODED]
            with torch.no_grad():
                acts = sae.encode(torch.cat(some))
            means += [of_text.mean(0) for of_text in acts.split([len(of_text) for of_text in some])]
        yield torch.stack(means)


def answer_means(activations: Activations, texts: list[int]) -> Float[Tensor, "text d_model"]:
    """Mean activation over each text's answer tokens."""
    return torch.stack([activations.text(i).mean(0) for i in texts])
