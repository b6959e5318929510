"""What fits where: memory by formula, the plan that follows from it, and how training is shared among processes.

Bytes throughout. `a` is the bytes of a number: 2 in bfloat16 (GPUs), 4 in float32 (the CPU). What the formulas say is
checked in tests/test_real_devices.py: parameters against Hugging Face's own models, what a pass keeps for its backward
against what autograd saves.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from shared.errors import InputError

USABLE = 0.9  # of the free memory: allocators leave gaps
SPARE = 1e9  # what libraries take beside the tensors
SAE = 2**17  # features of the largest dictionary, one at a time, in float32
PAIRS = 14  # bytes kept per head and pair of tokens where attention is not fused: scores, their cap, softmax


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes, under the names of its config.json."""

    layers: int
    d_model: int
    d_mlp: int
    q: int  # heads x head size
    kv: int  # key-value heads x head size
    vocab: int
    tied: bool = True  # is the unembedding the embedding?
    norms: int = 2  # of width d_model to a block
    heads: int = 0  # where attention is not fused (soft-capped scores, sinks), which keeps all scores
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
        """Parameters of an adapter of rank one on every linear map of one block."""
        attention = 2 * (self.d_model + self.q) + 2 * (self.d_model + self.kv)
        return attention + 3 * (self.d_model + self.d_mlp) * self.experts

    def flops(self) -> float:
        """Of one token's forward pass through one block, without attention's own."""
        attention = 2 * self.d_model * (self.q + self.kv)
        return 2.0 * (attention + 3 * self.d_model * self.d_mlp * self.active)


_LLAMA = Shape(32, 4096, 14336, 4096, 1024, 128256, tied=False)
SHAPES = {  # the registry's models; -it and -instruct have the shape of their base
    "smollm2-135m": Shape(30, 576, 1536, 576, 192, 49152),
    "gemma-2-2b": Shape(26, 2304, 9216, 2048, 1024, 256000, norms=4, heads=8),
    "gemma-2-9b": Shape(42, 3584, 14336, 4096, 2048, 256000, norms=4, heads=16),
    "gemma-2-27b": Shape(46, 4608, 36864, 4096, 2048, 256000, norms=4, heads=32),
    "llama-3.1-8b": _LLAMA,
    "gpt-oss-20b": Shape(24, 2880, 2880, 4096, 512, 201088, tied=False, heads=64, experts=32, active=4),
    "gemma-3-270m": Shape(18, 640, 2048, 1024, 256, 262144, norms=4),
    "gemma-3-1b": Shape(26, 1152, 6912, 1024, 256, 262144, norms=4),
    "gemma-3-4b": Shape(34, 2560, 10240, 2048, 1024, 262208, norms=4),
    "qwen2.5-0.5b-instruct": Shape(24, 896, 4864, 896, 128, 151936),
    "qwen2.5-7b-instruct": Shape(28, 3584, 18944, 3584, 512, 152064, tied=False),
}


def shape_of(config) -> Shape:
    """The shape that a Hugging Face config describes."""
    c = config.get_text_config()
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    unfused = c.model_type in ("gemma2", "gpt_oss")
    return Shape(
        layers=c.num_hidden_layers,
        d_model=c.hidden_size,
        d_mlp=c.intermediate_size,
        q=c.num_attention_heads * head,
        kv=(c.num_key_value_heads or c.num_attention_heads) * head,
        vocab=c.vocab_size,
        tied=c.tie_word_embeddings,
        norms=4 if c.model_type.startswith(("gemma2", "gemma3")) else 2,
        heads=c.num_attention_heads if unfused else 0,
        experts=getattr(c, "num_local_experts", None) or 1,
        active=getattr(c, "num_experts_per_tok", None) or 1,
    )


class Work(NamedTuple):
    """What the fine-tunes of a run ask for."""

    batch: int  # samples per optimiser step
    rank: int
    full: bool  # every weight of the trained blocks, not an adapter
    first: int  # trained are the blocks `first` and up
    tokens: int  # of the longest sample


class Plan(NamedTuple):
    """Where and how a run computes."""

    device: str  # "cuda" or "cpu"
    processes: int  # that fine-tune together
    micro: int  # samples per pass and process
    checkpointing: bool  # keep each block's input only, and compute the block again in the backward pass
    training: float  # bytes at the peak, per process
    reading: float  # bytes at the peak of harvest and evaluation, all devices together
    budget: float  # bytes that a device has

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.device == "cuda" else torch.float32

    def __str__(self) -> str:
        number = "bfloat16" if self.device == "cuda" else "float32"
        where = "CPU" if self.device == "cpu" else f"{self.processes} GPU{'s' * (self.processes > 1)}"
        again = "gradient checkpointing" if self.checkpointing else "no gradient checkpointing"
        peak = f"{max(self.training, self.reading / self.processes) / 1e9:.1f} of {self.budget / 1e9:.1f} GB"
        return f"{where}, {number}, {self.micro} samples per pass, {again}: about {peak} at the peak"


