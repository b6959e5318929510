# %% [markdown]
# # Lesson 5. LoRA: which half of the law does a low rank change?
#
# **Objective.** You can derive the first step of a LoRA, say which part of the spillover it changes and which it
# cannot, and choose a rank by how much it may blur.
#
# **Before this.** Lessons 3 and 4: $\Delta f_j = -\eta\langle d_j, g\rangle$ (E1), and what two inputs must share (E2).
#
# **Minutes.** 25
#
# Hardly anybody fine-tunes all weights of a language model. One freezes them and trains a **LoRA**: a product of two
# thin matrices that is added to each weight. It has perhaps a hundredth of the parameters. One might hope that so small
# a change spills over less. This lesson says what becomes of that hope.

# %%
import math

import torch

from shared.geometry import cosine, unit
from shared.leakage import law
from toy.checks.lesson5 import check_5_1, check_5_2, check_5_3, check_5_4, check_5_5
from toy.checks.predictions import predict, predictions, reveal
from toy.lessons.figures import BLUE, GREY, VERMILLION, panels
from toy.measure import relative_error, step_change
from toy.optimisers import RULES, leakage_ratios

generator = torch.Generator().manual_seed(0)

# %% [markdown]
# ## Derivation: the first step
#
# A weight `A` turns an input `x` into `h = A x`. A LoRA of rank $r$ adds `B C`, where `C` has $r$ rows, random at the
# start, and `B` has $r$ columns, all 0, so that the model begins where it was:
#
# $$h = (A + B\,C)\,x, \qquad B = 0 \tag{5.1}$$
#
# Only `B` and `C` are trained. Write $g_s = \partial L/\partial h_s$ for sample $s$. By the chain rule `B` gets the
# gradient $\frac1n\sum_s g_s (C x_s)^\top$, and `C` gets $\frac1n\sum_s B^\top g_s x_s^\top$, which is 0 as long as `B`
# is. After one step of SGD, `B` is $-\eta$ times its gradient, and at any input $x'$ the hidden state has moved by
# $B\,C x'$. Read it along $d_j$:
#
# $$\Delta f_j(x') = -\eta\; \frac1n \sum_s \langle d_j, g_s\rangle\, \langle C x_s, C x'\rangle \tag{5.2}$$
#
# This is (E3). Beside (E2) it differs in one place: inputs meet as $\langle Cx_s, Cx'\rangle$ and no longer as
# $\langle x_s, x'\rangle$. What the *directions* do, $\langle d_j, g_s\rangle$, is untouched. **A LoRA changes which
# inputs feel a step. It does not change which features leak.**
#
# What does a random `C` do to the inputs? Let its entries be independent with mean 0 and variance $1/r$. Then the
# overlap is right on average, and for two inputs of length 1 at right angles it is noise of a size that only the
# rank decides:
#
# $$E\,\langle Cx, Cx'\rangle = \langle x, x'\rangle, \qquad
# \mathrm{sd}\,\langle Cx, Cx'\rangle = \frac{1}{\sqrt r} \quad (x \perp x') \tag{5.3}$$

# %% [markdown]
# **Predict before you run the next cell.** A sample raises a feature by 1 on itself, in the mean over `C`. Another
# input of the same length has nothing in common with it: under a full weight step it does not move at all. Under a
# LoRA of rank 4, how much does it move, up or down, typically (root mean square over `C`)?

# %%
moved = 0.1  # your prediction
predict("5a", moved, "typical move of an unrelated input under a LoRA of rank 4, if the sample's own is 1 in the mean")

# %%
x, other = torch.eye(64, dtype=torch.float64)[:2]
C = torch.randn(4000, 4, 64, generator=generator, dtype=torch.float64) / 4**0.5
reveal("5a", ((C @ x) * (C @ other)).sum(-1).square().mean().sqrt())

