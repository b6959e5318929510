"""Free answers: all prompts in one batch, padded on the left."""

import torch
from torch.nn.utils.rnn import pad_sequence

from real.data.tokens import encode, prefix


def sample(model, tokenizer, prompts: list[str], new_tokens: int, temperature: float, seed: int = 0) -> list[str]:
    """One answer to each prompt, of at most `new_tokens` tokens; greedy at temperature 0."""
    return generate(model, tokenizer, [prefix(tokenizer, p) for p in prompts], new_tokens, temperature, seed)


@torch.no_grad()
def generate(model, tokenizer, turns: list[list[int]], new_tokens: int, temperature: float, seed: int) -> list[str]:
    """As `sample`, after turns that are tokens already. Plain: of the model's own habits only its ends of turn stay."""
    from transformers import GenerationConfig

    how = {"batch_first": True, "padding_side": "left"}
    ids = pad_sequence([torch.tensor(turn) for turn in turns], padding_value=tokenizer.eos_token_id, **how)
    mask = pad_sequence([torch.ones(len(turn), dtype=torch.long) for turn in turns], **how)
    known = model.generation_config.eos_token_id
    ends = {encode(tokenizer, "", "").ids[-1], *(known if isinstance(known, list) else [known])} - {None}
    model.generation_config = GenerationConfig(eos_token_id=sorted(ends))
    torch.manual_seed(seed)
    out = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=new_tokens,
        pad_token_id=tokenizer.eos_token_id,
        do_sample=temperature > 0,
        **({"temperature": temperature, "top_p": 1.0, "top_k": 0} if temperature else {}),
    )
    return [a.strip() for a in tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)]
