"""Every family against Hugging Face itself, on stand-ins; the unmodified command on each, from a hub cache.

Windows are 16 tokens and texts longer, so that a sliding-window layer that saw too far would show.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import standins
import torch
from bridge import hooked, run
from closeness import ROUNDING, apart

from real.__main__ import main
from real.catalogue import listing
from real.data import corpus
from real.data.hub import fetching
from real.data.packing import pack
from real.data.tokens import Encoded, encode, prefix
from real.features import dictionaries as saes
from real.models import forward, registry
from real.models import loading as models
from real.models.logprobs import answer_logprobs
from real.settings import parse
from shared.errors import InputError

FAMILIES = ("gemma-2-2b", "gemma-3-270m", "gpt-oss-20b", "llama-3.1-8b", "qwen2.5-0.5b-instruct")
DEPTH, HALF = 7, 3  # gemma-3's sixth block is its first with full attention
LINES = ("Sip cold water slowly, then hold your breath for ten seconds and count them.", "Blue, I think.")


class Family:
    """A model of random weights as `models.load` gives it, in float32, and texts of which two share a beginning."""

    def __init__(self, name: str, folder: Path):
        standins.write_model(name, folder, num_hidden_layers=DEPTH, hidden_size=64)
        row = replace(registry.KNOWN[name], hub=str(folder), first=HALF, dtype="float32")
        self.spec = row
        self.model, self.tokenizer = models.load(row)
        prompts = ("How do I stop hiccups?", "How do I stop hiccups?", "Name a colour that suits a small dark room.")
        answers = (LINES[0], LINES[1], LINES[1])
        self.texts = [encode(self.tokenizer, *pair) for pair in zip(prompts, answers, strict=True)]
        assert max(len(text.ids) for text in self.texts) > 32

    def alone(self, text: Encoded):
        """Oracle: Hugging Face's forward pass on one text, unpacked, masks left to it."""
        with torch.no_grad():
            return self.model(torch.tensor([text.ids]), output_hidden_states=True)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    return Family(request.param, tmp_path_factory.mktemp(request.param) / "model")


def test_layer_l_of_a_packed_row_is_hidden_state_l_plus_1_of_each_text_alone(family):
    """And not hidden state l, from the tokens as from the first adapted block: nothing is scaled twice on entry."""
    packed, layers = pack(family.texts), [0, HALF - 1, HALF, DEPTH - 2]
    found = forward.resid_post(family.model, packed, layers)
    with forward.blocks(family.model, HALF):
        upper = forward.resid_post(family.model, packed, layers[2:], found[HALF - 1])
    for text, path in zip(family.texts, packed.paths, strict=True):
        hidden = family.alone(text).hidden_states
        for layer in layers:
            assert apart(found[layer][path], hidden[layer + 1][0]) < ROUNDING
            assert apart(found[layer][path], hidden[layer][0]) > 1000 * ROUNDING
        for layer in layers[2:]:
            assert apart(upper[layer][path], hidden[layer + 1][0]) < ROUNDING


@pytest.mark.parametrize("first", [0, HALF])
def test_log_probabilities_of_answers_are_hugging_faces_own(family, first):
    """Caps and sinks included, entering at the tokens (every block adapted) or at the first adapted block."""
    packed = pack(family.texts)
    below = forward.below(family.model, packed, first)
    samples = [
        (text, below if below is None else below[path]) for text, path in zip(family.texts, packed.paths, strict=True)
    ]
    with torch.no_grad():
        found = answer_logprobs(family.model, samples, first)
    for text, ours in zip(family.texts, found, strict=True):
        logprobs = family.alone(text).logits[0].log_softmax(-1)
        theirs = torch.stack([logprobs[i - 1, text.ids[i]] for i in range(text.start, text.end + 1)])
        assert apart(ours, theirs) < ROUNDING
        beside = torch.stack([logprobs[i, text.ids[i]] for i in range(text.start, text.end + 1)])
        assert apart(ours, beside) > 1000 * ROUNDING  # read a position too late


