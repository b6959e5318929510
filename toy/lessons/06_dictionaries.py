# %% [markdown]
# # Lesson 6: can a learned dictionary stand in for the truth?
#
# On a language model nobody knows the features' directions. A sparse autoencoder guesses them from activations.
# Here they are known. **Question:** how well does the dictionary's geometry predict the true leakage?

# %%
import torch

from toy.model import ToySettings, train
from toy.saes import PROBABILITY, N, agreement, licence

W = {
    width: train(ToySettings(1, N, width, PROBABILITY, batch_size=1024, steps=1000)).W[0] for width in (20, 8)
}
two_per_dimension = licence(W[20], seed=0)
print("20 dimensions:", {kind: two_per_dimension[kind] for kind in ("trained", "untrained")})

# %% [markdown]
# `r2` sets the cosines of the dictionary's latents against one real SGD step on the hidden state; a latent is chosen
# because it fires with its feature, as on a real model. **Predict before you run the next cell.** Now 40 features
# share 8 dimensions, five to each. Does the R^2 rise or fall? And that of a dictionary that was never trained?

# %%
five_per_dimension = licence(W[8], seed=0)
print("8 dimensions:", {kind: five_per_dimension[kind] for kind in ("trained", "untrained")})
assert five_per_dimension["trained"]["r2"] < two_per_dimension["trained"]["r2"]
assert five_per_dimension["untrained"]["r2"] > two_per_dimension["untrained"]["r2"]
# It falls, and the untrained one rises: where space is crowded any latent that fires with a feature points its way.

# %% [markdown]
# **Exercise 1.** Is there a ceiling? Ask `agreement` what a dictionary of the true directions would score.

# %%
ceiling = agreement(W[8], W[8])  # solution
assert abs(ceiling["r2"] - 1) < 1e-6 and abs(ceiling["cosine"] - 1) < 1e-6
print("true directions:", ceiling)

# %% [markdown]
# **Exercise 2.** How wrong may directions be? Add noise of the same length to every true direction in 20 dimensions,
# so that it keeps a cosine of about 0.7 with the truth, and ask again.

# %%
noise = torch.randn(W[20].shape, generator=torch.Generator().manual_seed(7))
noise *= W[20].norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
shaken = agreement(W[20], W[20] + noise)  # solution
assert 0.6 < shaken["cosine"] < 0.8 and shaken["r2"] < 0.3
print("half noise:", shaken)
# Cosines between features are products of two directions: an error in each is an error squared.
