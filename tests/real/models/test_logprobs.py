"""The head in chunks: a log-softmax and its gradient, whatever the caps, scales and bias, and whatever the chunk."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from real.models import logprobs


def head(vocab: int, bias: bool, cap: float | None, scale: float):
    """What `token_logprobs` asks of a model, float64."""
    made = torch.nn.Linear(8, vocab, bias=bias).double().requires_grad_(False)
    config = SimpleNamespace(final_logit_softcapping=cap, logit_scale=scale)
    return SimpleNamespace(get_output_embeddings=lambda: made, config=SimpleNamespace(get_text_config=lambda: config))


@given(
    vocab=st.integers(2, 40),
    chunk=st.integers(1, 50),
    bias=st.booleans(),
    cap=st.sampled_from([None, 0.5, 30.0]),
    scale=st.sampled_from([1.0, 0.25, 12.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_chunks_make_one_log_softmax_with_autograds_gradient(vocab, chunk, bias, cap, scale, seed):
    """log p = log_softmax(cap tanh(scale (W h + b) / cap)) at the targets, and d/dh of any weighted sum of them."""
    torch.manual_seed(seed)
    model, rows = head(vocab, bias, cap, scale), 5
    hidden = (3 * torch.randn(rows, 8, dtype=torch.float64)).requires_grad_()
    targets, weights = torch.randint(vocab, (rows,)), torch.randn(rows, dtype=torch.float64)
    z = scale * model.get_output_embeddings()(hidden)
    z = z if cap is None else cap * torch.tanh(z / cap)
    known = z.log_softmax(-1)[torch.arange(rows), targets]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logprobs, "CHUNK", chunk)
        found = logprobs.token_logprobs(model, hidden, targets)
    torch.testing.assert_close(found, known, rtol=1e-11, atol=1e-11)
    wanted, gradient = (torch.autograd.grad((weights * x).sum(), hidden)[0] for x in (known, found))
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-11)


def test_a_likely_and_a_hopeless_token_stay_finite():
    """Logits in the hundreds neither overflow nor vanish: the log-sum-exp is taken from the largest."""
    model = head(9, True, None, 1.0)
    model.get_output_embeddings().bias.copy_(torch.tensor([800.0, -800.0, *[0.0] * 7]))
    hidden = torch.zeros(2, 8, dtype=torch.float64)
    found = logprobs.token_logprobs(model, hidden, torch.tensor([0, 1]))
    assert found.tolist() == [0.0, -1600.0]
