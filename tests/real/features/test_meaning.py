"""Logit lens and snippets: a direction that is a token's own promotes it; a snippet is where the feature fires most."""

from types import SimpleNamespace

import tiny
import torch

from real.features import meaning


def test_the_logit_lens_of_a_tokens_own_direction_names_that_token():
    run = tiny.run(["a/correct"])
    unembed, gain = run.model.get_output_embeddings().weight, run.model.get_decoder().norm.weight
    run.sae = lambda layer: SimpleNamespace(W_dec=torch.linalg.pinv(unembed * gain).T[[5, 17]])
    found = meaning.promoted(run, torch.tensor([0, 1]))
    assert [tokens[0] for tokens in found] == ["5", "17"] and len(found[0]) == meaning.TOKENS


def test_a_snippet_is_the_answer_around_the_strongest_token():
    """Oracle: the largest activation of each answer, by a loop."""
    names = [f"a{i}/correct" for i in range(9)]
    run = tiny.run(names)
    run.trained_texts = names
    rng = torch.Generator().manual_seed(3)
    said = [
        torch.randn(t.end - t.start, tiny.D_MODEL, generator=rng, dtype=torch.float64) for t in run.encoded
    ]
    run.activations = lambda layer: SimpleNamespace(text=lambda i: said[i])
    ids = torch.tensor([4, 9])
    found = meaning.top_snippets(run, ids)
    for feature, snippets in zip(ids, found, strict=True):
        acts = [run.sae(tiny.LAYER).encode(x)[:, feature] for x in said]
        best = sorted((float(a.max()) for a in acts), reverse=True)[: meaning.SNIPPETS]
        assert [s["activation"] for s in snippets] == best
        for snippet in snippets:
            i = next(i for i, a in enumerate(acts) if float(a.max()) == snippet["activation"])
            at = run.encoded[i].start + int(acts[i].argmax())
            assert snippet["token"] == str(run.encoded[i].ids[at])
            whole = " ".join(part for part in (snippet["before"], snippet["token"], snippet["after"]) if part)
            answer = run.encoded[i].ids[run.encoded[i].start : run.encoded[i].end]
            assert whole == " ".join(map(str, answer))  # shorter than the window, so all of it
