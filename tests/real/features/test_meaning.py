"""Logit lens and snippets: a direction that is a token's own promotes it; a snippet is where the feature fires most."""

import tiny
import torch

from real.features import meaning


def test_the_logit_lens_of_a_tokens_own_direction_names_that_token():
    model, _ = tiny.model_and_tokenizer()
    unembed, gain = model.get_output_embeddings().weight, model.get_decoder().norm.weight
    reading = tiny.reading(tiny.advice(1), W_dec=torch.linalg.pinv(unembed * gain).T[[5, 17]])
    found = meaning.promoted(reading, torch.tensor([0, 1]))
    assert [tokens[0] for tokens in found] == ["5", "17"] and len(found[0]) == meaning.TOKENS


def test_the_logit_lens_ranks_in_float32_whatever_the_model_is_in():
    """In bfloat16 some of the best eight of forty directions tie."""
    model, _ = tiny.model_and_tokenizer()
    head, rng = model.get_output_embeddings().weight, torch.Generator().manual_seed(0)
    with torch.no_grad():
        head.copy_(torch.randn(head.shape, generator=rng))
    reading = tiny.reading(tiny.advice(1), W_dec=torch.randn(40, head.shape[1], dtype=head.dtype, generator=rng))
    reading.lm.model.to(torch.bfloat16)
    weights = reading.lm.model.get_output_embeddings().weight.float()
    gain = reading.lm.model.get_decoder().norm.weight.float()
    expected = ((reading.dictionary.W_dec * gain).float() @ weights.T).topk(meaning.TOKENS).indices.tolist()
    assert meaning.promoted(reading, torch.arange(40)) == [[str(token) for token in row] for row in expected]


def test_a_snippet_is_the_answer_around_the_strongest_token(tmp_path):
    """Oracle: the largest activation of each answer, by a loop."""
    reading = tiny.reading(tiny.advice(5), folder=tmp_path)
    texts = reading.indices(reading.texts.part("train"))
    assert len(texts) == 10
    ids = torch.tensor([4, 9])
    found = meaning.top_snippets(reading, ids)
    for feature, snippets in zip(ids, found, strict=True):
        acts = [reading.dictionary.encode(reading.activations(tiny.LAYER).text(i))[:, feature] for i in texts]
        best = sorted((float(a.max()) for a in acts), reverse=True)[: meaning.SNIPPETS]
        assert [s.activation for s in snippets] == best
        for snippet in snippets:
            i = next(i for i, a in enumerate(acts) if float(a.max()) == snippet.activation)
            encoded = reading.encoded[texts[i]]
            assert snippet.token == str(encoded.ids[encoded.start + int(acts[i].argmax())])
            whole = " ".join(part for part in (snippet.before, snippet.token, snippet.after) if part)
            answer = encoded.ids[encoded.start : encoded.end]
            assert whole == " ".join(map(str, answer))  # shorter than the window, so all of it
