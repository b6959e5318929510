# %% [markdown]
# # Lesson 1. Directions: how do many features fit into few dimensions?
#
# **Objective.** You can read a feature off a hidden state, say how much of a readout is other features, and say what
# it costs to have more features than dimensions.
#
# **Before this.** Vectors, the inner product, mean and variance; a little PyTorch.
#
# **Minutes.** 25
#
# A neural network's hidden state is a vector `h` of `d` numbers. A **feature** is something that it says about its
# input ("this is French", "this is advice about money"). Many features are not single coordinates of `h` but
# **directions** in its space, and there are more of them than coordinates. That is **superposition**, and it is the
# root of everything in this course: features that share a space cannot be moved one at a time.

# %%
import torch

from shared.geometry import cosine, unit
from toy.checks.lesson1 import check_1_1, check_1_2, check_1_3, check_1_4
from toy.checks.predictions import predict, predictions, reveal
from toy.lessons.figures import BLUE, GREY, VERMILLION, arrows, panels

generator = torch.Generator().manual_seed(0)

# %% [markdown]
# ## Derivation: what a readout holds
#
# Feature $j$ has a direction $d_j$, row $j$ of a matrix `W`. An input with feature values $x_i$ (0 when feature $i$
# is off) is written into the hidden state as a sum, and feature $j$ is read from it by an inner product:
#
# $$h = \sum_i x_i\, d_i \tag{1.1}$$
#
# $$f_j = \langle d_j, h \rangle \tag{1.2}$$
#
# Put (1.1) into (1.2) and set the term $i = j$ apart:
#
# $$f_j = \underbrace{x_j\, |d_j|^2}_{\text{its own}} +
# \underbrace{\sum_{i \ne j} x_i\, \langle d_j, d_i \rangle}_{\text{interference}} \tag{1.3}$$
#
# The inner product of two directions is the product of their lengths and of the cosine of the angle between them,
# $\langle d_j, d_i\rangle = |d_j|\,|d_i| \cos(d_j, d_i)$. Interference is 0 only where the cosine is, and no more than
# $d$ directions can be at right angles to each other in $d$ dimensions. With more features some must interfere.

# %%
angles = torch.arange(5) * 2 * torch.pi / 5
pentagon = torch.stack([angles.cos(), angles.sin()], dim=1)  # as evenly as two dimensions allow
answers = (pentagon @ pentagon[0]).tolist()
with panels("Turn on feature 0 of five in two dimensions, and all five readouts answer", 2) as [left, right]:
    arrows(left, pentagon)
    colours = [VERMILLION] + [BLUE] * 4
    right.bar(range(5), answers, color=colours, hatch=["//"] + [""] * 4, edgecolor="white")
    right.axhline(0, color=GREY, lw=0.8)
    right.set(xlabel="feature that is read", ylabel="readout (units of the feature's value)")

# %% [markdown]
# **What this does not show.** That a trained network arranges features like this: the pentagon is drawn by hand here.
# Lesson 2 trains one.

# %% [markdown]
# ### Exercise 1.1 ★ Read the features
#
# Write (1.2) for all features at once: from `W` (a row for each feature) and one hidden state `h`, the readouts.
# Return a tensor, here and in all exercises: the cells below go on with it.
#
# <details><summary>Hint 1</summary>
#
# A matrix times a vector is an inner product of the vector with every row.
#
# </details>
# <details><summary>Hint 2</summary>
#
# One readout is `W[j] @ h`. The same `@` does it for all rows at once. Nothing in (1.2) divides by a length.
#
# </details>


# %%
def readouts(W, h):
    """W [feature, d], h [d] -> f [feature]."""
    ### BEGIN SOLUTION
    return W @ h
    ### END SOLUTION


# %%
check_1_1(readouts)

# %% [markdown]
# ### Exercise 1.2 ★ What is not its own?
#
# An input `x` is written by (1.1), and every feature is read. How much of each readout is interference, the second
# part of (1.3)? Mind that directions need not have length 1.
#
# <details><summary>Hint 1</summary>
#
# Read everything, then take away what each feature put there itself.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `x @ W` is `h`; `W.square().sum(1)` holds the squared lengths.
#
# </details>


# %%
def interference(W, x):
    """W [feature, d], x [feature] -> for each feature, what the others put on its readout."""
    ### BEGIN SOLUTION
    return W @ (x @ W) - x * W.square().sum(1)
    ### END SOLUTION


# %%
check_1_2(interference)

# %% [markdown]
# ## How much must they interfere?
#
# **Predict before you run the next cell.** Take 1,000 random directions in 64 dimensions. They are far too many to be
# at right angles. What is the typical size of the cosine of two of them, the square root of its mean square? And of
# the half million pairs, what is the largest cosine?

# %%
typical = 0.5  # your prediction
largest = 0.9  # your prediction
predict("1a", typical, "typical cosine of two random directions in 64 dimensions")
predict("1b", largest, "largest cosine among 1,000 of them")

