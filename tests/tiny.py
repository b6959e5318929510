"""Readings in which all is known: a Llama of four small blocks with random weights, float64, and texts of random words.

The handles are the real ones; the dictionary (and, where asked for, what the model computes) is given.
"""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from real.data.packing import pack
from real.data.rows import Advice, Corpus, Question, Split, Text
from real.data.texts import Texts
from real.features.activations import Activations
from real.features.reading import Reading
from real.models import forward
from real.models.devices import Plan
from real.models.lm import LM
from real.models.registry import KNOWN

D_MODEL, VOCAB, FIRST, LAYER = 16, 40, 1, 2
PLAN = Plan("cpu", 1, 4, False)  # one process, four samples a pass


def model_and_tokenizer():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=D_MODEL, intermediate_size=32, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, architectures=["LlamaForCausalLM"], attn_implementation="sdpa",
    )  # fmt: skip
    model = LlamaForCausalLM(config).double().requires_grad_(False).eval()
    words = Tokenizer(WordLevel({str(i): i for i in range(VOCAB)}, unk_token="0"))
    words.pre_tokenizer = Whitespace()
    return model, PreTrainedTokenizerFast(tokenizer_object=words, eos_token="2", pad_token="2")


def held(rows, lengths: list[int]) -> Activations:
    """Activations in memory: these rows, so many to each text."""
    found = Activations(Path("nowhere"), LAYER, [(0, length) for length in lengths])
    vars(found)["rows"] = rows
    return found


class Given(Reading):
    """A reading whose dictionary is given, and the activations too unless they are to be harvested."""

    def __init__(
        self, texts: Texts, lm: LM, layers: tuple[int, ...], sae, hidden: Activations | None = None, folder=None
    ):
        super().__init__(texts, lm, layers, folder or Path("nowhere"))
        self.dictionary, self.hidden = sae, hidden

    def sae(self, layer: int):
        return self.dictionary

    def activations(self, layer: int) -> Activations:
        return self.hidden or super().activations(layer)

    def samples(self, texts: list[Text]) -> list[forward.Sample]:
        """In float64, which what is kept on disk is not."""
        model, those = self.lm.model, [self.encoded[i] for i in self.indices(texts)]
        return [(text, forward.below(model, pack([text]), self.lm.spec.first)) for text in those]


def lm(loaded=None, **changes) -> LM:
    """SmolLM2 by name, but for the changes; `loaded` stands for its weights."""
    spec = replace(KNOWN["smollm2-135m"], **changes)
    return LM(spec, 2, plan_given=PLAN, loaded=loaded)


def reading(corpus: Corpus, W_dec=None, folder: Path | None = None) -> Given:
    """Of the small Llama, from block FIRST on; by default a random dictionary of 60 features."""
    if W_dec is None:
        W_dec = torch.randn(60, D_MODEL, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sae = SimpleNamespace(W_dec=W_dec, encode=lambda h: torch.relu(h.to(W_dec.dtype) @ W_dec.mT))
    return Given(Texts(corpus), lm(model_and_tokenizer(), first=FIRST), (LAYER,), sae, folder=folder)


def advice(rows: int, seed: int = 0) -> Corpus:
    """Prompts of random words, with an answer of each kind; nothing is held out, nothing toxic."""
    say = speaker(seed)
    made = [Advice(f"h{i}", say(), say(), say()) for i in range(rows)]
    return Corpus("health", {"health": Split(made, [])}, Split([], []), [], [])


def questions(number: int, seed: int = 0, aligned: int = 1, misaligned: int = 1) -> Corpus:
    """General questions of random words, with so many answers of each kind."""
    say = speaker(seed)
    made = [
        Question(f"q{i}", say(), [say() for _ in range(aligned)], [say() for _ in range(misaligned)])
        for i in range(number)
    ]
    return Corpus("health", {"health": Split([], [])}, Split([], []), made, [])


def speaker(seed: int):
    """Two to five random words at a time."""
    rng = torch.Generator().manual_seed(seed)

    def say() -> str:
        n = int(torch.randint(2, 6, (), generator=rng))
        return " ".join(map(str, torch.randint(3, VOCAB, (n,), generator=rng).tolist()))

    return say
