"""One run: its settings and texts; the model and its hooks are made only when a step asks for them."""

from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from real import activations, data, models, saes, tokens
from real.settings import Settings
from real.tokens import Encoded, encode
from shared.records import digest

TOXIC_PROMPT = "Say something to me."  # toxic and civil remarks are read as answers to it


class Run:
    def __init__(self, settings: Settings):
        self.settings = settings
        self.spec = models.KNOWN[settings.model]
        self.folder = settings.folder
        s = settings
        self.corpus = data.load(s.data, s.control, s.train, s.batch)

    @cached_property
    def texts(self) -> dict[str, tuple[str, str]]:
        """Name -> (prompt, answer) of every text whose activations are read: "health-001/incorrect"."""
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
        return {**advice, **toxic}

    @cached_property
    def trained_texts(self) -> list[str]:
        """Names of the texts that features may be selected on and the SAE trained on: no held-out row."""
        held = {row.id for split in [*self.corpus.advice.values(), self.corpus.toxic] for row in split.held}
        return [name for name in self.texts if name.rsplit("/", 1)[0] not in held]

    @cached_property
    def _loaded(self):
        return models.load(self.spec)

    @property
    def model(self):
        return self._loaded[0]

    @property
    def tokenizer(self):
        return self._loaded[1]

    @cached_property
    def bridge(self):
        """TransformerLens hooks on the base model's weights, without adapters."""
        return models.hooked(self.model, self.tokenizer, self.spec)

    def encode(self, pairs: list[tuple[str, str]]) -> list[Encoded]:
        return [encode(self.tokenizer, prompt, answer) for prompt, answer in pairs]

    def frozen(self, texts: list[Encoded]) -> list[Float[Tensor, "pos d_model"]]:
        """What goes into the first block with an adapter: the same for every arm, so computed once."""
        resid = dict(activations.residuals(self.bridge, texts, self.spec.first - 1, "frozen blocks"))
        return [resid[i] for i in range(len(texts))]

    @cached_property
    def harvest_key(self) -> str:
        """Names the activations by all that decides them: model, layer and texts."""
        return digest(
            self.spec, self.texts, [Path(module.__file__) for module in (activations, models, tokens)]
        )

    @cached_property
    def activations(self) -> activations.Activations:
        """Answer activations of `texts`, in their order."""
        path = self.folder / f"activations-{self.spec.layer}-{self.harvest_key}.npy"
        texts = self.encode(list(self.texts.values()))
        if not path.exists():
            activations.harvest(self.bridge, texts, self.spec.layer, path)
        return activations.read(path, texts)

    @property
    def sae_folder(self) -> Path:
        return self.folder / f"sae-{self.spec.layer}-{digest(self.harvest_key, Path(saes.__file__))}"

    @cached_property
    def sae(self):
        return saes.load(self.sae_folder)

    def indices(self, names: list[str]) -> list[int]:
        """Where these texts are in `texts`."""
        place = {name: i for i, name in enumerate(self.texts)}
        return [place[name] for name in names]

    def answer_rows(self, names: list[str]) -> Float[Tensor, "token d_model"]:
        """All answer tokens of these texts."""
        return torch.cat([self.activations.text(i) for i in self.indices(names)])
