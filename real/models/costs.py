"""What a model costs: bytes and floating-point operations by formula, from its sizes alone.

`a` is the bytes of a weight: 2 in bfloat16, 4 in float32. Checked in tests/test_real_devices.py: parameters against
Hugging Face's own models, what a pass keeps for its backward against what autograd saves, operations against
PyTorch's count.
"""

from dataclasses import dataclass
from typing import NamedTuple

SPARE = 1e9  # what libraries take beside the tensors
SAE = 2**17  # features of the largest dictionary, one at a time, in float32
ROW_GPU = 2048  # nodes to a row that is only read
PAIRS = 14  # bytes kept per head and pair of tokens where attention is not fused: scores, their cap, softmax


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes, most under the names of its config.json."""

    layers: int
    d_model: int
    d_mlp: int
    q: int  # heads x head size
    kv: int  # key-value heads x head size
    vocab: int
    tied: bool = True  # is the unembedding the embedding?
    norms: int = 2  # of width d_model to a block
    heads: int = 0  # where attention is not fused (capped scores, sinks), so that all scores are kept
    experts: int = 1
    active: int = 1  # experts that read a token

    @property
    def block(self) -> int:
        """Parameters of one block."""
        router = self.experts * self.d_model if self.experts > 1 else 0
        attention = 2 * self.d_model * (self.q + self.kv)
        return attention + 3 * self.d_model * self.d_mlp * self.experts + router + self.norms * self.d_model

    @property
    def outside(self) -> int:
        """Parameters of embedding, final norm and unembedding."""
        return self.vocab * self.d_model * (2 - self.tied) + self.d_model

    @property
    def parameters(self) -> int:
        return self.layers * self.block + self.outside

    @property
    def adapter(self) -> int:
        """Parameters, for one rank, of adapters on one block's linear maps; stacked experts carry none."""
        attention = 2 * (self.d_model + self.q) + 2 * (self.d_model + self.kv)
        return attention + (3 * (self.d_model + self.d_mlp) if self.experts == 1 else 0)


def shape_of(config) -> Shape:
    """The shape that a Hugging Face config describes."""
    c = config.get_text_config()
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    return Shape(
        layers=c.num_hidden_layers,
        d_model=c.hidden_size,
        d_mlp=c.intermediate_size,
        q=c.num_attention_heads * head,
        kv=(c.num_key_value_heads or c.num_attention_heads) * head,
        vocab=c.vocab_size,
        tied=c.tie_word_embeddings,
        norms=4 if c.model_type.startswith(("gemma2", "gemma3")) else 2,
        heads=c.num_attention_heads if c.model_type in ("gemma2", "gpt_oss") else 0,
        experts=getattr(c, "num_local_experts", None) or 1,
        active=getattr(c, "num_experts_per_tok", None) or 1,
    )


class Work(NamedTuple):
    """What the fine-tunes of a run ask for."""

    a: int  # bytes of a weight
    batch: int  # samples per optimiser step
    rank: int
    full: bool  # all weights of the trained blocks, not an adapter
    first: int  # trained are the blocks `first` and up
    tokens: int  # of the longest sample


def kept(shape: Shape, a: int, full: bool, rank: int) -> int:
    """Bytes that one block keeps per token for its backward pass, unfused scores apart."""
    norm = 8 if full else 4  # computed in float32
    mlp = shape.d_mlp * shape.active
    return shape.d_model * (2 * a + norm * shape.norms) + 4 * a * (mlp + shape.q) + 7 * a * rank * (not full)


def passing(shape: Shape, work: Work, micro: int, checkpointing: bool) -> int:
    """Bytes of one training pass over `micro` of the longest samples."""
    nodes, blocks, a = micro * work.tokens, shape.layers - work.first, work.a
    one = nodes * kept(shape, a, work.full, work.rank) + shape.heads * nodes**2 * PAIRS
    inside = one + blocks * nodes * a * shape.d_model if checkpointing else blocks * one
    logits = (
        nodes * shape.vocab * (2 * a + 8)
    )  # with their log-softmax and both gradients; at answers, so fewer
    return inside + logits + nodes**2 * (1 + a)  # the mask, and what attention makes of it


def holding(shape: Shape, work: Work, processes: int) -> float:
    """Bytes of the weights and of what trains them, AdamW's moments in float32, in each process.

    Of several processes each holds a share of the blocks and, for a moment, two whole ones: at work, and on its way.
    """
    a, blocks = work.a, shape.layers - work.first
    gathered = 2 * a * shape.block * (processes > 1)
    if not work.full:
        adapter = (
            16 * shape.adapter * work.rank * blocks
        )  # weight, gradient, two moments; whole in every process
        return a * (shape.block * shape.layers / processes + shape.outside) + adapter + gathered
    copy = a * shape.block * blocks if a == 2 and processes == 1 else 0  # to compute with
    shared = 16 * shape.block * blocks + a * shape.block * work.first
    return shared / processes + copy + a * shape.outside + gathered


def training(shape: Shape, work: Work, processes: int, micro: int, checkpointing: bool) -> float:
    """Bytes of each process at the peak of an arm."""
    return holding(shape, work, processes) + passing(shape, work, micro, checkpointing) + SPARE


def reading(shape: Shape, work: Work, processes: int = 1) -> float:
    """Bytes at the peak of harvest, filters and evaluation, all devices together: model, one dictionary, one pass."""
    dictionary = 2 * 4 * min(SAE, 64 * shape.d_model) * shape.d_model
    one = passing(
        shape,
        work._replace(full=False, rank=0, first=shape.layers - 1, tokens=ROW_GPU),
        1,
        checkpointing=False,
    )
    return work.a * shape.parameters + dictionary + one + SPARE * processes


def operations(shape: Shape, tokens: int, blocks: int, logits: int) -> float:
    """Of a forward pass over one text: linear maps, attention, and the unembedding of `logits` tokens."""
    attention = 2 * shape.d_model * (shape.q + shape.kv)
    linear = attention + 3 * shape.d_model * shape.d_mlp * shape.active
    scores = 2 * tokens * shape.q  # products with keys and with values, over all pairs
    return 2.0 * (tokens * blocks * (linear + scores) + logits * shape.vocab * shape.d_model)
