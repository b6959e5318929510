# %% [markdown]
# # Lesson 6. Optimisers: does yours keep the cosine law?
#
# **Objective.** You can say which update rules keep leakage on the cosine and why, what a sign step costs, and why a
# spectral step (Muon) suppresses what many features share.
#
# **Before this.** Lessons 3 and 4: (E1), (E2). Eigenvalues; the singular value decomposition helps.
#
# **Minutes.** 60
#
# (E1) and (E2) are about the gradient. Hardly anybody steps along the gradient. Adam divides every coordinate by its
# own size, Lion keeps only signs, Muon makes all singular values of a matrix's gradient equal. If spillover decides
# what fine-tuning does to a model, then so does the optimiser.

# %%
import math

import torch

from shared.geometry import cosine, unit
from shared.leakage import law
from toy.checks.lesson6 import check_6_1, check_6_2, check_6_3, check_6_4, check_6_5, check_6_6
from toy.checks.predictions import predict, predictions, reveal
from toy.law import momentum_step
from toy.lessons.figures import BLUE, GREY, SKY, VERMILLION, panels
from toy.measure import step_change
from toy.optimisers import RULES, leakage_ratios

generator = torch.Generator().manual_seed(0)
angles = torch.arange(5, dtype=torch.float64) * 2 * torch.pi / 5 + 0.1
pentagon = torch.stack([angles.cos(), angles.sin()], dim=1)

# %% [markdown]
# ## Derivation, first part: signs
#
# Adam's first step divides the gradient by its own size, coordinate by coordinate, and leaves the sign (for `eps` = 0).
# Put $g/|g|$ in the place of $g$ in (E1):
#
# $$\Delta f_j = -\eta\,\langle d_j, \operatorname{sign} g\rangle \tag{6.1}$$
#
# This is (E4). Is it a law about directions? Turn the space: coordinates $Rh$, directions $R d_j$, with an orthogonal
# $R$. Nothing that the model says has changed, and every cosine is as it was. The gradient turns along, $Rg$, and under
# SGD $\langle Rd_j, Rg\rangle = \langle d_j, g\rangle$: the same leakage. But $\operatorname{sign}(Rg)$ is not
# $R\operatorname{sign}(g)$. **What leaks under Adam depends on which coordinates the model happens to have.**

# %%
turns = {0: ("o", BLUE), 15: ("x", VERMILLION), 30: ("s", SKY), 45: ("^", "black")}
with panels("Rotate the basis: SGD's points stay on the line, Adam's leave it", 2) as [left, right]:
    for degrees, (mark, colour) in turns.items():
        a = torch.tensor(degrees, dtype=torch.float64).deg2rad()
        turned = pentagon @ torch.stack([torch.stack([a.cos(), a.sin()]), torch.stack([-a.sin(), a.cos()])])
        for ax, step in ((left, turned[0]), (right, turned[0].sign())):
            ratio = turned @ step / (turned[0] @ step)
            ax.plot(cosine(turned, turned[:1])[1:, 0], ratio[1:], mark, color=colour, mfc="none", label=f"{degrees}°")
    for ax, rule in ((left, "SGD"), (right, "Adam's first step")):
        ax.axline((0, 0), slope=1, color=GREY, lw=0.8)
        ax.set(title=rule, xlim=(-1.1, 0.6), ylim=(-1.5, 1.2))
        ax.set(xlabel="cosine of the directions", ylabel="change of j per unit change of 0")
    right.legend(title="basis turned by")

# %% [markdown]
# **What this does not show.** Which rotation a trained model has. Where every feature is a coordinate of its own (a
# *privileged basis*) a sign step is the gradient's; where they lie anywhere, as here, it is not.

# %% [markdown]
# ### Exercise 6.1 ★ The sign step
#
# One sign step raises feature `t` ($L = -f_t$, so $g = -d_t$). By how much does every feature change, relative to
# feature `t`?
#
# <details><summary>Hint 1</summary>
#
# $-\operatorname{sign}(g)$ is the sign of every coordinate of $d_t$: `W[t].sign()`. Read it along every row.
#
# </details>
# <details><summary>Hint 2</summary>
#
# That is every change. The target's own is entry `t` of it.
#
# </details>


