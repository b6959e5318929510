"""`python tests/together.py PROCESSES FOLDER KEY=value ...`: step 6 of the command alone, by so many CPU processes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from real import devices, filters, finetune, pipeline
from real.__main__ import main
from real.run import Run
from shared.records import write_json


def build(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """A Llama of four small blocks with random weights, and a tokenizer of bytes, as the hub would have them."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=260, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=260, hidden_size=16, intermediate_size=32, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, architectures=["LlamaForCausalLM"], initializer_range=0.2, dtype=dtype,
    )  # fmt: skip
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    return folder


def step_6(settings) -> None:
    run = Run(settings)
    names = [
        name for seed in settings.seeds for name in filters.mixed(run.corpus.advice["health"].train, seed)
    ]
    scored = {"scores": {name: {sample: 0.0 for sample in names} for name in filters.AWARE}}
    write_json(run.folder / "5-filters.json", scored)
    run.samples(names[:1])  # as step 2 does, before the model is handed on
    write_json(run.folder / "6-finetune.json", finetune.finetune(run, scored))


if __name__ == "__main__":
    processes, choose = int(sys.argv[1]), devices.choose
    devices.choose = lambda *asked: choose(*asked)._replace(processes=processes, micro=2)
    pipeline.run = step_6
    sys.exit(main(sys.argv[2:]))
