# %% [markdown]
# # Lesson 4: does your optimiser keep the cosine law?
#
# E1 and E2 are about the gradient. Few people train with the gradient: they train with Adam.
# **Question:** train one feature up with different rules. Does the leakage still follow the cosine?

# %%
import torch

from shared.geometry import cosine
from shared.leakage import law
from toy.law import momentum_step
from toy.measure import step_change
from toy.model import ToySettings, train
from toy.optimisers import RULES, leakage_ratios

toy = train(ToySettings(n_instances=1, n_features=40, d_hidden=10, seed=1))
W, b = toy.W[0].double(), toy.b_final[0].double()
pairs = ~torch.eye(40, dtype=torch.bool)
cosines = cosine(W, W)[pairs]

# %% [markdown]
# **Predict before you run the next cell.** Which of SGD, momentum, weight decay, LoRA, the sign rule and Adam keep
# R^2 = 1 after thirty steps?

# %%
for name, rule in RULES.items():
    fit = law(cosines, leakage_ratios(W, b, 0.05, rule, "alone")[pairs], draws=1)
    print(f"{name:16} slope {fit.slope:5.2f}   R^2 {fit.r2:5.2f}")
# The gradient is d_t times something, at every step (rank one). Rules that add gradients up stay along d_t. Adam
# divides each weight by the size of its own past, and what is left of d_t is its sign (E4), for ever.

# %% [markdown]
# **Exercise 1.** With `task="together"` the other features have to stay right. Which rule moves towards the law and
# which away from it? Fill `gain` with the change of R^2 from "alone" to "together" for sgd and for "lora, adam".

# %%
gain = {
    name: law(cosines, leakage_ratios(W, b, 0.05, RULES[name], "together")[pairs], draws=1).r2
    - law(cosines, leakage_ratios(W, b, 0.05, RULES[name], "alone")[pairs], draws=1).r2
    for name in ("sgd", "lora, adam")
}  # solution
assert gain["sgd"] < 0 < gain["lora, adam"]
print("change of R^2:", {name: round(value, 3) for name, value in gain.items()})
# Under SGD the errors of others enter the gradient; under Adam they spread it over more weights, and the sign is
# less crude.

# %% [markdown]
# **Exercise 2.** Momentum sums past gradients (E5). A loss pulls h towards W_0 for two steps. Predict the change
# of every readout in the second step from the two gradients, and check it against torch.

# %%
pull = lambda h: (h - W[0]).square().sum() / 2  # noqa: E731 its gradient at h is h - W_0
start = torch.zeros(10, dtype=torch.float64)
one = step_change(lambda h: h, pull, start, "momentum", 0.1, steps=1)
two = step_change(lambda h: h, pull, start, "momentum", 0.1, steps=2)
predicted = momentum_step(W, torch.stack([start - W[0], start + one - W[0]]), 0.1, 0.9)  # solution
assert torch.allclose(predicted, W @ (two - one), atol=1e-13)
print("largest change in the second step:", predicted.abs().max().item())