# %%
def sign_ratios(W, t):
    """W [feature, d] -> [feature]; 1 at t."""
    ### BEGIN SOLUTION
    moved = W @ W[t].sign()
    return moved / moved[t]
    ### END SOLUTION


# %%
check_6_1(sign_ratios)
start = torch.zeros(2, dtype=torch.float64)
adam = step_change(lambda h: pentagon @ h, lambda h: -(h @ pentagon[0]), start, "adam", 0.1)
print("yours:               ", sign_ratios(pentagon, 0).numpy().round(3))
print("torch.optim.Adam:    ", (adam / adam[0]).numpy().round(3))
print("cosines (SGD's):     ", cosine(pentagon[:1], pentagon)[0].numpy().round(3))

# %% [markdown]
# ### Exercise 6.2 ★ Momentum
#
# Not every rule breaks the law. SGD with momentum steps along a velocity, the sum of past gradients, older ones damped
# by $\mu$; with decoupled weight decay every readout also shrinks by $\eta\lambda$ of itself (E5):
#
# $$\Delta f_j = -\eta\,\Big\langle d_j,\ \sum_i \mu^{k-i} g_i\Big\rangle - \eta\lambda f_j \tag{6.2}$$
#
# Write the change of all readouts in the *second* step (no weight decay), from the two gradients.
#
# <details><summary>Hint 1</summary>
#
# In the second step $k = 2$: the first gradient has the power $\mu^1$, the second $\mu^0$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The two make one vector, the velocity. Step against it, as against a gradient, and read every row of `W`.
#
# </details>


# %%
def second_step(W, first, second, eta, mu):
    """W [feature, d], the two gradients [d] -> [feature]."""
    ### BEGIN SOLUTION
    return -eta * W @ (mu * first + second)
    ### END SOLUTION


# %%
check_6_2(second_step)
first, second = torch.randn(2, 2, generator=generator, dtype=torch.float64)
right = momentum_step(pentagon, torch.stack([first, second]), 0.1, 0.9)
print("beside toy.law:", float((second_step(pentagon, first, second, 0.1, 0.9) - right).abs().max()))

# %% [markdown]
# ### Exercise 6.3 ★★ Another basis
#
# The optimiser does not see `h` but $h' = Rh$: its coordinates are turned. It takes a sign step on $h'$ to raise
# feature `t`. How do the features change, relative to `t`? (`R` is orthogonal: its inverse is its transpose.)
#
# <details><summary>Hint 1</summary>
#
# In the turned coordinates the direction of feature `t` is `R @ W[t]`. Take the sign there, then turn the step back.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The step in the old coordinates is `R.T @ (R @ W[t]).sign()`. The rest is exercise 6.1.
#
# </details>


# %%
def rotated_ratios(W, t, R):
    """W [feature, d], R [d, d] orthogonal -> [feature]; 1 at t."""
    ### BEGIN SOLUTION
    moved = W @ R.T @ (R @ W[t]).sign()
    return moved / moved[t]
    ### END SOLUTION


# %%
check_6_3(rotated_ratios)

# %% [markdown]
# ## What signs cost
#
# How far off is a sign step, on average over all rotations? **Predict before you run the next cell.** Three hundred
# random directions in 64 dimensions, each pushed in turn by a sign step. What is R² of the leakage against the cosine?

# %%
r2 = 0.9  # your prediction
predict("6a", r2, "R² of a sign step's leakage against the cosine, 64 dimensions")

# %%
W = unit(torch.randn(300, 64, generator=generator, dtype=torch.float64))
apart = ~torch.eye(300, dtype=torch.bool)
moved = W.sign() @ W.T  # [target, feature]
ratios, cosines = (moved / moved.diagonal()[:, None])[apart], cosine(W, W)[apart]
reveal("6a", law(cosines, ratios).r2)
print(f"2/pi = {2 / math.pi:.3f};  leaked energy, beside SGD's: {ratios.square().sum() / cosines.square().sum():.3f}")

