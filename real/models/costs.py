"""What a model weighs, from its sizes alone. Parameters are checked against Hugging Face's own models by the tests."""

from dataclasses import dataclass


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
    experts: int = 1

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
        experts=getattr(c, "num_local_experts", None) or 1,
    )


def held(shape: Shape, a: int, first: int, full: bool) -> int:
    """Bytes of the weights, `a` to each, and with `full` of what trains blocks `first` and up.

    That is a weight, a gradient and AdamW's two moments in float32. Adapters, and what a pass keeps, are not in it.
    """
    trained = shape.block * (shape.layers - first) if full else 0
    return a * shape.parameters + (16 - a) * trained