# %%
W = unit(torch.randn(1000, 64, generator=generator))
pairs = cosine(W, W)[~torch.eye(1000, dtype=torch.bool)]
reveal("1a", pairs.square().mean().sqrt())
reveal("1b", pairs.max())

# %% [markdown]
# Two random directions in $d$ dimensions have $E \cos^2 = 1/d$: turn the space so that the first lies along an axis;
# then $\cos^2$ is the share of the other's squared length on that axis, and by symmetry every axis gets the same share.
# In 64 dimensions that is a cosine of about 1/8. Could a cleverer choice do much better? There is a limit. Let
# $G_{ij} = \langle d_i, d_j\rangle$ for $n$ unit directions. $G$ has trace $n$ and at most $d$ eigenvalues
# $\lambda_k$ that are not 0, and the mean of squares is at least the square of the mean:
#
# $$\sum_{ij} \cos^2(d_i, d_j) = \sum_k \lambda_k^2 \;\ge\;
# \frac{1}{d}\Big(\sum_k \lambda_k\Big)^2 = \frac{n^2}{d} \tag{1.4}$$

# %%
with panels("The more dimensions, the nearer random directions are to right angles") as [ax]:
    for d, style in ((2, ":"), (8, "--"), (64, "-."), (512, "-")):
        V = unit(torch.randn(600, d, generator=generator))
        values = cosine(V, V)[~torch.eye(600, dtype=torch.bool)]
        density, edges = torch.histogram(values, bins=80, range=(-1, 1), density=True)
        ax.plot((edges[1:] + edges[:-1]) / 2, density, linestyle=style, label=f"d = {d}")
    ax.set(xlabel="cosine of two directions", ylabel="density of pairs", yscale="log", ylim=(1e-2, 60))
    ax.legend(frameon=False, loc="upper left", ncols=2)

# %% [markdown]
# **What this does not show.** That a network's features are random directions. Related features may well lie close
# together, and then the cosines that matter are far out in the tail.

# %% [markdown]
# ### Exercise 1.3 ★★ The price that no arrangement avoids
#
# By (1.4), how small can the mean of $\cos^2$ be over all pairs of *different* features, for `n` unit directions in
# `d` dimensions, `n >= d`?
#
# <details><summary>Hint 1</summary>
#
# The sum in (1.4) runs over all $i$ and $j$. Which of its terms are 1 whatever the arrangement, and how many are left?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Take $n$ from $n^2/d$, then divide by the number of pairs $i \ne j$, which is $n(n-1)$.
#
# </details>


# %%
def least_mean_square_cosine(n, d):
    ### BEGIN SOLUTION
    return (n - d) / (d * (n - 1))
    ### END SOLUTION


# %%
check_1_3(least_mean_square_cosine)
five = cosine(pentagon, pentagon)[0, 1:].square().mean()
print(f"five in two: at best {least_mean_square_cosine(5, 2):.4f}, the pentagon {five:.4f}")
print(f"1,000 in 64: at best {least_mean_square_cosine(1000, 64):.4f}, random directions {1 / 64:.4f}")

# %% [markdown]
# Random directions are nearly as good as the best. So what makes superposition possible is not a clever arrangement.
# It is that few features are on at once, as the last exercise shows.

# %% [markdown]
# ### Exercise 1.4 ★★★ How many features may be on at once?
#
# `k` features are on, each with a value drawn evenly from 0 to 1, along random unit directions in `d` dimensions.
# Somebody reads a feature that is *off*. What the readout shows is interference alone. What is the largest `k` for
# which its root mean square stays at or below `threshold`?
#
# <details><summary>Hint 1</summary>
#
# The readout is $\sum_i x_i \cos(d_j, d_i)$, and the signs of the cosines are random: squares add up, mixed terms
# cancel on average. The mean square of one term is $E x^2 \cdot E \cos^2$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# $E x^2 = 1/3$ for values drawn evenly from 0 to 1, and $E\cos^2 = 1/d$. So $k/(3d) \le$ threshold squared.
#
# </details>


# %%
def most_at_once(d, threshold):
    """The largest whole number k."""
    ### BEGIN SOLUTION
    return int(3 * d * threshold**2)
    ### END SOLUTION


# %%
check_1_4(most_at_once)
print("in 64 dimensions, with a threshold of 0.4:", most_at_once(64, 0.4), "at once, of any number of features")

# %% [markdown]
# ## What to take along
#
# - A feature is a direction, a readout is an inner product, and interference is everything in it that is not its own.
# - With more features than dimensions interference cannot be 0, by (1.4), but many nearly right angles are cheap.
# - What counts is how many features are on *at the same time*.
#
# Next: when does a network that is trained choose to share a direction?
#
# **Further reading.** Elhage et al. 2022,
# [Toy Models of Superposition](https://transformer-circuits.pub/2022/toy_model/index.html), the sections up to
# "Definitions and Motivation". Welch 1974, *Lower bounds on the maximum cross correlation of signals*, where (1.4) is
# from. Park et al. 2023, [The Linear Representation Hypothesis](https://arxiv.org/abs/2311.03658).

# %%
predictions()