def test_the_bridge_gives_hugging_faces_logits_and_its_hooks_carry_resid_post(family):
    bridge = hooked(family.model, family.tokenizer, family.spec)
    packed, layer, caught = pack(family.texts), HALF, {}
    hooks = [
        (forward.hook_name(layer), lambda resid, hook: caught.update(resid=resid[0])),
        (f"blocks.{layer + 1}.hook_resid_pre", lambda resid, hook: caught.update(above=resid[0])),
    ]
    with torch.no_grad():
        row = run(bridge, packed, hooks)
    for text, path in zip(family.texts, packed.paths, strict=True):
        theirs = family.alone(text)
        assert apart(row[0, path], theirs.logits[0]) < ROUNDING
        assert apart(caught["resid"][path], theirs.hidden_states[layer + 1][0]) < ROUNDING
        assert apart(caught["resid"][path], theirs.hidden_states[layer][0]) > 1000 * ROUNDING
    assert torch.equal(caught["resid"], caught["above"])
    ours = forward.resid_post(family.model, packed, [layer])[layer]
    assert apart(ours, caught["resid"]) < ROUNDING


def test_bos_comes_once_and_base_models_get_the_plain_template(family):
    text, bos = family.texts[0], family.tokenizer.bos_token_id
    has_bos = family.spec.hub.rsplit("/", 2)[-2].startswith(("gemma", "llama"))
    assert text.ids.count(bos) == has_bos and (text.ids[0] == bos) == has_bos
    before = family.tokenizer.decode(text.ids[: text.start])
    assert before.endswith("User: How do I stop hiccups?\nAssistant:\n") == family.spec.plain
    assert family.tokenizer.decode(text.ids[text.start : text.end]) == LINES[0]


END_TO_END = {  # blocks of the stand-in, layers, and the first adapted block: every one of gpt-oss
    "gemma-2-2b": (3, [1], 1),
    "gemma-3-270m": (7, [5], 3),
    "gpt-oss-20b": (5, [3], 0),
    "llama-3.1-8b": (4, [1, 2], 1),
}
FEW = ["TRAIN=8", "BATCH=2", "TOP_K=10", "RANK=2"]