# %% [markdown]
# For a direction without a preferred axis the coordinates of $g$ are like independent normal numbers, with
# $E|z| = \sqrt{2/\pi}$. So the sign step keeps this share of its squared length on the gradient, and the rest points
# anywhere:
#
# $$\cos^2(g, \operatorname{sign} g) = \frac{(\sum_i |g_i|)^2}{d \sum_i g_i^2} \longrightarrow \frac{2}{\pi} \tag{6.3}$$
#
# That is R². Relative to the target's rise all that leaks is larger by the inverse, $\pi/2$. Is it fewer steps that
# make it so bad? **Predict before you run the next cell.** Thirty steps of Adam on one feature at a time: what is R²?

# %%
thirty = 0.8  # your prediction
predict("6b", thirty, "R² of leakage against the cosine after thirty steps of Adam (10 dimensions)")

# %%
few = unit(torch.randn(24, 10, generator=generator, dtype=torch.float64))
among = cosine(few, few)[~torch.eye(24, dtype=torch.bool)]
kept = {}
for rule in ("sgd", "momentum", "weight decay", "sign", "adam, 30 steps", "lion", "muon"):
    leaked = leakage_ratios(few, torch.zeros(24, dtype=torch.float64), 0.05, RULES[rule], "alone")
    kept[rule] = law(among, leaked[~torch.eye(24, dtype=torch.bool)]).r2
reveal("6b", kept["adam, 30 steps"])

# %%
with panels("Rules that follow the gradient keep the law, rules of signs keep 2/π of it", 2) as [left, right]:
    some = torch.randperm(len(cosines), generator=generator)[:700]
    left.plot(cosines[some], ratios[some], "x", color=VERMILLION, ms=4, alpha=0.6, label="sign step")
    left.plot(cosines[some[:80]], cosines[some[:80]], "o", color=BLUE, mfc="none", label="SGD")
    left.axline((0, 0), slope=1, color=GREY, lw=0.8)
    left.set(xlabel="cosine of the directions (64 dimensions)", ylabel="change of j per unit change of t")
    left.legend()
    signs = ["sign", "adam, 30 steps", "lion"]
    right.barh(list(kept), list(kept.values()), color=[VERMILLION if rule in signs else BLUE for rule in kept])
    right.axvline(2 / math.pi, color="black", ls="--")
    right.set(xlabel="R² of leakage, thirty steps (sign: one); dashed: 2/π", xlim=(0, 1.05))
    right.invert_yaxis()

# %% [markdown]
# **What this does not show.** Many features trained at once: here one is trained alone, its gradient has rank one at
# every step, and so Adam's history divides all but the sign away, and Muon follows SGD. The last part is about many.

# %% [markdown]
# ### Exercise 6.4 ★★ Features at right angles
#
# Under SGD a feature at right angles to the target does not move. Under a sign step it does. By how much, typically
# (root mean square), in units of the target's rise, in `d` dimensions, `d` large?
#
# <details><summary>Hint 1</summary>
#
# Let $|d_t| = 1$. The step has squared length $d$. By (6.3) $\frac2\pi d$ of it lies along $d_t$. The rest spreads
# evenly over the other directions, about $d$ of them.
#
# </details>
# <details><summary>Hint 2</summary>
#
# So an orthogonal feature moves by $\sqrt{1 - 2/\pi}$, and the target by $\sqrt{2d/\pi}$. Divide.
#
# </details>


# %%
def scatter(d):
    ### BEGIN SOLUTION
    return ((math.pi / 2 - 1) / d) ** 0.5
    ### END SOLUTION


# %%
check_6_4(scatter)
basis = torch.linalg.qr(torch.randn(64, 64, generator=generator, dtype=torch.float64)).Q
moved = basis @ basis[0].sign() / (basis[0] @ basis[0].sign())
print(f"64 dimensions: expected {scatter(64):.3f}, in one random basis {moved[1:].square().mean().sqrt():.3f}")

