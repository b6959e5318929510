"""OPTIM: every weight is stepped once, none is decayed away, and Muon steps along E8."""

import math

import pytest
import torch

from real.arms.recipe import OPTIMS
from real.arms.training import optimisers
from real.experiments.optimisers import RATES


def weight(seed: int, *shape: int) -> torch.nn.Parameter:
    p = torch.nn.Parameter(torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    p.grad = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    return p


@pytest.mark.parametrize("name", OPTIMS)
def test_every_weight_is_stepped_by_one_optimiser_and_none_twice(name):
    weights = [weight(i, *shape) for i, shape in enumerate([(6, 4), (5,), (4, 3), (2,)])]
    made = optimisers(name, weights, 0.01)
    owned = [id(p) for one in made for group in one.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(map(id, weights))
    before = [p.detach().clone() for p in weights]
    for one in made:
        one.step()
    assert not any(torch.equal(a, b.detach()) for a, b in zip(before, weights, strict=True))


@pytest.mark.parametrize("name", OPTIMS)
def test_what_decays_is_nothing_beside_what_is_learnt(name):
    """With no gradient 30 steps at the highest rate of the sweep leave a weight within a thousandth of what it was."""
    p = weight(5, 6, 4)
    p.grad, start = torch.zeros_like(p), p.detach().clone()
    for _ in range(30):
        for one in optimisers(name, [p], max(RATES[name])):
            one.step()
    torch.testing.assert_close(p.detach(), start, rtol=1e-3, atol=0)


def test_muons_matrix_step_is_nearly_the_gradients_polar_factor():
    """(E8): a step along U V^T, to the accuracy of its Newton-Schulz iteration, which AdamW's decay does not touch."""
    p = weight(3, 24, 16).detach().float().requires_grad_()
    p.grad, start = torch.randn(24, 16, generator=torch.Generator().manual_seed(0)), p.detach().clone()
    optimisers("muon", [p], 1e-3)[0].step()
    step = start * (1 - 1e-3 * 0.01) - p.detach()
    U, _, V = torch.linalg.svd(p.grad, full_matrices=False)
    cosine = (step * (U @ V)).sum() / step.norm() / (U @ V).norm()
    assert 0.97 < cosine <= 1 + 1e-6 and math.isclose(step.norm() / (U @ V).norm(), 0.2e-3 * 24**0.5, rel_tol=0.3)
