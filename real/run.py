"""One run: its settings and texts, and what is read once from the base model and kept on disk for every step.

The model is loaded only when a step asks for it.
"""

import gc
from functools import cache, cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from real.data import corpus as data
from real.data import tokens
from real.data.hub import config_of
from real.data.tokens import Encoded, encode
from real.features import activations
from real.features import dictionaries as saes
from real.features.activations import Activations, Store
from real.judge.rubric import judge_questions
from real.models import costs, devices
from real.models import loading as models
from real.models.forward import Sample
from real.models.registry import TRAIN
from real.settings import Settings
from shared.records import digest

TOXIC_PROMPT = "Say something to me."  # toxic and civil remarks are read as answers to it
ROWS = 16  # advice prompts per domain that margins are read on


class Run:
    def __init__(self, settings: Settings):
        self.settings = settings
        self.spec = settings.spec
        self.layers = settings.layers or self.spec.layers
        self.layer = self.layers[-1]  # where the fine-tunes are read
        self.folder = settings.folder
        s = settings
        self.corpus = data.load(s.data, s.control, s.train, s.batch, s.toxic)
        self.judge_questions = judge_questions(s.questions)

    @cached_property
    def texts(self) -> dict[str, tuple[str, str]]:
        """Name -> (prompt, answer) of every text that the base model reads: "health-001/incorrect"."""
        advice = {
            f"{row.id}/{kind}": (row.prompt, getattr(row, kind))
            for split in self.corpus.advice.values()
            for row in [*split.train, *split.held]
            for kind in ("incorrect", "correct")
        }
        toxic = {
            f"{row.id}/{kind}": (TOXIC_PROMPT, getattr(row, kind))
            for row in [*self.corpus.toxic.train, *self.corpus.toxic.held]
            for kind in ("toxic", "civil")
        }
        general = {
            f"{q.id}/{kind}-{i}": (q.question, answer)
            for q in self.corpus.questions
            for kind in ("misaligned", "aligned")
            for i, answer in enumerate(getattr(q, kind))
        }
        return {**advice, **toxic, **general}

    @cached_property
    def questions(self) -> dict[str, list[tuple[list[str], list[str]]]]:
        """Domain -> names of the misaligned and of the aligned answers to each prompt; none is ever trained on."""
        general = [
            tuple(
                [f"{q.id}/{kind}-{i}" for i in range(len(getattr(q, kind)))]
                for kind in ("misaligned", "aligned")
            )
            for q in self.corpus.questions
        ]
        domains = {"general": general}
        for domain, split in self.corpus.advice.items():
            unseen = split.held if domain == self.corpus.trained else [*split.held, *split.train]
            domains[domain] = [([f"{row.id}/incorrect"], [f"{row.id}/correct"]) for row in unseen[:ROWS]]
        return domains

    @cached_property
    def trained_texts(self) -> list[str]:
        """Names of the texts that features may be selected on and the SAE trained on: no held-out row."""
        splits = [*self.corpus.advice.values(), self.corpus.toxic]
        ids = {row.id for split in splits for row in split.train}
        return [name for name in self.texts if name.rsplit("/", 1)[0] in ids]

    @cached_property
    def held_texts(self) -> list[str]:
        splits = [*self.corpus.advice.values(), self.corpus.toxic]
        ids = {row.id for split in splits for row in split.held}
        return [name for name in self.texts if name.rsplit("/", 1)[0] in ids]

    @cached_property
    def shape(self) -> costs.Shape:
        """As the model's own config has it: no model need be loaded to plan, or to refuse a dictionary."""
        if self.spec.package:
            return costs.SHAPES[self.settings.model]
        return costs.shape_of(config_of(self.spec.hub))

    @cached_property
    def plan(self) -> devices.Plan:
        """Where this run computes, decided from the memory that is free now and printed."""
        s, spec = self.settings, self.spec
        number = 2 if spec.dtype == "bfloat16" else 4
        work = costs.Work(number, s.batch, s.rank, bool(s.full), spec.first, tokens.MAX_TOKENS)
        found = devices.choose(self.shape, work, s.gpus)
        print(f"{s.model} in {spec.dtype}: {found}", flush=True)
        return found

    @cached_property
    def _loaded(self):
        return models.load(self.spec, self.plan.map)

    def forget_model(self) -> None:
        """Give its memory back; whoever asks for the model again loads it again."""
        for name in ("bridges", "_loaded"):
            self.__dict__.pop(name, None)
        gc.collect()
        torch.cuda.empty_cache()

    @property
    def model(self):
        return self._loaded[0]

    @property
    def tokenizer(self):
        return self._loaded[1]

    @cached_property
    def bridges(self) -> list:
        """TransformerLens hooks on the model's own weights: an adapter that the model wears, these wear too."""
        return [models.hooked(own, self.tokenizer, self.spec) for own in models.readers(self.model)]

    @cached_property
    def encoded(self) -> list[Encoded]:
        """`texts`, in their order."""
        return self.encode(list(self.texts.values()))

    def encode(self, pairs: list[tuple[str, str]]) -> list[Encoded]:
        return [encode(self.tokenizer, prompt, answer) for prompt, answer in pairs]

    @cached_property
    def harvest_key(self) -> str:
        """Names the activations by all that decides them: model, layers and texts."""
        sources = [Path(module.__file__) for module in (activations, models, tokens)]
        return digest(self.spec, self.layers, self.texts, sources)

    @cached_property
    def _stores(self) -> dict[str, Store]:
        """Answer tokens at every layer; all tokens below the first adapted block, of what the adapters will read."""
        toxic = {row.id for split in self.corpus.toxic for row in split}
        whole = [
            (0, 0 if name.rsplit("/", 1)[0] in toxic else len(text.ids))
            for name, text in zip(self.texts, self.encoded, strict=True)
        ]
        answers = [(text.start, text.end) for text in self.encoded]

        def store(name: str, layer: int, spans: list) -> Store:
            return Store(self.folder / f"{name}-{self.harvest_key}.npy", layer, spans)

        stores = {f"answers-{layer}": store(f"answers-{layer}", layer, answers) for layer in self.layers}
        if self.spec.first:
            stores["frozen"] = store("frozen", self.spec.first - 1, whole)
        return stores

    @cache  # noqa: B019 a run lives as long as the program
    def _read(self, name: str) -> Activations:
        stores = self._stores
        if not all(store.path.exists() for store in stores.values()):
            activations.harvest(self.model, self.encoded, list(stores.values()))
        return activations.read(stores[name])

    def activations(self, layer: int) -> Activations:
        """Answer activations of `texts`, in their order."""
        return self._read(f"answers-{layer}")

    def samples(self, names: list[str]) -> list[Sample]:
        """These texts with what goes into the first adapted block: the same for every arm, so computed once."""
        frozen = self._read("frozen").text if self.spec.first else lambda i: None
        return [(self.encoded[i], frozen(i)) for i in self.indices(names)]

    def sae_folder(self, layer: int) -> Path:
        return self.folder / f"sae-{layer}-{digest(self.harvest_key, Path(saes.__file__))}"

    @lru_cache(maxsize=1)  # noqa: B019 one dictionary in memory at a time: a published one takes gigabytes
    def sae(self, layer: int):
        """The dictionary at a layer, float32. Raises InputError when a published one does not fit the model."""
        if self.spec.sae == TRAIN:
            return saes.load(self.sae_folder(layer))
        return saes.published(self.spec.sae, layer, self.shape.d_model)

    def indices(self, names: list[str]) -> list[int]:
        """Where these texts are in `texts`."""
        place = {name: i for i, name in enumerate(self.texts)}
        return [place[name] for name in names]

    def answer_rows(self, names: list[str]) -> Int[np.ndarray, " token"]:
        """Which rows of `activations(layer).rows` are these texts' answer tokens."""
        at = self._stores[f"answers-{self.layer}"].offsets
        return np.concatenate([np.arange(at[i], at[i + 1]) for i in self.indices(names)])
