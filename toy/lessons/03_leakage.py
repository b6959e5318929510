# %% [markdown]
# # Lesson 3. Leakage: push one feature, and which others move?
#
# **Objective.** You can derive what one gradient step on a hidden state does to every readout, say which part of the
# result is an identity and which is a finding, and construct steps that spare what you want to keep.
#
# **Before this.** Lessons 1 and 2. What a gradient step is.
#
# **Minutes.** 25
#
# Fine-tuning pushes a model towards saying more of something. If features share space, a push along one direction has
# a part along others. Those others were in nobody's training data. This lesson says by how much they move.

# %%
import torch

from shared.geometry import cosine, unit
from toy.checks.lesson3 import check_3_1, check_3_2, check_3_3, check_3_4, check_3_5
from toy.checks.predictions import predict, predictions, reveal
from toy.lessons.figures import BLUE, GREY, VERMILLION, arrows, panels
from toy.measure import step_change
from toy.model import ToySettings, best, fresh_loss, train

settings = ToySettings()  # five features in two dimensions, as in lesson 2
toy = train(settings)
W = best(toy, settings).double()
b = toy.b_final[fresh_loss(toy, settings).argmin()].double()
order = W[:, 1].atan2(W[:, 0]).argsort()  # around the circle, so that neighbours have neighbouring numbers
W, b = W[order], b[order]

# %% [markdown]
# ## Derivation: one step on a hidden state
#
# A loss $L$ has the gradient $g = \partial L/\partial h$, and a step of size $\eta$ moves $h$ to $h - \eta g$. The
# readout $f_j = \langle d_j, h\rangle$ is linear in $h$, so that its change is
#
# $$\Delta f_j = \langle d_j, h - \eta g\rangle - \langle d_j, h\rangle = -\eta\, \langle d_j, g \rangle \tag{3.1}$$
#
# This is (E1) of the project. It is **exact, for any step size, because the readout is linear**: an identity, not a
# finding. What can fail on a real model is everything around it: that a behaviour is such a readout, that we know its
# direction, that the optimiser follows $g$ (lesson 6).
#
# "Say more of feature $t$" is the loss $L = -f_t$, whose gradient is $g = -d_t$. Put it into (3.1), for $j$ and for
# $t$:
#
# $$\Delta f_j = \eta\, \langle d_j, d_t\rangle, \qquad
# \frac{\Delta f_j}{\Delta f_t} = \cos(d_j, d_t)\, \frac{|d_j|}{|d_t|} \tag{3.2}$$
#
# The second is the **leakage ratio**: what feature $j$ gets for each unit that feature $t$ was meant to get. It is
# the cosine only if the two directions are equally long.

# %%
with panels("The trained five: whatever pushes feature 0 has a part along the others") as [ax]:
    arrows(ax, W)

# %% [markdown]
# **What this does not show.** What the model does with the push: its output passes through a bias and a ReLU, which
# exercise 3.3 is about.

# %% [markdown]
# **Predict before you run the next cell.** One real step of `torch.optim.SGD` on $h$ raises feature 0. For each unit
# that feature 0 rises, by how much do its neighbour (feature 1) and the feature two steps away (feature 2) change? A
# sign counts.

# %%
near = 0.0  # your prediction
far = -0.3  # your prediction
predict("3a", near, "change of the neighbour per unit of feature 0")
predict("3b", far, "change of the feature two steps away per unit of feature 0")

# %%
eta, h = 0.1, torch.zeros(2, dtype=torch.float64)
measured = step_change(
    lambda h: h @ W.T, lambda h: -(h @ W[0]), h, "sgd", eta
)  # readouts after a real step, less before
reveal("3a", measured[1] / measured[0])
reveal("3b", measured[2] / measured[0])
print("cosines to feature 0:    ", cosine(W[:1], W)[0].numpy().round(4))
print("measured leakage ratios: ", (measured / measured[0]).numpy().round(4))

# %% [markdown]
# Look at the last digits: ratios are not quite cosines. Exercise 3.2 finds out why.

# %% [markdown]
# ### Exercise 3.1 ★ Predict the step
#
# Write the change of every readout after one step of size `eta` along $L = -f_t$.
#
# <details><summary>Hint 1</summary>
#
# Find $g$ first, then put it into (3.1). Two minus signs meet.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `W @ W[t]` holds $\langle d_j, d_t\rangle$ for every $j$.
#
# </details>


