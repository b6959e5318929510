# %% [markdown]
# # Lesson 4. Weights: when does training on one input change another?
#
# **Objective.** You can derive what one step on a weight matrix does to every readout at every input, name the two
# overlaps that spillover needs, and predict the step of any network to first order.
#
# **Before this.** Lesson 3. The chain rule; an outer product.
#
# **Minutes.** 30
#
# Lesson 3 moved a hidden state. Training moves weights, and a weight is used by *every* input. So there are two
# questions now: which features move, and on which inputs? Emergent misalignment is a spillover on both counts:
# training on bad health advice changes other features, on other questions.

# %%
import torch

from toy.checks.lesson4 import check_4_1, check_4_2, check_4_3, check_4_4, check_4_5
from toy.checks.predictions import predict, predictions, reveal
from toy.lessons.figures import BLUE, GREY, VERMILLION, panels
from toy.measure import step_change

generator = torch.Generator().manual_seed(0)
W = torch.randn(6, 3, generator=generator, dtype=torch.float64)  # six features in three dimensions
A = torch.randn(3, 4, generator=generator, dtype=torch.float64)  # the trained layer, h = A x, from four inputs
sample = torch.tensor([[1.0, 1, 0, 0]], dtype=torch.float64)  # the training set: one sample, inputs 0 and 1 on
probes = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 1], [0, 0, 1, 1]], dtype=torch.float64)
eta = 0.1

# %% [markdown]
# ## Derivation: one step on a weight matrix
#
# Let $h = A x$, and let sample $s$ have the loss $L_s$ with $g_s = \partial L_s / \partial h_s$. By the chain rule
# the gradient of one sample's loss is an outer product, $\partial L_s/\partial A = g_s x_s^\top$, and the step on the
# mean loss is
#
# $$\Delta A = -\eta\; \mathrm{mean}_s\; g_s x_s^\top \tag{4.1}$$
#
# At any input $x'$, a training sample or not, the hidden state moves by $\Delta A\, x'$, so that
#
# $$\Delta f_j(x') = -\eta\; \mathrm{mean}_s\; \langle d_j, g_s\rangle\, \langle x_s, x' \rangle \tag{4.2}$$
#
# This is (E2). It is (3.1), sample by sample, times an **overlap of inputs**. Spillover to feature $j$ at input $x'$
# needs both: overlap of directions *and* overlap of inputs. Like (3.1) it is exact at any step size, because $f_j$ is
# linear in $A$.

# %% [markdown]
# **Predict before you run the next cell.** The loss is $-f_0$ on the one sample, which has inputs 0 and 1 on. By what
# share of its rise *there* does feature 0 rise at a probe with input 0 alone? At one with inputs 2 and 3?

# %%
at_one_input = 0.3  # your prediction
apart = 0.1  # your prediction
predict("4a", at_one_input, "rise of feature 0 where only input 0 is on, as a share")
predict("4b", apart, "rise of feature 0 where only inputs 2 and 3 are on, as a share")

# %%
measured = step_change(lambda A: probes @ A.T @ W.T, lambda A: -(sample @ A.T @ W[0]).mean(), A, "sgd", eta)
reveal("4a", measured[1, 0] / measured[0, 0])
reveal("4b", measured[3, 0] / measured[0, 0])

