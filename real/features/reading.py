"""What is read once from the base model and kept on disk for every step: activations, and dictionaries of them."""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from real.data.rows import TOXIC, Text
from real.data.texts import Texts
from real.data.tokens import Encoded
from real.features import activations, dictionaries
from real.features.activations import Activations
from real.models.devices import Plan
from real.models.forward import Sample, hook_name
from real.models.lm import LM
from real.models.registry import TRAIN
from shared.code import code
from shared.records import Part, Record, cached, digest


class Dictionary(Part):
    d_sae: int
    tokens: int  # learned from
    fvu: float  # on held-out texts, as the other two
    l0: float
    dead: float


class Dictionaries(Record):
    """Step 2."""

    layers: dict[int, Dictionary]


@dataclass(eq=False)  # compared, and hashed, as one object
class Reading:
    texts: Texts
    lm: LM
    layers: tuple[int, ...]
    folder: Path

    @property
    def layer(self) -> int:
        """Where the fine-tunes are read."""
        return self.layers[-1]

    @cached_property
    def key(self) -> str:
        """All that decides what is read: model, layers, texts, and which dictionaries."""
        return digest(self.lm, self.layers, self.texts, self.lm.spec.sae, code(learn))

    @cached_property
    def encoded(self) -> list[Encoded]:
        """All texts, in their order."""
        return self.lm.encode(list(self.texts.said.values()))

    @cached_property
    def _place(self) -> dict[Text, int]:
        return {text: i for i, text in enumerate(self.texts.said)}

    def indices(self, texts: list[Text]) -> list[int]:
        """Where these are among all."""
        return [self._place[text] for text in texts]

    @cached_property
    def _read(self) -> dict[str, Activations]:
        """Answer tokens at every layer; all tokens below the first adapted block, of what the adapters will read."""
        where, first = self.folder / "activations", self.lm.spec.first
        spans = [(encoded.start, encoded.end) for encoded in self.encoded]
        stores = [Activations(where / f"answers-{at}.npy", at, spans) for at in self.layers]
        if first:
            read = zip(self.texts.said, self.encoded, strict=True)
            spans = [(0, 0 if text.kind in TOXIC else len(encoded.ids)) for text, encoded in read]
            stores.append(Activations(where / "frozen.npy", first - 1, spans))

        def harvest() -> Record:
            activations.harvest(self.lm.model, self.encoded, stores)
            return Record(made={store.path.name: "" for store in stores})

        key = digest(self.lm, self.layers, self.texts, code(learn))  # another SAE reads the same
        cached(where / "harvest.json", key, Record, harvest)
        return activations.opened(stores)

    def activations(self, layer: int) -> Activations:
        """Answer activations of all texts, in their order."""
        return self._read[f"answers-{layer}"]

    def samples(self, texts: list[Text]) -> list[Sample]:
        """These texts with what goes into the first adapted block: the same for every arm, so computed once."""
        frozen = self._read["frozen"].text if self.lm.spec.first else lambda i: None
        return [(self.encoded[i], frozen(i)) for i in self.indices(texts)]

    def answer_rows(self, texts: list[Text]) -> Int[np.ndarray, " token"]:
        """Which rows of `activations(layer).rows` are these texts' answer tokens."""
        at = self.activations(self.layer).offsets
        return np.concatenate([np.arange(at[i], at[i + 1]) for i in self.indices(texts)])

    @lru_cache(maxsize=1)  # noqa: B019 one dictionary in memory at a time: a published one takes gigabytes
    def sae(self, layer: int) -> Any:
        """The dictionary at a layer, float32, trained on the run's own activations or published.

        Raises InputError when a published one does not fit the model.
        """
        if self.lm.spec.sae != TRAIN:
            return dictionaries.published(self.lm.spec.sae, layer, self.lm.spec.shape.d_model)
        where = self.folder / "dictionaries" / f"block-{layer}"

        def train() -> Record:
            rows, ids = self.activations(layer).rows, self.answer_rows(self.texts.part("train"))
            dictionaries.train(rows, ids, hook_name(layer), seed=0).save_inference_model(where)
            return Record(made={path.name: "" for path in where.iterdir() if path.name != "training.json"})

        cached(where / "training.json", digest(self, layer), Record, train)
        return dictionaries.load(where)


def bare(reading: Reading, plan: Plan | None = None) -> Reading:
    """For another process, which loads the model itself and computes by this plan, or one of its own."""
    return replace(reading, lm=replace(reading.lm, plan_given=plan, loaded=None))


def learn(reading: Reading) -> Dictionaries:
    """Step 2, layer by layer. Published, or trained on the texts that are not held out; judged on those that are."""
    if reading.lm.spec.sae != TRAIN:
        for layer in reading.layers:
            reading.sae(layer)  # one that does not fit is refused before the model is run
    train, held = (reading.answer_rows(reading.texts.part(name)) for name in ("train", "held"))
    found = {}
    for layer in reading.layers:
        sae = reading.sae(layer)
        quality = dictionaries.quality(sae, reading.activations(layer).rows, held)
        found[layer] = Dictionary(d_sae=sae.W_dec.shape[0], tokens=len(train), **quality)
    return Dictionaries(layers=found)