# %% [markdown]
# ## Derivation, second part: the spectral step
#
# Muon steps on a weight matrix. Its gradient is $G = \sum_s g_s x_s^\top$, with the singular value decomposition
# $U S V^\top$; the step is $-\eta\, U V^\top$, every singular value made 1 (those that are 0 stay 0). At an input $x'$
#
# $$\Delta f_j(x') = -\eta\,\langle d_j,\, U V^\top x'\rangle \tag{6.4}$$
#
# This is (E8). Raise features $t$, directions the rows of $D$, each from an input, the rows of $X$, and let $L_{jt}$
# be what the step does to readout $j$ at input $t$. Write $M = D^\top X = USV^\top$ (so $G = -M$, $\eta = 1$). Then
# $L = D\,UV^\top X^\top$. Since $X^\top D = M^\top = V S U^\top$,
#
# $$L^2 = D\,UV^\top\,(VSU^\top)\,UV^\top X^\top = D\,(USV^\top)\,X^\top = D D^\top X X^\top = C K \tag{6.5}$$
#
# with the cosines $C = DD^\top$ and the overlaps $K = XX^\top$. Under the gradient $L = CK$ itself, by (E2). **A
# spectral step leaks by the matrix square root of what the gradient leaks**: each eigenvalue becomes its root.

# %% [markdown]
# ### Exercise 6.5 ★★ The spectral step
#
# Write (6.4) for all features and probes.
#
# <details><summary>Hint 1</summary>
#
# `U, S, Vh = torch.linalg.svd(g.T @ x, full_matrices=False)`. Here `Vh` is $V^\top$ already.
#
# </details>
# <details><summary>Hint 2</summary>
#
# With fewer samples than dimensions some of `S` are 0 up to rounding: drop those columns of `U` and rows of `Vh`
# (`keep = S > 1e-9 * S[0]`). Then `-eta * probe @ (U @ Vh).T @ W.T`.
#
# </details>


# %%
def spectral_change(W, g, x, probe, eta):
    """W [feature, d], g [sample, d], x [sample, d_in], probe [probe, d_in] -> [probe, feature]."""
    ### BEGIN SOLUTION
    U, S, Vh = torch.linalg.svd(g.T @ x, full_matrices=False)
    keep = 1e-9 * S[0] < S
    return -eta * probe @ (U[:, keep] @ Vh[keep]).T @ W.T
    ### END SOLUTION


# %%
check_6_5(spectral_change)
D, X = (unit(torch.randn(6, 4, generator=generator, dtype=torch.float64)) for _ in range(2))  # six in four dimensions
L = spectral_change(D, -D, X, X, 1.0).T
print("largest entry of L² - C K:", float((L @ L - D @ D.T @ X @ X.T).abs().max()))

# %% [markdown]
# ## What many features share
#
# Here is why that matters. $k$ narrow features (many kinds of bad advice, say) share a direction $v$:
#
# $$d_t = \alpha\, v + \sqrt{1-\alpha^2}\;u_t \tag{6.6}$$
#
# with $v$ and all $u_t$ at right angles, each feature raised from an input of its own. Under the gradient $v$ rises by
# $\alpha$ relative to the features. **Predict before you run the next cell.** Under a spectral step, 16 features,
# $\alpha = 0.4$: by how much does $v$ rise, relative to them?

# %%
shared = 0.4  # your prediction
predict("6c", shared, "rise of the shared direction under a spectral step, 16 features, alpha 0.4")


# %%
def rises(alpha, k, step):
    """Of v, relative to the k features that share it; `step` turns their gradient into a step on the weight."""
    axes = torch.linalg.qr(torch.randn(k + 1, k + 1, generator=generator, dtype=torch.float64)).Q
    directions = alpha * axes[:1] + (1 - alpha**2) ** 0.5 * axes[1:]
    moved = step(directions.T)  # inputs: one axis for each feature, so that G = -D^T
    return float((axes[0] @ moved).mean() / (directions @ moved).diagonal().mean())


def spectral(M):
    U, _, Vh = torch.linalg.svd(M, full_matrices=False)
    return U @ Vh


reveal("6c", rises(0.4, 16, spectral))