# %%
def changes(W, t, eta):
    """W [feature, d], the target's number, the step size -> change of f [feature]."""
    ### BEGIN SOLUTION
    return eta * (W @ W[t])
    ### END SOLUTION


# %%
check_3_1(changes)
print("largest error against the real step:", (changes(W, 0, eta) - measured).abs().max().item())

# %% [markdown]
# The error is that of floating-point numbers. No wonder: it is an identity. It would be a wonder if it were not so
# small.

# %% [markdown]
# ### Exercise 3.2 ★ The length factor
#
# Write the leakage ratios $\Delta f_j / \Delta f_t$ for directions of any length.
#
# <details><summary>Hint 1</summary>
#
# They are in (3.2). `cosine(W, W[t : t + 1])[:, 0]` has the cosines, `W.norm(dim=1)` the lengths.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Or divide what you have from 3.1 by its own entry `t`.
#
# </details>


# %%
def leakage_ratios(W, t):
    """W [feature, d], the target's number -> ratio [feature]; 1 for the target itself."""
    ### BEGIN SOLUTION
    return W @ W[t] / (W[t] @ W[t])
    ### END SOLUTION


# %%
check_3_2(leakage_ratios)
print("ratios less measured ones:", (leakage_ratios(W, 0) - measured / measured[0]).abs().max().item())

# %% [markdown]
# ## What the ReLU hides
#
# The trained model does not say $f_j$. It says
#
# $$y_j = \mathrm{relu}(f_j + b_j) \tag{3.3}$$
#
# with a bias below 0, so that small interference is not said. Among forty features in ten dimensions (next figure) a
# feature that is off nearly always says 0. Among our five it does not: when feature 0 is on, its neighbours stand at
# 0.40 − 0.25 = 0.15.

# %%
crowd = ToySettings(n_instances=1, n_features=40, d_hidden=10, seed=1)
many = train(crowd)
V, c = many.W[0].double(), many.b_final[0].double()
points = []
for t in range(40):  # each feature in turn is on, and pushed up by a fifth
    start, push = V[t], 0.2 * V[t] / (V[t] @ V[t])
    read = V @ push
    said = torch.relu(V @ (start + push) + c) - torch.relu(V @ start + c)
    others = torch.arange(40) != t
    points.append(torch.stack([cosine(V, V[t : t + 1])[:, 0], read / read[t], said / said[t]])[:, others])
cosines, read, said = torch.cat(points, dim=1)
for name, X, bias in (("five in two", W, b), ("forty in ten", V, c)):
    at = X @ X.T + bias  # row: the one that is on; column: the one that speaks
    speaks = (at > 0)[~torch.eye(len(X), dtype=torch.bool)].double().mean()
    print(f"{name}: one is on, and of the others {speaks:.1%} say more than 0")
with panels("Readouts leak by the cosine; most of it stays below the ReLU and is not said", 2) as axes:
    for ax, ratio, what, style in zip(axes, (read, said), ("readout f", "output y"), ("o", "x"), strict=True):
        ax.scatter(cosines, ratio, s=9, marker=style, color=BLUE if style == "o" else VERMILLION, linewidths=0.7)
        ax.axline((0, 0), slope=1, color=GREY, lw=0.8)
        ax.set(xlabel="cosine of feature j and the pushed feature t", ylim=(-0.7, 0.4))
        ax.set_ylabel(f"change of {what}, per unit of t's")

# %% [markdown]
# **What this does not show.** That hidden leakage is harmless. It is still in the hidden state: a second feature, a
# different bias or one more push can bring it above the ReLU.

# %% [markdown]
# ### Exercise 3.3 ★★ What is said
#
# Write the change of every *output* (3.3) when the hidden state `h` takes the step of 3.1. It is not the change of
# the readouts.
#
# <details><summary>Hint 1</summary>
#
# Compute the outputs twice, before the step and after it.
#
# </details>
# <details><summary>Hint 2</summary>
#
# After the step the hidden state is `h + eta * W[t]`. The bias goes inside of the ReLU, both times.
#
# </details>


# %%
def output_changes(W, b, h, t, eta):
    """W [feature, d], b [feature], h [d], the target's number, the step size -> change of y [feature]."""
    ### BEGIN SOLUTION
    return torch.relu(W @ (h + eta * W[t]) + b) - torch.relu(W @ h + b)
    ### END SOLUTION