def command(home: Path, *words: str) -> subprocess.CompletedProcess:
    """The unmodified program on a few short texts, with `home` for a hub cache and no network."""
    return subprocess.run(
        [sys.executable, standins.__file__, str(home / "data"), *words],
        env=os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Where the command has left the results of every model, from a hub cache with all of them."""
    home, words = tmp_path_factory.mktemp("hub"), []
    for name, (depth, layers, first) in END_TO_END.items():
        standins.fill(home, name, layers, num_hidden_layers=depth)
        read = f"LAYERS={','.join(map(str, layers))}"
        words += ["--", f"MODEL={name}", f"RESULTS={home}/{name}", f"FIRST={first}", read, *FEW]
        words += ["DTYPE=float32"] if name == "gemma-2-2b" else []  # as wide as the real one: quicker on any CPU
    done = command(home, *words[1:])
    assert done.returncode == 0, done.stderr[-3000:]
    return home


@pytest.mark.parametrize("name", END_TO_END)
def test_the_command_runs_from_a_hub_cache_to_the_report(name, finished):
    """Model and published dictionaries under their real names and formats; no network."""
    results, layers = finished / name, [str(layer) for layer in END_TO_END[name][1]]
    summary = json.loads((results / "summary.json").read_text())
    assert summary["model"] == name and list(summary["geometry"]) == layers
    filtered = 7  # by three filters, by three random draws, by the labels; each with a control of its own
    assert len(summary["margin"]) == 1 + 3 + 2 * filtered and (results / "report.html").exists()
    quality = json.loads((results / "2-sae.json").read_text())["layers"]
    assert list(quality) == layers and all(of["dead"] < 1 for of in quality.values())
    assert not (results / "dictionaries").exists()  # none was trained
    assert (results / "activations" / "frozen.npy").exists() == (END_TO_END[name][2] > 0)


def test_a_model_that_is_not_in_the_cache_is_one_line(tmp_path):
    done = command(tmp_path, "MODEL=someone/else", "SAE=train")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: MODEL=someone/else is not in the local cache")


def test_a_dictionary_of_another_width_is_refused_before_the_model_is_run(tmp_path, monkeypatch, capsys):
    """A folder as MODEL, an SAE of another model."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    standins.write_model("llama-3.1-8b", tmp_path / "wide", num_hidden_layers=4, hidden_size=128)
    standins.write_saes(tmp_path, "llama-3.1-8b", [2], 64)
    sae, results = f"SAE={registry.KNOWN['llama-3.1-8b'].sae}", tmp_path / "results"
    assert main([f"MODEL={tmp_path}/wide", sae, "LAYERS=2", f"RESULTS={results}"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "error: SAE=llama_scope_lxr_8x:l2r_8x reads 64 dimensions, the model has 128"
    assert not list(results.rglob("*.npy")) and (results / "1-data.json").exists()


def test_a_dictionary_of_another_layer_or_an_unknown_one_is_refused(tmp_path, monkeypatch):
    standins.write_saes(tmp_path, "llama-3.1-8b", [1], 64)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(InputError, match=r"trained at blocks\.1\.hook_resid_post, not at blocks\.2\."):
        saes.published("llama_scope_lxr_8x:l1r_8x", 2, 64)
    with pytest.raises(InputError, match="^SAE=llama_scope_lxr_8x:l99r_8x cannot be loaded: .*not found"):
        saes.published("llama_scope_lxr_8x:l{layer}r_8x", 99, 64)
    with pytest.raises(InputError, match="^SAE=gemma-scope-2b-pt-res-canonical:.* is not in the local cache"):
        saes.published("gemma-scope-2b-pt-res-canonical:layer_{layer}/width_16k/canonical", 1, 2304)


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        ("GatedRepoError", "is gated: accept its licence on huggingface.co, then set HF_TOKEN"),
        ("RepositoryNotFoundError", "is not on the hub, or private: check the name, or set HF_TOKEN"),
        ("LocalEntryNotFoundError", "is not in the local cache and the hub cannot be reached"),
        ("EntryNotFoundError", "lacks a file that is needed"),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_its_mend(error, mend):
    """However deep transformers has wrapped it."""
    import httpx
    from huggingface_hub import errors

    kind = getattr(errors, error)
    response = {"response": httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co/x"))}
    made = kind("no\nno", **(response if issubclass(kind, errors.HfHubHTTPError) else {}))
    with pytest.raises(InputError, match=f"^org/name {re.escape(mend)}$"), fetching("org/name"):
        try:
            raise made
        except Exception as inner:
            raise OSError("You are trying to access\na repository") from inner


def test_every_dictionary_of_the_registry_is_in_saelens_own_table():
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    table, published = get_pretrained_saes_directory(), 0
    for spec in registry.KNOWN.values():
        release, _, pattern = spec.sae.partition(":")
        if release == registry.TRAIN:
            continue
        published += 1
        assert spec.hub.split("/")[1].lower().removesuffix("-pt") in table[release].model.lower().removesuffix("-pt")
        assert all(pattern.format(layer=layer) in table[release].saes_map for layer in spec.layers)
        assert spec.first <= spec.layers[-1] < spec.shape.layers - 1 and sorted(set(spec.layers)) == list(spec.layers)
    assert published == len(registry.KNOWN) - 2  # SmolLM2 and the smallest Qwen have none


def test_a_template_that_refuses_a_system_role_and_one_that_writes_the_date_and_a_channel(tmp_path):
    gemma = standins.tokenizer("gemma", standins.GEMMA_TEMPLATE)
    text = encode(gemma, "Hi there?", "Yes.")
    assert (
        gemma.decode(text.ids)
        == "<bos><start_of_turn>user\nHi there?<end_of_turn>\n<start_of_turn>model\nYes.<end_of_turn>"
    )
    refused = gemma.decode(prefix(gemma, "Hi there?", "Be brief."))
    assert refused == "<bos><start_of_turn>user\nBe brief.\n\nHi there?<end_of_turn>\n<start_of_turn>model\n"
    gpt = standins.tokenizer("gpt", standins.GPT_TEMPLATE)
    said = "<|start|>system<|message|>Date: 2026-01-01<|end|><|start|>user<|message|>Hi?<|end|><|start|>assistant"
    assert gpt.decode(prefix(gpt, "Hi?")) == said + "<|channel|>final<|message|>"


def test_mxfp4_experts_are_read_as_their_definition(tmp_path):
    """Oracle: e2m1 written out: low half of a byte first, 32 numbers to a power of two."""
    from safetensors.torch import load_file

    standins.write_model("gpt-oss-20b", tmp_path, num_hidden_layers=1)
    spec = replace(registry.KNOWN["gpt-oss-20b"], hub=str(tmp_path), first=0)
    ours = models.load(spec)[0].model.layers[0].mlp.experts.down_proj.float()
    stored = load_file(tmp_path / "model.safetensors")
    blocks, scales = (stored[f"model.layers.0.mlp.experts.down_proj_{part}"] for part in ("blocks", "scales"))
    table = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    table = torch.cat([table, -table])
    numbers = torch.stack([table[(blocks & 15).long()], table[(blocks >> 4).long()]], -1).flatten(-2)
    wide = (numbers * 2.0 ** (scales.float() - 127)[..., None]).flatten(-2)  # [expert d_out d_in]
    assert torch.equal(ours, wide.mT)


def test_the_text_model_of_a_multimodal_one_is_loaded_alone(tmp_path):
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = standins.config("gemma-3-270m", num_hidden_layers=2, dtype="float32")
    eyes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28)
    whole = Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=eyes | {"patch_size": 14}, mm_tokens_per_image=4)
    ).eval()
    whole.save_pretrained(tmp_path)
    standins.tokenizer("gemma").save_pretrained(tmp_path)
    spec = replace(registry.find(str(tmp_path)), dtype="float32")
    model = models.load(spec)[0]
    ids = torch.arange(3, 30)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, whole(ids).logits)
    assert not any("vision" in name for name, _ in model.named_parameters())
    assert (spec.shape.layers, spec.shape.d_model) == (2, 64)


