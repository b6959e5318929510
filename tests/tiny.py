"""A Llama of four small blocks with random weights, float64, in a Run's clothes: nothing is loaded, all is exact."""

from types import SimpleNamespace

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from real.data.packing import pack
from real.data.tokens import Encoded
from real.models import forward, registry
from real.models import loading as models
from real.run import Run

D_MODEL, VOCAB, FIRST, LAYER = 16, 40, 1, 2


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


def run(names: list[str], seed: int = 0) -> Run:
    """Random texts of these names, read from block FIRST on; W_dec of a random dictionary of 60 features."""
    this = Run.__new__(Run)
    this.spec, this.layer = SimpleNamespace(first=FIRST), LAYER
    this._loaded = model_and_tokenizer()
    rng = torch.Generator().manual_seed(seed)
    this.texts = dict.fromkeys(names, ("", ""))
    this.encoded = []
    for _ in names:
        start, said = (int(torch.randint(2, 6, (), generator=rng)) for _ in range(2))
        ids = [1, *torch.randint(3, VOCAB, (start - 1 + said,), generator=rng).tolist(), 2]
        this.encoded.append(Encoded(ids, start, start + said))
    this.samples = lambda names: [
        (this.encoded[i], below(this, this.encoded[i])) for i in this.indices(names)
    ]
    W_dec = torch.randn(60, D_MODEL, generator=rng, dtype=torch.float64)
    this.sae = lambda layer: SimpleNamespace(W_dec=W_dec, encode=lambda h: torch.relu(h @ W_dec.mT))
    this.bridges = [models.hooked(*this._loaded, registry.KNOWN["smollm2-135m"]) for _ in range(2)]
    return this


def below(run: Run, text: Encoded):
    return forward.resid_post(run.model, pack([text]), [FIRST - 1])[FIRST - 1]
