"""Answer activations on disk: harvested once through TransformerLens hooks, read by the SAE and the features."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from real.models import resid_post
from real.tokens import Encoded, pack, rows


class Activations(NamedTuple):
    """Row `offsets[i]` to `offsets[i + 1]` of `rows` are text i's answer tokens; `rows` stays on disk."""

    rows: np.ndarray  # [token d_model] float32
    offsets: np.ndarray  # [text + 1]

    def text(self, i: int) -> Float[Tensor, "token d_model"]:
        return torch.from_numpy(np.array(self.rows[self.offsets[i] : self.offsets[i + 1]]))


def residuals(
    bridge, texts: list[Encoded], layer: int, desc: str
) -> Iterator[tuple[int, Float[Tensor, "pos d_model"]]]:
    """(i, resid_post of `layer` at every token of text i), in whatever order is quick."""
    with tqdm(total=len(texts), desc=desc, unit="text") as bar:
        for ids in rows(texts):
            packed = pack([texts[i] for i in ids])
            resid = resid_post(bridge, packed, layer)
            yield from zip(ids, (resid[path] for path in packed.paths), strict=True)
            bar.update(len(ids))


def harvest(bridge, texts: list[Encoded], layer: int, path: Path) -> None:
    """Write resid_post of `layer` at every answer token to `path` (.npy). A killed harvest leaves no `path`."""
    offsets, d_model = _offsets(texts), bridge.cfg.d_model
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    header = {"descr": "<f4", "fortran_order": False, "shape": (int(offsets[-1]), d_model)}
    with unfinished.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        for i, resid in residuals(bridge, texts, layer, "harvest"):
            file.seek(start + int(offsets[i]) * d_model * 4)
            file.write(resid[texts[i].start : texts[i].end].float().numpy().tobytes())
    unfinished.replace(path)


def read(path: Path, texts: list[Encoded]) -> Activations:
    return Activations(np.load(path, mmap_mode="r"), _offsets(texts))


def pooled(sae, activations: Activations, texts: list[int]) -> Iterator[Float[Tensor, "sample d_sae"]]:
    """Mean feature_acts over each text's answer tokens, 64 texts at a time, whatever the number of texts."""
    for at in range(0, len(texts), 64):
        chunk = texts[at : at + 64]
        with torch.no_grad():
            yield torch.stack([sae.encode(activations.text(i)).mean(0) for i in chunk])


def _offsets(texts: list[Encoded]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([t.end - t.start for t in texts])])