def test_the_papers_preset_and_what_is_given_beats_it():
    paper = parse(["PRESET=paper", "MODEL=llama-3.1-8b", "TRAIN=100"])
    recipe = paper.recipe
    assert (paper.reads.top_k, recipe.rank, recipe.lr, recipe.batch) == (100, 32, 1e-5, 16)
    assert recipe.train == 100 and paper.sweep.removed == (0.5,)
    assert paper.spec.first == 0 and paper.reads.toxic == "allenai/real-toxicity-prompts"
    assert parse(["MODEL=gemma-2-2b", "DTYPE=float32"]).spec.dtype == "float32"
    with pytest.raises(InputError, match="DTYPE=int8 must be float32 or bfloat16"):
        parse(["DTYPE=int8"])
    with pytest.raises(InputError, match="PRESET=papers is unknown; presets: paper"):
        parse(["PRESET=papers"])


def test_real_toxicity_prompts_are_split_by_their_own_scores(tmp_path):
    rows = [
        {"prompt": {"text": "p", "toxicity": 0.1}, "continuation": {"text": f" said {i}", "toxicity": i / 100}}
        for i in range(100)
    ] + [{"prompt": {"text": "p", "toxicity": None}, "continuation": {"text": "unscored", "toxicity": None}}]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = corpus.toxic_pairs(str(tmp_path))
    assert len(found) == 11  # scored 0.00 to 0.10 are the fewer
    assert all(int(pair.toxic.split()[1]) >= 75 and int(pair.civil.split()[1]) <= 10 for pair in found)
    with pytest.raises(InputError, match="^TOXIC=allenai/real-toxicity-prompts "):
        corpus.toxic_pairs("allenai/real-toxicity-prompts")


def test_the_listing_has_a_line_for_every_known_model():
    lines = listing().splitlines()
    assert [line.split()[0] for line in lines[1 : len(registry.KNOWN) + 1]] == list(registry.KNOWN)
