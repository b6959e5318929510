# %% [markdown]
# # Lesson 2: what leaks where?
#
# Five features, two dimensions. They cannot all be orthogonal, so a push along one moves the readouts of others.
# **Question:** when one optimiser step raises feature 0, by how much does each other feature move?

# %%
import torch

from shared.geometry import cosine
from toy.law import representation_step, sign_step
from toy.measure import step_change
from toy.model import ToySettings, best, train

settings = ToySettings()
W = best(train(settings), settings).double()  # of eight models, the one that does best
order = W[:, 1].atan2(W[:, 0]).argsort()  # around the circle, so that neighbours are neighbours
W = W[order]
print("cosines to feature 0:", cosine(W[:1], W)[0].numpy().round(3))

# %% [markdown]
# **Predict before you run the next cell.** The trained features form a regular pentagon: neighbours are 72 degrees
# apart. If feature 0 rises by 1, by how much does its neighbour move? And the feature two steps away?

# %%
eta = 0.1
h = torch.zeros(2, dtype=torch.float64)
predicted = representation_step(W, -W[0], eta)  # (E1), L = -f_0, so g = -d_0
measured = step_change(
    lambda h: h @ W.T, lambda h: -(h @ W[0]), h, "sgd", eta
)  # one real torch.optim.SGD step
print("predicted by (E1), relative to feature 0:", (predicted / predicted[0]).numpy().round(3))
print("measured in one real SGD step:           ", (measured / measured[0]).numpy().round(3))
assert torch.allclose(predicted, measured, atol=1e-14)
# cos 72 = 0.309 and cos 144 = -0.809: neighbours rise, the far two fall.

# %% [markdown]
# **Exercise 1.** Adam's first step follows the sign of the gradient (E4). Does the leakage still follow the cosine?
# Fill `ratios` with the change of every feature relative to feature 0 after `sign_step`, then run the check.

# %%
ratios = sign_step(W, -W[0], eta) / sign_step(W, -W[0], eta)[0]  # solution
real = step_change(lambda h: h @ W.T, lambda h: -(h @ W[0]), h, "adam", eta)  # one real torch.optim.Adam step
assert torch.allclose(ratios, real / real[0], atol=1e-6)
print("sign step, relative to feature 0:        ", ratios.numpy().round(3))

# %% [markdown]
# **Exercise 2.** Which step raises feature 0 and leaves its neighbour, feature 1, exactly where it is?
# Take the part of `d_0` that is orthogonal to `d_1`, step along it, and run the check.

# %%
g = -(W[0] - (W[0] @ W[1]) / (W[1] @ W[1]) * W[1])  # solution
change = representation_step(W, g, eta)
assert change[0] > 0 and abs(change[1]) < 1e-15
print("a step that spares feature 1:            ", change.numpy().round(3))
# It is spared, but look at the others: in two dimensions, what is kept off one neighbour lands on another.