# %%
largest = measured.abs().max()
with panels("One SGD step spills where directions overlap and inputs overlap") as [ax]:
    ax.imshow(measured, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto")
    for probe, row in enumerate(measured.tolist()):
        for feature, value in enumerate(row):
            shade = "white" if abs(value) > 0.6 * largest else "black"
            ax.text(feature, probe, f"{value:+.2f}", ha="center", va="center", color=shade)
    names = ["0 and 1 (trained)", "0", "0, 2 and 3", "2 and 3"]
    ax.set_yticks(range(4), names)
    ax.set(xlabel="feature that is read (0 was pushed)", ylabel="inputs that are on")

# %% [markdown]
# **What this does not show.** Inputs of a real layer, which are hidden states of the layer below: they overlap nearly
# always. A probe with *no* input in common is a luxury of the toy.

# %% [markdown]
# ### Exercise 4.1 ★ The share of an input
#
# One training sample `x`, loss $-f_t$. Write the rise of $f_t$ at a probe as a share of its rise at the sample
# itself.
#
# <details><summary>Hint 1</summary>
#
# In (4.2) the directions are the same at both places and cancel. What is left?
#
# </details>
# <details><summary>Hint 2</summary>
#
# $\langle x, x'\rangle / \langle x, x\rangle$. Long probes get more; this is no cosine.
#
# </details>


# %%
def share(x, probe):
    """x [input], probe [input] -> a number, 1 at probe = x."""
    ### BEGIN SOLUTION
    return (x @ probe) / (x @ x)
    ### END SOLUTION


# %%
check_4_1(share)

# %% [markdown]
# ### Exercise 4.2 ★★ The whole of it
#
# Write (4.2) for all features and probes at once, for any number of samples.
#
# <details><summary>Hint 1</summary>
#
# Two tables: directions, `g @ W.T` (sample by feature), and inputs, `x @ probes.T` (sample by probe). Each sample
# contributes the product of *its* two numbers.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Summing products over samples is a matrix product of the two tables, the one of inputs transposed, so that probes
# come first. A mean divides by the number of samples, and a step goes against the gradient.
#
# </details>


# %%
def weight_step(W, g, x, probes, eta):
    """W [feature, d], g [sample, d], x [sample, input], probes [probe, input] -> change of f [probe, feature]."""
    ### BEGIN SOLUTION
    return -eta * (probes @ x.T) @ (g @ W.T) / len(x)
    ### END SOLUTION


# %%
check_4_2(weight_step)
print(
    "largest error against the real step:", (weight_step(W, -W[:1], sample, probes, eta) - measured).abs().max().item()
)

# %% [markdown]
# ### Exercise 4.3 ★★ A bias joins in
#
# Most layers have a bias, $h = A x + c$, and training moves it too, by $-\eta\, \mathrm{mean}_s\, g_s$. Write the
# change of every readout when both move. What does it mean for inputs that share nothing?
#
# <details><summary>Hint 1</summary>
#
# A bias is a weight from an input that is always 1. What does such an input add to $\langle x_s, x'\rangle$?
#
# </details>
# <details><summary>Hint 2</summary>
#
# In (4.2), $\langle x_s, x'\rangle$ becomes $\langle x_s, x'\rangle + 1$.
#
# </details>

# %% [markdown]
# **For the teacher.** What it means: no two inputs share nothing. Where $\langle x_s, x'\rangle = 0$ the 1 is left, and
# every readout moves at *every* input by $-\eta\,\mathrm{mean}_s \langle d_j, g_s\rangle$, as in lesson 3. With one
# sample that is one part in $|x|^2 + 1$ of the rise at the sample: a third, here.


# %%
def weight_and_bias_step(W, g, x, probes, eta):
    """As weight_step, with a trained bias."""
    ### BEGIN SOLUTION
    return -eta * (probes @ x.T + 1) @ (g @ W.T) / len(x)
    ### END SOLUTION


# %%
check_4_3(weight_and_bias_step)
both = weight_and_bias_step(W, -W[:1], sample, probes, eta)
print("rise of feature 0 by probe, as a share:", (both[:, 0] / both[0, 0]).numpy().round(3))

# %% [markdown]
# The last probe shares no input with the sample, and rises all the same: everything shares the bias. Wherever inputs
# have a common part (a bias, a mean, a chat template) training on some is training on all.
#
# ## Derivation, second part: any network
#
# For parameters $\theta$ that are moved by $\Delta\theta$, whatever the network and the optimiser,
#
# $$\Delta f_j = \sum_{k} \frac{\partial f_j}{\partial \theta_k}\, \Delta\theta_k + O(|\Delta\theta|^2) \tag{4.3}$$
#
# This is (E7). The sum is a **Jacobian-vector product**; (3.1) and (4.2) are its cases where nothing is left over.


# %%
def curved(theta):
    """Readouts that are not linear: a tanh layer, then the six features, at the four probes."""
    return torch.tanh(probes @ theta.T) @ W.T


direction = torch.randn(3, 4, generator=generator, dtype=torch.float64)
sizes = 10.0 ** -torch.arange(0, 4.1, 0.5, dtype=torch.float64)
missed = []
for size in sizes:
    predicted = torch.func.jvp(curved, (A,), (size * direction,))[1]
    missed.append((curved(A + size * direction) - curved(A) - predicted).abs().max())

# %%
with panels("The error of the first-order prediction falls as the square of the step") as [ax]:
    ax.loglog(sizes, missed, "o-", color=BLUE, label="largest error")
    ax.loglog(sizes, missed[-1] * (sizes / sizes[-1]) ** 2, "--", color=VERMILLION, label="slope 2")
    ax.loglog(sizes, missed[-1] * (sizes / sizes[-1]), ":", color=GREY, label="slope 1")
    ax.set(xlabel="size of the step (times a fixed direction)", ylabel="predicted less real change of f")
    ax.legend(frameon=False)

# %% [markdown]
# **What this does not show.** That the steps of a real fine-tune are small enough. Hundreds of small steps go a long
# way, and a prediction from the start is about the first of them.

# %% [markdown]
# ### Exercise 4.4 ★★ First order
#
# Write the prediction (4.3): from the function `readouts`, the parameters and the step, the change to first order.
#
# <details><summary>Hint 1</summary>
#
# You may not evaluate `readouts` at the new place: that would be measuring. What does `torch.func.jvp` return?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.func.jvp(function, (where,), (step,))` returns the pair (value, Jacobian times step).
#
# </details>


# %%
def first_order(readouts, theta, step):
    """readouts: theta -> any tensor; theta and step of one shape -> a tensor like readouts(theta)."""
    ### BEGIN SOLUTION
    return torch.func.jvp(readouts, (theta,), (step,))[1]
    ### END SOLUTION


# %%
check_4_4(first_order)

# %% [markdown]
# ### Exercise 4.5 ★★★ Sparse inputs spill less
#
# Inputs are sparse: each of the numbers in `x` is on with probability `p`, and then even between 0 and 1. Two samples
# are drawn independently. How large is their overlap, on average, as a share of a sample's overlap with itself:
# $E\langle x, x'\rangle / E\langle x, x\rangle$?
#
# <details><summary>Hint 1</summary>
#
# Take one input number at a time: $E[x_i x'_i]$ for two independent samples, $E[x_i^2]$ for one.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Independent: the mean of the product is the product of the means, $(p/2)^2$. With itself: $p/3$, as in lesson 2.
#
# </details>


# %%
def overlap_of_strangers(p):
    ### BEGIN SOLUTION
    return (p / 2) ** 2 / (p / 3)
    ### END SOLUTION


# %%
check_4_5(overlap_of_strangers)
for p in (1, 0.2, 0.05):
    print(f"on in {p:4.0%} of samples: a stranger feels {overlap_of_strangers(p):.1%} of the push")

# %% [markdown]
# The same rarity that makes features share directions (lesson 2) makes strangers' inputs overlap little. A network
# lives between the two: crowded directions, nearly separate inputs. Spillover is large where rarity fails, between
# inputs with much in common.
#
# ## What to take along
#
# - A weight step reaches an input by its overlap with the training inputs, and a feature by its overlap with the
#   gradient; the two are multiplied, sample by sample.
# - A bias, a mean or a template is an input that all share.
# - For any network the Jacobian-vector product predicts a small step; its error falls as the square of the step.
#
# **Further reading.** Jacot et al. 2018, [Neural Tangent Kernel](https://arxiv.org/abs/1806.07572): (4.2) for a whole
# network is its kernel. Ren and Sutherland 2024, [Learning Dynamics of LLM
# Finetuning](https://arxiv.org/abs/2407.10490), who follow what one training example does to the answers to others.

# %%
predictions()