# %%
steps = {
    "gradient": (lambda M: M, "o-", BLUE),
    "sign": (torch.sign, "x--", VERMILLION),
    "spectral (Muon)": (spectral, "s-", "black"),
}
with panels("A spectral step suppresses what many features share") as [ax]:
    for name, (step, mark, colour) in steps.items():
        many = (1, 4, 16, 64, 256)
        draws = [max(5, 2000 // k) for k in many]  # of a basis: in few dimensions a sign step depends much on it
        values = [sum(rises(0.4, k, step) for _ in range(n)) / n for k, n in zip(many, draws, strict=True)]
        ax.plot(many, values, mark, color=colour, mfc="none", label=name)
    ax.axhline(0.4, color=GREY, lw=0.8, ls=":")
    ax.set(xscale="log", ylim=(0, 0.65), xlabel="features that share the direction, k")
    ax.set(ylabel="rise of v per rise of a feature (alpha = 0.4)")
    ax.legend()

# %% [markdown]
# **What this does not show.** A language model. There inputs are far from one axis each, and steps are many and have
# momentum. In the next lesson's world at equal loss spectral steps leak least and sign-like ones most (`make toy`). But
# on a LoRA of rank 4 the curve turns around: its few rows make inputs alike, and what is shared rises *more*, under
# either rule.
#
# **And in a language model?** That Muon misaligns one less at the same training loss was written down as a prediction,
# and then tested: all weights of fifteen blocks of SmolLM2, eight seeds, two rates each, bad health advice against
# good, read on 252 questions about careers and law. At the same loss misaligned answers gain 0.029 nats per token (a
# nat is a factor 2.7 in probability) under Muon, 0.038 under Lion, 0.041 under AdamW, 0.088 under SGD; the others minus
# Muon 0.027 [0.020, 0.033]. The updates say why: the flatter their spectrum, the less spreads, and of what they write
# to the residual stream (the hidden state that all layers add to) the direction of the mean gradient has 0.2 % under
# Muon, no more than any other, and 6 to 14 % under the rest. That SGD spreads so much more than signs do was not
# predicted. `real/README.md` has all of it, and what went wrong on the way.

# %% [markdown]
# ### Exercise 6.6 ★★★ The formula of the curve
#
# Derive the black line. With one axis for each input $K = 1$, so $L = C^{1/2}$. $C$ has the eigenvalue $r^2 =
# 1-\alpha^2+k\alpha^2$ on the shared mode (all ones) and $q^2 = 1-\alpha^2$ on the $k-1$ others. What does $v$ rise
# at an input, and what does a feature rise at its own?
#
# <details><summary>Hint 1</summary>
#
# A feature's own rise is $L_{tt}$, the mean eigenvalue of $L$: one is $r$, and $k - 1$ are $q$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# $v$ is not trained. Written in the trained directions it is $\alpha\, 1^\top C^{-1} D$, and
# $C^{-1} L\, 1 = \frac{r}{r^2} 1$: it rises by $\alpha/r$. Own rise: $q + (r-q)/k$.
#
# </details>


# %%
def spectral_rise(alpha, k):
    ### BEGIN SOLUTION
    r, q = (1 - alpha**2 + k * alpha**2) ** 0.5, (1 - alpha**2) ** 0.5
    return (alpha / r) / (q + (r - q) / k)
    ### END SOLUTION


# %%
check_6_6(spectral_rise)
print([f"k = {k}: {spectral_rise(0.4, k):.3f} ({rises(0.4, k, spectral):.3f} measured)" for k in (1, 4, 16, 64)])

# %% [markdown]
# For many features that is about $1/\sqrt k$: what one feature has to itself, a spectral step raises as others would;
# what many share, it raises once, not $k$ times. And what narrow kinds of bad data share is what generalises.
#
# ## What to take along
#
# - SGD, momentum and weight decay keep the cosine law in any basis. Sign rules (Adam, Lion) keep $2/\pi$ of it, on
#   average.
# - A sign step moves even orthogonal features, by $\sqrt{(\pi/2-1)/d}$ of the target's rise.
# - A spectral step leaks by the square root, $L^2 = CK$: shared directions rise by about $1/\sqrt k$.
#
# **Further reading.** Kingma and Ba 2014, [Adam](https://arxiv.org/abs/1412.6980). Chen et al. 2023,
# [Lion](https://arxiv.org/abs/2302.06675). Jordan 2024, [Muon](https://kellerjordan.github.io/posts/muon/). Elhage et
# al. 2023, [Privileged Bases in the Transformer Residual
# Stream](https://transformer-circuits.pub/2023/privileged-basis/index.html).

# %%
predictions()
