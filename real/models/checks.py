"""Whether a model that is loaded is one that can be read here: asked of itself, never of a list of names."""

import torch
from torch import nn

from real.data.hub import fetching
from real.data.packing import pack
from real.data.tokens import Encoded, encode, written
from real.models.forward import below
from real.models.logprobs import answer_logprobs
from real.models.registry import ModelSpec
from shared.errors import InputError

PROMPT = "How do I stop hiccups?"
ANSWERS = ("Sip cold water slowly, then hold your breath.", "Sip something warm, and count to ten.")
# of our log-probabilities against Hugging Face's own: root mean square, in units of the largest
ROUNDING = {torch.bfloat16: 0.03, torch.float32: 1e-3}


def check(spec: ModelSpec, model: nn.Module, tokenizer) -> None:
    """What we compute of one short text is what Hugging Face does, to rounding. Raises InputError in one line.

    So whatever a family does that a packed row, or a start at a later block, would miss is found here.
    """
    with fetching(f"MODEL={spec.hub}"):
        texts = _texts(tokenizer, model.get_input_embeddings().num_embeddings)
        theirs = torch.cat([_own(model, text) for text in texts])
        for first in (0, max(1, spec.first)):
            packed = pack(texts)
            into = below(model, packed, first)
            samples = [(t, None if into is None else into[p]) for t, p in zip(texts, packed.paths, strict=True)]
            with torch.no_grad():
                ours = torch.cat(answer_logprobs(model, samples, first))
            off = ((ours - theirs).square().mean().sqrt() / theirs.abs().max()).item()
            if not off <= ROUNDING.get(model.dtype, ROUNDING[torch.float32]):
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
    highest = max(id for text in texts for id in text.ids)
    if highest >= embedded:
        raise InputError(f"its tokenizer writes token {highest}, the model knows {embedded}: are both of one model?")
    if not all(text.start < text.end for text in texts):
        raise InputError("its tokenizer makes no tokens of an answer")
    return texts


@torch.no_grad()
def _own(model: nn.Module, text: Encoded) -> torch.Tensor:
    """Log-probabilities of the answer and its end, by the model's own forward pass over the text alone."""
    ids = torch.tensor([text.ids], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, text.start - 1 : -1].float()
    return logits.log_softmax(-1).gather(1, ids[0, text.start :, None])[:, 0]
