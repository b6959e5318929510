# %% [markdown]
# # Lesson 1: more features than dimensions
#
# A model has `d_hidden` dimensions and must report `n_features` numbers, most of which are 0 most of the time.
# **Question:** when does it give each feature a direction of its own, and what does it do when there are too few?

# %%
import torch

from shared.geometry import cosine, dimensionality
from toy.model import ToySettings, best, train
from toy.superposition import least_loss

pair = ToySettings(n_features=2, d_hidden=1)  # each feature is on in one sample of twenty
W = best(train(pair), pair)
print("two features, one dimension:", W[:, 0].numpy().round(2))
# +1 and -1, back to back: the ReLU of feature 1 hides what feature 2 does to it, unless both are on at once.

# %% [markdown]
# **Predict before you run the next cell.** The dimensionality of a feature is the fraction of a dimension that
# belongs to it: D_i = |W_i|^2 / sum_j (W_i/|W_i| . W_j)^2, and 1/2 for the pair above. Five features share two
# dimensions evenly. How many degrees lie between neighbours, and what is D_i?

# %%
five = ToySettings(n_features=5, d_hidden=2)
W = best(train(five), five)
order = W[:, 1].atan2(W[:, 0]).argsort()
degrees = cosine(W[order], W[order]).diagonal(1).arccos().rad2deg()
print("degrees between neighbours:", degrees.numpy().round(1))
print("dimensionalities:          ", dimensionality(W).numpy().round(3))
assert torch.allclose(dimensionality(W), torch.tensor(2 / 5), atol=0.02)
# A regular pentagon: 72 degrees, and 2/5 of a dimension each.

# %% [markdown]
# **Exercise 1.** Make features common: on in 95 samples of 100 instead of 5. Sparsity was what made sharing cheap.
# Train the same five features in two dimensions at `feature_probability=0.95` and count those that are represented
# (|W_i| > 1/2) with an even share, D_i within 0.05 of 2/5.

# %%
common = ToySettings(n_features=5, d_hidden=2, feature_probability=0.95)
W_common = best(train(common), common)  # solution
even = (W_common.norm(dim=-1) > 0.5) & ((dimensionality(W_common) - 2 / 5).abs() < 0.05)
assert even.sum() < 5
print(
    "features with an even share:", int(even.sum()), "of 5; lengths", W_common.norm(dim=-1).numpy().round(2)
)

# %% [markdown]
# **Exercise 2.** Two features, one dimension, the second half as important. At which probability does sharing stop
# to pay? `least_loss(p, importance)` weighs three solutions: 0, ignore the second; 1, give it the dimension; 2, put
# it opposite the first. Find the first p, in steps of 0.01, at which the answer is no longer 2. Check it by hand:
# ignoring costs importance (p/3 - p^2/4), sharing costs (1 + importance) p^2/6.

# %%
p = next(k / 100 for k in range(1, 101) if least_loss(k / 100, 0.5) != 2)  # solution
by_hand = (0.5 / 3) / (1.5 / 6 + 0.5 / 4)  # where the two costs are equal
assert p - 0.01 <= by_hand <= p
print(f"sharing pays up to p = {by_hand:.3f}")