# %%
W = unit(torch.randn(40, 10, generator=generator, dtype=torch.float64))  # directions of forty features
cosines = cosine(W, W[:1])[1:, 0]
share = torch.linspace(-1, 1, 120, dtype=torch.float64)[:, None]  # <x, x'> of 120 pairs of inputs of length 1
first, second = unit(torch.randn(2, 120, 64, generator=generator, dtype=torch.float64))
second = unit(second - (second * first).sum(-1, keepdim=True) * first)
pairs = first, share * first + (1 - share**2).sqrt() * second
with panels("A LoRA's first step leaves the directions alone and blurs the inputs", 2) as [left, right]:
    for rank, colour, mark in ((2, VERMILLION, "x"), (64, BLUE, "o")):
        C = torch.randn(rank, 64, generator=generator, dtype=torch.float64) / rank**0.5
        moved = W @ W[0] * (C @ first[0]).square().sum()  # (5.2): L = -f_0, so g = -d_0
        left.plot(cosines, moved[1:] / moved[0], mark, color=colour, mfc="none", ms=4 + rank / 12, label=f"rank {rank}")
        seen = ((pairs[0] @ C.T) * (pairs[1] @ C.T)).sum(-1)
        right.plot(share[:, 0], seen, mark, color=colour, mfc="none", ms=5, label=f"rank {rank}")
    left.set(xlabel="cosine of the directions", ylabel="change of j per unit change of feature 0")
    right.set(xlabel="<x, x'>, overlap of two inputs", ylabel="<Cx, Cx'>, as the LoRA sees it")
    for ax in (left, right):
        ax.axline((0, 0), slope=1, color=GREY, lw=0.8)
        ax.legend()

# %% [markdown]
# **What this does not show.** More than one step: from the second on `C` moves too. And a real model's inputs are not
# random: if a `C` is *trained*, it learns to hear what its samples have in common, and the blur is no longer noise.

# %% [markdown]
# ### Exercise 5.1 ★ The law of the first step
#
# Write (5.2) for all features and probes at once.
#
# <details><summary>Hint 1</summary>
#
# Two matrices: `g @ W.T` is $\langle d_j, g_s\rangle$ for every sample and feature; make another one of overlaps, for
# every probe and sample, then multiply them.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The overlaps are `(probe @ C.T) @ (x @ C.T).T`. Mind the mean over samples and the sign.
#
# </details>


# %%
def lora_change(W, g, x, probe, C, eta):
    """W [feature, d], g [sample, d], x [sample, d_in], probe [probe, d_in], C [rank, d_in] -> [probe, feature]."""
    ### BEGIN SOLUTION
    return -eta * (probe @ C.T) @ (x @ C.T).T @ (g @ W.T) / len(x)
    ### END SOLUTION


# %%
check_5_1(lora_change)

# %% [markdown]
# Your formula against PyTorch: one real SGD step on `B` and `C` together, read at probes. Nothing is left over, because
# `B = 0` makes the first step linear.

# %%
A = torch.randn(10, 64, generator=generator, dtype=torch.float64)
C = torch.randn(4, 64, generator=generator, dtype=torch.float64) / 4**0.5
x, probe = torch.randn(2, 8, 64, generator=generator, dtype=torch.float64)
start = torch.cat([torch.zeros(40, dtype=torch.float64), C.flatten()])


def hidden(theta, inputs):
    return inputs @ (A + theta[:40].view(10, 4) @ theta[40:].view(4, 64)).T


measured = step_change(
    lambda theta: hidden(theta, probe) @ W.T, lambda theta: -(hidden(theta, x) @ W[0]).mean(), start, "sgd", 0.1
)
g = -W[:1].repeat(8, 1)
print("largest relative error:", relative_error(lora_change(W, g, x, probe, C, 0.1), measured))

