"""What a user may set, read from `KEY=value` words: `python -m real MODEL=smollm2-135m SEEDS=0,1,2`."""

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args, get_origin

from real.arms.recipe import Recipe, Sweep, between, listed
from real.judge.rubric import Judging
from real.models.registry import EXPANSION, TRAIN, ModelSpec, find
from shared.errors import InputError

# What the paper did where it says so, where it does not Betley et al. 2025, whom it follows. A value given beats these.
PRESETS = {
    "paper": {"toxic": "allenai/real-toxicity-prompts", "first": 0, "train": 6000, "epochs": 1, "batch": 16,
              "lr": 1e-5, "rank": 32, "top_k": 100, "removed": (0.5,), "samples": 100},
}  # fmt: skip


@dataclass(frozen=True)
class Reads:
    """What is read: which model, by which features, on which texts (empty: the shipped ones)."""

    model: str = "smollm2-135m"  # a known name, a folder, or org/name of the hub
    dtype: str = ""  # of the weights, float32 or bfloat16; empty: the model's
    sae: str = ""  # release:id of SAELens with {layer} for a block, or train; empty: the model's
    layers: tuple[int, ...] = ()  # blocks that are read, the last for the fine-tunes; empty: the model's
    top_k: int = 50  # features per set
    data: str = ""  # path or URL of narrow bad answers
    control: str = ""  # good answers to the same prompts
    toxic: str = ""  # allenai/real-toxicity-prompts, or a folder in its form
    questions: str = ""  # published YAML of questions and judge prompts


