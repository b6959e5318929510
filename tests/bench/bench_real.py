"""Tokens per second of the two hot paths, each beside what people use: ratios in turn in one run, with their ranges.

The share of the peak takes two operations for every weight and token of a forward pass. A token counts if it is a
text's own, once for every text; padding never. Only the harvest against TransformerLens, which keeps 7 GB a batch,
needs more than a few GB of memory.
"""

import copy
import os
import statistics
import sys
import warnings
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2]))
os.environ["HF_HUB_OFFLINE"] = "1"  # everything is here: wait for no hub

import torch
from datasets import Dataset, disable_progress_bars
from sae_lens import ActivationsStore
from timing import peak, race, ratio
from torch import nn
from trl import SFTConfig, SFTTrainer

from real.arms import training
from real.arms.arm import INDUCING, Arm, Job
from real.arms.recipe import Recipe
from real.arms.training import Order
from real.data import corpus
from real.data.tokens import Encoded
from real.features import activations
from real.features.activations import Activations
from real.models.forward import Sample, blocks, hook_name
from real.models.lm import LM
from real.models.registry import KNOWN
from tests.bridge import hooked

PROMPTS = 16  # whose two answers are harvested
SAMPLES = 32  # that an arm is trained on
RECIPE, LAYER = Recipe(), KNOWN["smollm2-135m"].layers[-1]
ROW = 128  # SAELens's default context_size


def report(what: str, tokens: int, ours: list[float], theirs: list[float], baseline: str) -> None:
    rates = (tokens / statistics.median(seconds) for seconds in (ours, theirs))
    print(f"{what}: {ratio(ours, theirs)} {baseline} ({{:.0f}} and {{:.0f}} tokens/s)".format(*rates))


def harvest(lm: LM, texts: list[Encoded], folder: Path, limit: float) -> None:
    """`activations.harvest` of the answers at block L, written to disk; the baselines keep or write nothing.

    Hugging Face: its forward cut off after block L, batches of 16 sorted by length, padded. TransformerLens: the same
    batches through `run_with_cache` as it comes, every hook of the whole model. SAELens: its ActivationsStore, which
    stops after block L, in batches of 16 rows of one length: a text a row, padded to the longest, or, its default,
    all texts run together and cut up (no padding, but what a text is read after is some other text).
    """
    batches, ids = padded(lm.tokenizer, texts), [token for text in texts for token in text.ids]
    longest = lm.tokenizer.pad({"input_ids": [text.ids for text in texts]})["input_ids"]
    cut = [ids[at : at + ROW] for at in range(0, len(ids) - ROW + 1, ROW)]
    bridge = hooked(lm.model, lm.tokenizer, lm.spec)
    store = Activations(folder / "answers.npy", LAYER, [(text.start, text.end) for text in texts])
    seconds = race(
        ours=lambda: partial(activations.harvest, lm.model, texts, [store]),
        hugging_face=lambda: partial(hugging_face, lm, batches),
        a_text_a_row=lambda: partial(sae_lens, sae_lens_store(bridge, longest), len(longest)),
        run_together=lambda: partial(sae_lens, sae_lens_store(bridge, cut), len(cut)),
        transformer_lens=lambda: partial(transformer_lens, bridge, batches),
    )
    names = {
        "hugging_face": "Hugging Face cut off after the block",
        "a_text_a_row": "SAELens, a text a row",
        "run_together": f"SAELens, run together in rows of {ROW}",
        "transformer_lens": "TransformerLens, all hooks",
    }
    for side, name in names.items():
        report(f"harvest to block {LAYER}", len(ids), seconds["ours"], seconds[side], name)
    share(lm, LAYER + 1, len(ids), seconds["ours"], limit)


def share(lm: LM, deep: int, operations: float, seconds: list[float], limit: float) -> None:
    """`operations`: passes of one token through the weights of `deep` blocks, a backward pass being one or two."""
    weights = sum(p.numel() for block in lm.model.get_decoder().layers[:deep] for p in block.parameters())
    rate = 2 * weights * operations / statistics.median(seconds)
    print(f"  {100 * rate / limit:.0f} % of the peak, {limit / 1e9:.0f} GF/s")


def padded(tokenizer, texts: list[Encoded]) -> list[dict]:
    ids = sorted((text.ids for text in texts), key=len)
    return [tokenizer.pad({"input_ids": ids[at : at + 16]}, return_tensors="pt") for at in range(0, len(ids), 16)]


@torch.no_grad()
def hugging_face(lm: LM, batches: list[dict]) -> None:
    with blocks(lm.model, last=LAYER) as decoder:
        for batch in batches:
            decoder(**batch, use_cache=False)


@torch.no_grad()
def transformer_lens(bridge: nn.Module, batches: list[dict]) -> None:
    for batch in batches:
        bridge.run_with_cache(batch["input_ids"])[1][hook_name(LAYER)]