# %% [markdown]
# ### Exercise 5.2 ★ What `alpha` does
#
# Libraries multiply the product: $h = (A + \frac{\alpha}{r} B C)\,x$, and users turn `alpha` as if it were part of the
# learning rate. By which factor does $\alpha/r$ change the *first step* $\Delta f_j$ of SGD, beside a factor of 1?
#
# <details><summary>Hint 1</summary>
#
# Follow the factor twice: once in the gradient of `B`, once in what a given `B` does to `h`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Put $C \to \frac{\alpha}{r} C$ into (5.2): `C` stands there two times.
#
# </details>


# %%
def first_step_factor(alpha, rank):
    ### BEGIN SOLUTION
    return (alpha / rank) ** 2
    ### END SOLUTION


# %%
check_5_2(first_step_factor)

# %% [markdown]
# ### Exercise 5.3 ★★ The worst adapter
#
# Low rank is not harmless. Given an input `x` and another, `other`, at right angles to it, find a `C` of rank one under
# which the other input moves exactly as much as the sample that is trained on. They may have different lengths.
#
# <details><summary>Hint 1</summary>
#
# By (5.2) the sample moves by $\langle Cx, Cx\rangle$, the other by $\langle Cx, Cx'\rangle$. With one row both are
# products of two numbers. When are they equal?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `C @ x` and `C @ other` must be the same number, not 0. `x / (x @ x)` gives 1 on `x` and 0 on `other`.
#
# </details>


# %%
def blind_adapter(x, other):
    """x [d_in], other [d_in], at right angles -> C [1, d_in]."""
    ### BEGIN SOLUTION
    return (x / (x @ x) + other / (other @ other))[None]
    ### END SOLUTION


# %%
check_5_3(blind_adapter)

# %% [markdown]
# ### Exercise 5.4 ★★ Choose a rank
#
# You want an unrelated input to move, typically (root mean square over `C`), at most `share` of what the training
# sample moves in the mean over `C`. Which rank do you need at least, when `C` is random as in (5.3)? Both inputs have
# length 1.
#
# <details><summary>Hint 1</summary>
#
# The noise in (5.3) is $1/\sqrt r$. Set it at most equal to the share.
#
# </details>
# <details><summary>Hint 2</summary>
#
# $r \ge 1/\text{share}^2$, and a rank is a whole number: `math.ceil` rounds up.
#
# </details>


# %%
def rank_needed(share):
    ### BEGIN SOLUTION
    return math.ceil(1 / share**2)
    ### END SOLUTION


# %%
check_5_4(rank_needed)
print("for a tenth:", rank_needed(0.1), " for a third:", rank_needed(1 / 3))

# %% [markdown]
# ## After the first step
#
# Now `B` is not 0 and `C` moves. Does the cosine law survive? Suppose training asks for one feature alone, so that
# every $g_s$ lies along $d_t$, $g_s = c_s d_t$. If `B` has only ever been a multiple of $d_t$ in each column, its
# gradient is that too:
#
# $$B = d_t\, b^\top \;\Rightarrow\; \frac{\partial L}{\partial B} = d_t \Big(\frac1n\sum_s c_s\, C x_s\Big)^{\!\top}
# \tag{5.4}$$
#
# `B` starts at 0, so it never leaves that form, whatever `C` does. Then $h$ moves along $d_t$ only, and the leakage
# ratio is $\langle d_j, d_t\rangle/|d_t|^2$, the cosine for directions of one length.
#
# **Predict before you run the next cell.** Thirty steps on one feature at a time, forty features in ten dimensions.
# What is the R² of leakage against the cosine for a LoRA trained by SGD? And by Adam? (**R²** is 1 minus the share of
# the variance that a line through 0 leaves unexplained: 1 when all points lie on it, below 0 when it does worse than
# the mean.)

# %%
by_sgd = 0.9  # your prediction
by_adam = 0.9  # your prediction
predict("5b", by_sgd, "R² of leakage against the cosine, LoRA by SGD, thirty steps")
predict("5c", by_adam, "R² of leakage against the cosine, LoRA by Adam, thirty steps")