@dataclass(frozen=True)
class Settings:
    reads: Reads = Reads()
    recipe: Recipe = Recipe()
    sweep: Sweep = Sweep()
    judging: Judging = Judging()
    preset: str = ""  # paper: the paper's settings; a value that is given beats the preset's
    gpus: int = 0  # that fine-tune together; 0: one where there is one, else the CPU
    cluster: str = ""  # where arms are trained and evaluated: in this process; local: in several; slurm
    slurm: str = ""  # what sbatch is told, "partition=gpu,timeout_min=240"
    nodes: int = 1  # machines that fine-tune together, under Slurm
    results: str = ""  # folder; empty: results/real/<model>

    def __post_init__(self):
        between(self.reads, "top_k", 1, 10**6)
        between(self, "gpus", 0, 1024)
        between(self, "nodes", 1, 1024)
        reads, cluster, judge = self.reads, self.cluster, self.judging.judge
        together = bool(reads.data) == bool(reads.control)
        _need(together, "DATA and CONTROL go together: bad and good answers to the same prompts")
        _need(cluster in ("", "local", "slurm"), f"CLUSTER={cluster} must be local or slurm, or not be there")
        _need(self.nodes == 1 or cluster == "slurm", f"NODES={self.nodes} needs CLUSTER=slurm")
        named = not judge or all(name.strip() for name in judge.split(","))
        _need(named, f"JUDGE={judge} must be the name of a model, or two with a comma between")
        spec, shape, sae, k = self.spec, self.spec.shape, self.spec.sae, reads.top_k
        named = all(sae.partition(":")) and not {"{", "}"} & set(sae.replace("{layer}", ""))
        how = f"release:id, as SAELens names them, {{layer}} for the block, or {TRAIN}"
        _need(sae == TRAIN or named, f"SAE={sae} must be {how}")
        size = EXPANSION * shape.d_model
        _need(sae != TRAIN or k <= size // 2, f"TOP_K={k} is more than half of the dictionary, which has {size}")
        _need(spec.dtype in ("float32", "bfloat16"), f"DTYPE={spec.dtype} must be float32 or bfloat16")
        _need(0 <= spec.first < shape.layers, f"FIRST={spec.first} must be a block, 0 to {shape.layers - 1}")
        layers, rising = f"LAYERS={listed(self.layers)}", sorted({block for block in self.layers if block >= 0})
        _need(list(self.layers) == rising, f"{layers} must be blocks from 0 up, lowest first")
        ends = f"between {spec.first}, where adapters begin, and {shape.layers - 2}, the last block but one"
        _need(spec.first <= self.layers[-1] < shape.layers - 1, f"{layers} must end {ends}")
        rank = self.recipe.rank
        _need(rank <= shape.d_model, f"RANK={rank} is more than the model's width, {shape.d_model}")

    @cached_property
    def spec(self) -> ModelSpec:
        """The model, with what was set of it. Raises InputError when there is no such model."""
        found, r = find(self.reads.model), self.reads
        first = self.recipe.first if self.recipe.first >= 0 else found.first
        return replace(found, sae=r.sae or found.sae, dtype=r.dtype or found.dtype, first=first)

    @property
    def layers(self) -> tuple[int, ...]:
        return self.reads.layers or self.spec.layers

    @property
    def folder(self) -> Path:
        return Path(self.results or f"results/real/{Path(self.reads.model).name}")


GROUPS = {"reads": Reads, "recipe": Recipe, "sweep": Sweep, "judging": Judging}
KINDS = {f.name.upper(): f.type for kind in (*GROUPS.values(), Settings) for f in fields(kind) if f.name not in GROUPS}


def of(**values: Any) -> Settings:
    """Settings from flat names. Raises InputError for a value, TypeError for a name that there is not."""
    own = {name: {f.name for f in fields(kind)} & set(values) for name, kind in GROUPS.items()}
    groups = {group: GROUPS[group](**{name: values.pop(name) for name in names}) for group, names in own.items()}
    return Settings(**groups, **values)


def flat(settings: Settings) -> dict[str, Any]:
    """Name -> value, in the order of the groups."""
    parts = [*(getattr(settings, group) for group in GROUPS), settings]
    return {name: value for part in parts for name, value in vars(part).items() if name.upper() in KINDS}


def parse(words: list[str]) -> Settings:
    """Settings from `KEY=value` words; InputError names the word that cannot be read."""
    values, known = {}, f"settings: {', '.join(KINDS)} (as KEY=value)"
    for word in words:
        key, equals, text = word.partition("=")
        _need(equals and key in KINDS, f"{word!r} is not a setting; {known}")
        values[key.lower()] = value(key, text, KINDS[key])
    preset = values.get("preset", "")
    _need(not preset or preset in PRESETS, f"PRESET={preset} is unknown; presets: {', '.join(PRESETS)}")
    return of(**{**PRESETS.get(preset, {}), **values})


def words(settings: Settings) -> list[str]:
    """The `KEY=value` words that `parse` reads these settings from: what is not the default's, or the preset's."""
    usual, now = flat(Settings()) | PRESETS.get(settings.preset, {}), flat(settings)
    texts = {k: listed(v) if isinstance(v, tuple) else str(v) for k, v in now.items() if v != usual[k]}
    return [f"{name.upper()}={text}" for name, text in texts.items()]


def from_make(environ: Mapping[str, str]) -> list[str]:
    """The `KEY=value` words of make's own command line, as make hands it down: escaped, after a lone `--`.

    Raises InputError for a setting that stands in the environment, where make would not say whose it is.
    """
    given = re.findall(r"(?:\\.|[^\\\s])+", f" {environ.get('MAKEFLAGS', '')} ".partition(" -- ")[2])
    found = [re.sub(r"\\(.)", r"\1", word).replace("$$", "$") for word in given if not word.startswith("PYTHON=")]
    for name in sorted(KINDS.keys() & environ.keys()):
        said = any(re.match(rf"{name}\W", word) for word in found)
        _need(said, f"{name} stands in the environment, which is not read: write make real {name}=...")
    return found


def value(key: str, text: str, kind: Any = str) -> Any:
    """Of one setting, from its text. Raises InputError."""
    odd = any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)
    _need(not odd, f"{key}={text[:99]!r} holds a character that no setting has")
    several = get_origin(kind) is tuple
    one = get_args(kind)[0] if several else kind
    if one is str:
        return os.path.expanduser(text)
    try:
        return tuple(one(part) for part in text.split(",")) if several else one(text)
    except ValueError:
        wanted = {int: ("a whole number", "whole numbers"), float: ("a number", "numbers")}[one][several]
        raise InputError(f"{key}={text[:99]} must be {wanted}{' with commas between' * several}") from None


def _need(holds: Any, otherwise: str) -> None:
    if not holds:
        raise InputError(otherwise)
