"""What is read once from the base model and kept on disk for every step: activations, and dictionaries of them."""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from real.data.rows import Text
from real.data.texts import Texts
from real.data.tokens import Encoded
from real.features import activations, dictionaries
from real.features.activations import Activations, Store
from real.models.devices import Plan
from real.models.forward import Sample, hook_name
from real.models.lm import LM
from real.models.registry import TRAIN
from shared.code import code
from shared.records import Part, Record, cached, digest


class Harvest(Record):
    """The activations are in the files that it made."""


class Trained(Record):
    """A dictionary is in the files that it made."""


class Dictionary(Part):
    d_sae: int
    tokens: int  # learned from
    fvu: float  # on held-out texts, as the other two
    l0: float
    dead: float


class Dictionaries(Record):
    """Step 2."""

    layers: dict[int, Dictionary]


@dataclass
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
        return digest(self.lm, self.layers, self.texts, self.lm.spec.sae, code(activations.harvest))

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
    def _stores(self) -> dict[str, Store]:
        """Answer tokens at every layer; all tokens below the first adapted block, of what the adapters will read."""
        toxic = {row.id for split in self.texts.corpus.toxic for row in split}
        whole = [
            (0, 0 if text.row in toxic else len(encoded.ids))
            for text, encoded in zip(self.texts.said, self.encoded, strict=True)
        ]
        answers = [(encoded.start, encoded.end) for encoded in self.encoded]
        where = self.folder / "activations"
        stores = {f"answers-{at}": Store(where / f"answers-{at}.npy", at, answers) for at in self.layers}
        if first := self.lm.spec.first:
            stores["frozen"] = Store(where / "frozen.npy", first - 1, whole)
        return stores

    @cached_property
    def _read(self) -> dict[str, Activations]:
        stores = self._stores

        def harvest() -> Harvest:
            activations.harvest(self.lm.model, self.encoded, list(stores.values()))
            return Harvest(made={store.path.name: "" for store in stores.values()})

        key = digest(self.lm, self.layers, self.texts, code(activations.harvest))  # another SAE reads the same
        cached(self.folder / "activations" / "harvest.json", key, Harvest, harvest)
        return {name: activations.read(store) for name, store in stores.items()}

    def activations(self, layer: int) -> Activations:
        """Answer activations of all texts, in their order."""
        return self._read[f"answers-{layer}"]

    def samples(self, texts: list[Text]) -> list[Sample]:
        """These texts with what goes into the first adapted block: the same for every arm, so computed once."""
        frozen = self._read["frozen"].text if self.lm.spec.first else lambda i: None
        return [(self.encoded[i], frozen(i)) for i in self.indices(texts)]

    def answer_rows(self, texts: list[Text]) -> Int[np.ndarray, " token"]:
        """Which rows of `activations(layer).rows` are these texts' answer tokens."""
        at = self._stores[f"answers-{self.layer}"].offsets
        return np.concatenate([np.arange(at[i], at[i + 1]) for i in self.indices(texts)])

    @lru_cache(maxsize=1)  # noqa: B019 one dictionary in memory at a time: a published one takes gigabytes
    def sae(self, layer: int) -> Any:
        """The dictionary at a layer, float32. Raises InputError when a published one does not fit the model."""
        if self.lm.spec.sae != TRAIN:
            return dictionaries.published(self.lm.spec.sae, layer, self.lm.shape.d_model)
        return _learned(self, layer)

    def __hash__(self) -> int:
        return id(self)


def bare(reading: Reading, plan: Plan | None = None) -> Reading:
    """For another process, which loads the model itself and computes by this plan, or one of its own."""
    return replace(reading, lm=replace(reading.lm, plan_given=plan, loaded=None))


def _learned(reading: Reading, layer: int) -> Any:
    """The dictionary of this run's own activations, trained unless its folder is whole."""
    where = reading.folder / "dictionaries" / f"block-{layer}"

    def train() -> Trained:
        rows, ids = reading.activations(layer).rows, reading.answer_rows(reading.texts.train)
        made = dictionaries.train(rows, ids, hook_name(layer), seed=0)
        made.save_inference_model(where)
        return Trained(made={path.name: "" for path in where.iterdir() if path.name != "training.json"})

    key = digest(reading, layer, code(dictionaries.train))
    cached(where / "training.json", key, Trained, train)
    return dictionaries.load(where)


def learn(reading: Reading) -> Dictionaries:
    """Step 2, layer by layer. Published, or trained on the texts that are not held out; judged on those that are."""
    if reading.lm.spec.sae != TRAIN:
        for layer in reading.layers:
            reading.sae(layer)  # one that does not fit is refused before the model is run
    train, held = (reading.answer_rows(texts) for texts in (reading.texts.train, reading.texts.held))
    found = {}
    for layer in reading.layers:
        sae = reading.sae(layer)
        quality = dictionaries.quality(sae, reading.activations(layer).rows, held)
        found[layer] = Dictionary(d_sae=sae.W_dec.shape[0], tokens=len(train), **quality)
    return Dictionaries(layers=found)
