# %% [markdown]
# # Lesson 3: when does training on one input change another?
#
# Lesson 2 moved a hidden state. Training moves weights: `h = A x`, and a step on `A` is felt by every input.
# **Question:** after one step on samples of one kind, which probes feel it, and how much?

# %%
import torch

from toy.law import lora_step, tied_delta, tied_step, weight_step
from toy.measure import relative_error, step_change

generator = torch.Generator().manual_seed(0)
W = torch.randn(6, 3, generator=generator, dtype=torch.float64)  # six features in three dimensions
A = torch.randn(3, 4, generator=generator, dtype=torch.float64)  # from four inputs
x = torch.tensor([[1.0, 1, 0, 0]], dtype=torch.float64)  # the one training sample: inputs 0 and 1 are on
g = -W[:1]  # its loss is -f_0: "say more of feature 0"
probes = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 1], [0, 0, 1, 1]], dtype=torch.float64)
eta = 0.1

# %% [markdown]
# **Predict before you run the next cell.** Feature 0 rises most on the training sample itself. By what share of
# that does it rise at the second probe, which has only input 0? At the third? At the last?

# %%
predicted = weight_step(W, g, x, probes, eta)  # (E2)
print("rise of feature 0, relative to the first probe:", (predicted[:, 0] / predicted[0, 0]).tolist())
measured = step_change(lambda A: probes @ A.T @ W.T, lambda A: -(x @ A.T @ W[0]).sum(), A, "sgd", eta)
print("largest relative error against a real SGD step:", relative_error(predicted, measured))
# <x, x'> = 2, 1, 1, 0. No shared input, no spillover, however near the directions are: (E2) needs both overlaps.

# %% [markdown]
# **Exercise 1.** A LoRA trains `A + B C` with `B = 0` at the start. Its first step replaces `<x, x'>` by `<C x, C
# x'>` (E3). Find a `C` of rank one under which the last probe, which shares no input with the sample, rises as
# much as the first.

# %%
C = torch.tensor([[1.0, 1, 1, 1]], dtype=torch.float64)  # solution: it cannot tell the inputs apart
change = lora_step(W, g, x, probes, C, eta)
assert torch.allclose(change[3], change[0])
print("with C = [1 1 1 1], rise of feature 0 by probe:", change[:, 0].tolist())
# Low rank is not harmless: it makes inputs overlap that did not.

# %% [markdown]
# **Exercise 2.** In the tied ReLU model, pre = (x W) W^T + b: one W writes and reads, so that a step is
# quadratic. (E6) gives both orders. At which step size is the second-order part as large as the first for the
# most affected unit?

# %%
x = probe = torch.eye(6, dtype=torch.float64)
b, importance = torch.zeros(6, dtype=torch.float64), torch.ones(6, dtype=torch.float64)
delta = tied_delta(W, b, importance, x)
one = tied_step(W, delta, x, probe, 1.0)
unit = one.first.abs().argmax()
answer = (
    (one.first.flatten()[unit] / one.second.flatten()[unit]).abs().item()
)  # solution: first ~ eta, second ~ eta^2
at = tied_step(W, delta, x, probe, answer)
assert abs(abs(at.first.flatten()[unit]) / abs(at.second.flatten()[unit]) - 1) < 1e-9
print(f"at eta = {answer:.2f}; at a hundredth of it the first order is off by one part in a hundred")