# %%
check_3_3(output_changes)
print("feature 0 is on and pushed:", output_changes(W, b, W[0], 0, 0.1).numpy().round(3))

# %% [markdown]
# ## Steps that spare
#
# By (3.1) a step leaves feature $k$ alone exactly when $g$ is at right angles to $d_k$.

# %% [markdown]
# ### Exercise 3.4 ★★ Spare one
#
# Find a gradient `g` whose step raises feature `t` and leaves feature `k` where it is: the part of the plain gradient
# that is at right angles to $d_k$. Lengths need not be 1.
#
# <details><summary>Hint 1</summary>
#
# The part of a vector $v$ along $d_k$ is $\frac{\langle v, d_k\rangle}{|d_k|^2}\, d_k$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Start from $v = -d_t$ and subtract that part.
#
# </details>


# %%
def sparing_gradient(W, t, k):
    """W [feature, d], the target's and the spared feature's number -> g [d]."""
    ### BEGIN SOLUTION
    return -(W[t] - (W[t] @ W[k]) / (W[k] @ W[k]) * W[k])
    ### END SOLUTION


# %%
check_3_4(sparing_gradient)
print("plain step:            ", (W @ W[0]).numpy().round(2))
print("step that spares 1:    ", (-W @ sparing_gradient(W, 0, 1)).numpy().round(2))

# %% [markdown]
# Feature 1 is spared. Look at feature 4: what is kept off one neighbour lands elsewhere. In two dimensions there is
# only one direction at right angles to $d_1$, and no room to be choosy.

# %% [markdown]
# ### Exercise 3.5 ★★★ The step that leaks least
#
# Find the change $\delta$ of the hidden state that raises feature `t` by exactly 1 and makes $\sum_{j \ne t} (\Delta
# f_j)^2$ as small as it can be. `W` has more rows than columns.
#
# <details><summary>Hint 1</summary>
#
# With $M = \sum_{j\ne t} d_j d_j^\top$ the sum is $\delta^\top M \delta$, to be made small while $\langle d_t,
# \delta\rangle = 1$. A Lagrange multiplier says that $M\delta$ is a multiple of $d_t$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# So $\delta$ is a multiple of $M^{-1} d_t$; choose the multiple so that feature `t` rises by 1.
# `torch.linalg.solve(M, W[t])`.
#
# </details>


# %%
def least_leaking_step(W, t):
    """W [feature, d], the target's number -> delta [d]."""
    ### BEGIN SOLUTION
    others = torch.cat([W[:t], W[t + 1 :]])
    step = torch.linalg.solve(others.T @ others, W[t])
    return step / (W[t] @ step)
    ### END SOLUTION


# %%
check_3_5(least_leaking_step)


def leaked(W, step, t):
    return (W @ step).square().sum() - (W[t] @ step) ** 2


scattered = unit(torch.randn(40, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
for name, X in (("five in two", W), ("forty in ten", V), ("forty random in ten", scattered)):
    plain = sum(leaked(X, X[t] / (X[t] @ X[t]), t) for t in range(len(X)))
    least = sum(leaked(X, least_leaking_step(X, t), t) for t in range(len(X)))
    print(f"{name}: the best steps leak {least / plain:.0%} of what plain steps leak")

# %% [markdown]
# Where training has spread features evenly the plain gradient step is already the one that leaks least. Where they lie
# at random, a cleverer step saves a fifth; the rest is the price of lesson 1, paid in another coin.
#
# ## What to take along
#
# - One SGD step on a hidden state moves readout $j$ by the cosine times a ratio of lengths. That is exact because it
#   is linear.
# - A ReLU hides most of it from the output, above all what is negative. Hidden is not gone.
# - One feature can be spared, at the cost of others; with an even arrangement nothing is to be gained overall.
#
# **Further reading.** Minegishi et al. 2026, *Understanding Emergent Misalignment via Feature Superposition
# Geometry*, [arXiv 2605.00842](https://arxiv.org/abs/2605.00842), the paper this course is built on. Park et al.
# 2023, [The Linear Representation Hypothesis](https://arxiv.org/abs/2311.03658), on which inner product is the right
# one.

# %%
predictions()