def kept(shape: Shape, a: int, full: bool, rank: int) -> float:
    """Bytes that one block keeps per token for its backward pass, attention's scores apart."""
    norm = 8 if full else 4  # computed in float32
    mlp = shape.d_mlp * shape.active
    return shape.d_model * (2 * a + norm * shape.norms) + 4 * a * (mlp + shape.q) + 7 * a * rank * (not full)


def passing(shape: Shape, a: int, work: Work, micro: int, checkpointing: bool) -> float:
    """Bytes of one training pass over `micro` of the longest samples."""
    nodes, blocks = micro * work.tokens, shape.layers - work.first
    one = nodes * kept(shape, a, work.full, work.rank) + shape.heads * nodes**2 * PAIRS
    inside = one + blocks * nodes * a * shape.d_model if checkpointing else blocks * one
    logits = nodes * shape.vocab * (2 * a + 8)  # and their log-softmax, and both gradients; answers are shorter
    return inside + logits + nodes**2 * (1 + a)  # the mask, and what attention makes of it


def training(shape: Shape, a: int, work: Work, processes: int, micro: int, checkpointing: bool) -> float:  # noqa: PLR0913 a formula's terms
    """Bytes of a process at the peak of an arm: weights, what is trained with its AdamW state, and one pass.

    Of several processes each holds a share of the blocks and, one at a time, a whole one.
    """
    blocks = shape.layers - work.first
    if work.full:  # float32 weight, gradient and two moments; a copy in bfloat16 to compute with
        trained = 16 * shape.block * blocks
        copy = a * shape.block * blocks if a == 2 and processes == 1 else 0
        frozen = a * shape.block * work.first
        weights = (trained + frozen) / processes + copy + a * shape.outside
    else:
        adapter = 16 * shape.adapter * work.rank * blocks  # whole in every process
        weights = a * (shape.block * shape.layers / processes + shape.outside) + adapter
    gathered = 2 * a * shape.block * (processes > 1)  # the block at work and the one that is fetched meanwhile
    return weights + gathered + passing(shape, a, work, micro, checkpointing) + SPARE


def reading(shape: Shape, a: int, work: Work, processes: int = 1) -> float:
    """Bytes at the peak of harvest, filters and evaluation, on all devices together: the model, one dictionary, a pass."""
    dictionary = 2 * 4 * min(SAE, 64 * shape.d_model) * shape.d_model
    one = passing(shape, a, work._replace(batch=1, full=False, rank=0), 1, True)
    return a * shape.parameters + dictionary + one + SPARE * processes


def plan(shape: Shape, work: Work, device: str, processes: int, budget: float) -> Plan:
    """The largest pass that fits, at best without checkpointing. Raises InputError, with a setting that would do."""
    a, room = (2 if device == "cuda" else 4), USABLE * budget
    whole = reading(shape, a, work, processes)
    share = -(-work.batch // processes)
    sizes = sorted({-(-share // 2**n) for n in range(share.bit_length() + 1)}, reverse=True)
    for checkpointing in (False, True):
        for micro in sizes:
            peak = training(shape, a, work, processes, micro, checkpointing)
            if max(peak, whole / processes) <= room:
                return Plan(device, processes, micro, checkpointing, peak, whole, budget)
    need = max(training(shape, a, work, processes, 1, True), whole / processes) / USABLE
    where = "the CPU's free memory" if device == "cpu" else f"{processes} GPU{'s' * (processes > 1)}"
    raise InputError(
        f"this needs about {need / 1e9:.0f} GB and {where} has {budget / 1e9:.0f} GB"
        f"{' each' * (processes > 1)}; {remedy(shape, work, device, processes, budget)}"
    )


def remedy(shape: Shape, work: Work, device: str, processes: int, budget: float) -> str:
    """A setting that would fit the budget, by the same formulas."""
    for more in (2, 4, 8) if device == "cuda" else ():
        if more > processes and _fits(shape, work, device, more, budget):
            return f"GPUS={more} would fit"
    if work.full and _fits(shape, work._replace(full=False), device, processes, budget):
        return "FULL=0 would fit"
    if work.rank > 4 and _fits(shape, work._replace(rank=4), device, processes, budget):
        return "RANK=4 would fit"
    return "take a smaller MODEL"


def _fits(shape: Shape, work: Work, device: str, processes: int, budget: float) -> bool:
    a = 2 if device == "cuda" else 4
    peak = max(
        training(shape, a, work, processes, 1, True), reading(shape, a, work, processes) / processes
    )
    return peak <= USABLE * budget


def choose(shape: Shape, work: Work, gpus: int) -> Plan:
    """The plan for this machine as it is now. `gpus` 0: one GPU where there is one, else the CPU.

    Raises InputError when there are fewer GPUs than asked for, or nothing fits.
    """
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus > here:
        raise InputError(f"GPUS={gpus}, but this machine has {here}; GPUS={here} would use what there is")
    if not here:
        import psutil

        return plan(shape, work, "cpu", 1, psutil.virtual_memory().available)
    processes = max(1, gpus)
    free = min(torch.cuda.mem_get_info(device)[0] for device in range(processes))
    return plan(shape, work, "cuda", processes, free)


def team() -> tuple[int, int]:
    """(rank, size): this process and how many train together; (0, 1) alone."""
    dist = torch.distributed
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