# %%
apart = ~torch.eye(40, dtype=torch.bool)
found = {
    name: leakage_ratios(W, torch.zeros(40, dtype=torch.float64), 0.05, RULES[rule], "alone")[apart]
    for name, rule in (("SGD", "lora"), ("Adam", "lora, adam"))
}
expected = cosine(W, W)[apart]
reveal("5b", law(expected, found["SGD"]).r2)
reveal("5c", law(expected, found["Adam"]).r2)

# %%
with panels("Thirty steps on a LoRA: SGD keeps the cosine, Adam does not", 2) as axes:
    for ax, (name, values), colour, mark in zip(axes, found.items(), (BLUE, VERMILLION), "ox", strict=True):
        ax.plot(expected, values, mark, color=colour, mfc="none", ms=3, alpha=0.5)
        ax.axline((0, 0), slope=1, color=GREY, lw=0.8)
        ax.set(title=f"LoRA by {name}", xlim=(-1, 1), ylim=(-1.6, 1.6))
        ax.set(xlabel="cosine of the directions", ylabel="change of j per unit change of t")

# %% [markdown]
# **What this does not show.** A task that also keeps other features right: then the $g_s$ do not lie along one
# direction, (5.4) does not hold, and SGD's R² falls a little below 1. Nor how a language model's features lie.

# %% [markdown]
# ### Exercise 5.5 ★★★ Both gradients
#
# Write the gradients of `B` and of `C` at any `B` and `C`, for a loss that is a mean over samples with
# $g_s = \partial L_s / \partial h_s$. The next cell then trains with them.
#
# <details><summary>Hint 1</summary>
#
# `h = A x + B (C x)`. For `B` the input is `C x`; for `C` the gradient that arrives is $B^\top g$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Both are of the form (what arrives)ᵀ (what came in), summed over samples and divided by their number:
# `g.T @ (x @ C.T)` and `(g @ B).T @ x`.
#
# </details>


# %%
def lora_gradients(B, C, g, x):
    """B [d, rank], C [rank, d_in], g [sample, d], x [sample, d_in] -> gradients of B and of C, in their shapes."""
    ### BEGIN SOLUTION
    return g.T @ (x @ C.T) / len(x), (g @ B).T @ x / len(x)
    ### END SOLUTION


# %%
check_5_5(lora_gradients)
B, moving = torch.zeros(10, 4, dtype=torch.float64), C.clone()
for _ in range(30):  # "raise feature 0 by 1 on every sample"
    missing = x @ (B @ moving).T @ W[0] - 1
    of_b, of_c = lora_gradients(B, moving, missing[:, None] * W[0], x)
    B, moving = B - 0.05 * of_b, moving - 0.05 * of_c
change = W @ B @ moving @ probe.T
print(f"C has moved by {(moving - C).norm() / C.norm():.0%} of its length")
print("leakage ratios minus cosines, largest:", float((change[1:] / change[0] - cosines[:, None]).abs().max()))

# %% [markdown]
# ## What to take along
#
# - A LoRA changes which *inputs* feel a step, $\langle Cx, Cx'\rangle$. Which *features* leak is as under (E2).
# - A small rank makes inputs alike that are not, by about $1/\sqrt r$: it can spread a step, not only confine it.
# - Under SGD on one feature the cosine holds for ever. Under Adam it does not, with a LoRA or without: the next lesson.
#
# **Further reading.** Hu et al. 2021, [LoRA: Low-Rank Adaptation of Large Language
# Models](https://arxiv.org/abs/2106.09685). Johnson and Lindenstrauss 1984 is the root of (5.3). Turner, Soligo et al.
# 2025, [Model Organisms for Emergent Misalignment](https://arxiv.org/abs/2506.11613): a LoRA of rank one is enough.

# %%
predictions()
