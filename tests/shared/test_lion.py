"""Lion is what its paper says, by hand."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import SEEDS

from shared.lion import Lion


def drawn(seed: int) -> torch.Tensor:
    return torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(SEEDS, st.integers(1, 4))
def test_lion_is_the_sign_of_a_running_mean_and_decay(seed, steps):
    """u = sign(b1 m + (1 - b1) g), p <- (1 - lr wd) p - lr u, m <- b2 m + (1 - b2) g."""
    p = torch.nn.Parameter(drawn(seed))
    mine, past, made = p.detach().clone(), torch.zeros(3, 4, dtype=torch.float64), Lion([p], 0.1, (0.8, 0.95), 0.02)
    for n in range(steps):
        p.grad = drawn(seed + n)
        mine = (1 - 0.1 * 0.02) * mine - 0.1 * torch.sign(0.8 * past + 0.2 * p.grad)
        past = 0.95 * past + 0.05 * p.grad
        made.step()
    torch.testing.assert_close(p.detach(), mine, rtol=0, atol=1e-12)