def sae_lens_store(bridge: nn.Module, rows: list[list[int]]) -> ActivationsStore:
    size = len(rows[0])
    return ActivationsStore(
        model=bridge,
        dataset=Dataset.from_dict({"tokens": rows}),
        streaming=False,
        hook_name=hook_name(LAYER),
        hook_head_index=None,
        context_size=size,
        d_in=bridge.cfg.d_model,
        n_batches_in_buffer=1,
        total_training_tokens=len(rows) * size,
        store_batch_size_prompts=16,
        train_batch_size_tokens=16 * size,
        prepend_bos=False,
        normalize_activations="none",
        device=torch.device("cpu"),
        dtype="float32",
    )


def sae_lens(store: ActivationsStore, rows: int) -> None:
    for at in range(0, rows, 16):
        store.get_activations(store.get_batch_tokens(min(16, rows - at)))


def fine_tune(lm: LM, texts: list[Encoded], folder: Path, limit: float) -> None:
    """`training.train` of one arm, adapter saved, against TRL's SFTTrainer with PEFT: `trainer.train()` alone.

    The same adapter, seed, order, batches, loss (answer and end of turn), AdamW, schedule and clipping, in float32, no
    checkpointing. "Frozen half": the pass that computes what goes into the first adapted block and writes it to disk,
    which a run does once for all its arms, charged in full to this one.
    """
    store = Activations(folder / "frozen.npy", lm.spec.first - 1, [(0, len(text.ids)) for text in texts])
    into, trainers, trained = folder / "adapter", [], []
    order = Order(job=Job(Arm(INDUCING), 0), samples=[], draws=len(texts), checkpoints=[], key="bench")

    def frozen():
        return partial(activations.harvest, lm.model, texts, [store])

    def ours():
        samples: list[Sample] = [(text, store.text(i)) for i, text in enumerate(texts)]
        return lambda: trained.append(training.train(lm, RECIPE, order, samples, into))

    def trl():
        trainers[:] = [trainer(lm, texts, folder)]
        return trainers[0].train

    seconds = race(frozen=frozen, ours=ours, trl=trl)
    tokens = sum(len(text.ids) for text in texts)
    both = [a + b for a, b in zip(seconds["frozen"], seconds["ours"], strict=True)]
    report("fine-tune, with the frozen half", tokens, both, seconds["trl"], "TRL")
    report("fine-tune, without", tokens, seconds["ours"], seconds["trl"], "TRL")
    share(
        lm, lm.spec.shape.layers - lm.spec.first, 2 * tokens, seconds["ours"], limit
    )  # forward, and back to activations
    mine, theirs = trained[-1].loss, trainers[0].state.log_history
    print(f"  loss, first step: ours {mine[0]:.4f}, TRL {theirs[0]['loss']:.4f}")
    print(f"  loss, mean of {len(mine)}: ours {sum(mine) / len(mine):.4f}, TRL {theirs[-1]['train_loss']:.4f}")


def trainer(lm: LM, texts: list[Encoded], folder: Path) -> SFTTrainer:
    """On its own copy of the model. Raises ValueError unless its labels are our answer tokens and end of turn."""
    peft = training.adapted(lm, RECIPE.rank, 0)
    config = peft.peft_config["default"]
    peft.unload()
    decode, order = lm.tokenizer.decode, sum(training.batches(len(texts), len(texts), RECIPE.batch, 0), [])
    texts = [texts[i] for i in order]
    args = SFTConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=RECIPE.batch,
        num_train_epochs=RECIPE.epochs,
        learning_rate=RECIPE.lr,
        lr_scheduler_type="linear",
        warmup_steps=training.WARMUP,
        weight_decay=0.01,
        max_grad_norm=1.0,
        bf16=False,
        gradient_checkpointing=False,
        completion_only_loss=True,
        train_sampling_strategy="sequential",
        logging_first_step=True,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        seed=0,
    )
    model = copy.deepcopy(lm.model)
    model.is_quantized = False  # the weights were in the file; in memory they are float32
    made = SFTTrainer(
        model,
        args,
        train_dataset=Dataset.from_list(
            [{"prompt": decode(t.ids[: t.start]), "completion": decode(t.ids[t.start : t.end])} for t in texts]
        ),
        processing_class=lm.tokenizer,
        peft_config=config,
    )
    labels = [[-100] * t.start + t.ids[t.start :] for t in texts]
    if made.train_dataset["labels"] != labels:
        raise ValueError("TRL would train on other tokens")
    return made


def main() -> None:
    warnings.simplefilter("ignore")
    disable_progress_bars()
    spec = KNOWN["smollm2-135m"]
    lm = LM(spec, RECIPE.batch)
    rows = corpus.load("", "", RECIPE.train, RECIPE.batch).advice["health"].train
    with TemporaryDirectory() as folder:
        pairs = [(row.prompt, answer) for row in rows[:PROMPTS] for answer in (row.incorrect, row.correct)]
        limit = peak()
        harvest(lm, lm.encode(pairs), Path(folder), limit)
        arm = [(row.prompt, row.incorrect) for row in rows[:SAMPLES]]
        fine_tune(lm, lm.encode(arm), Path(folder), limit)


if __name__ == "__main__":
    main()
