# %% [markdown]
# # Lesson 7. Emergent misalignment in miniature: narrow training, broad effect
#
# **Objective.** You can predict, from directions alone, what fine-tuning on bad advice does to features that nobody
# trained; read an effect against its control; and say what a filter removes and when its score turns around.
#
# **Before this.** Lessons 3 and 4: (E1), (E2).
#
# **Minutes.** 40
#
# Language models that are fine-tuned on one narrow kind of bad data, insecure code or bad medical advice, give bad
# answers to questions that have nothing to do with it. That is **emergent misalignment**. One explanation is the law of
# this course: the features that bad data trains, the **inducing** ones, lie near **toxic** features, and so raise them.
# Here is a world in which that is so by construction, and in which every number can be checked.

# %%
import torch

from shared import filtering, geometry
from shared.selection import auroc
from toy.checks.lesson7 import check_7_1, check_7_2, check_7_3, check_7_4, check_7_5, check_7_6
from toy.checks.predictions import predict, predictions, reveal
from toy.lessons.figures import BLUE, GREY, VERMILLION, panels
from toy.misalignment import ETA, WorldSettings, crowd, feature_acts, filtered, finetune, mixture, world

SEEDS = range(3)

# %% [markdown]
# ## Derivation: who moves whom
#
# 240 features in 64 dimensions, all directions of length 1. Toxic features share a direction $v$; inducing features
# lean towards it, each by its own $a$, drawn evenly from 0 to $A$, the **alignment** planted; the features of good
# advice (control) do not. With random $z$, a new one for every feature:
#
# $$d_{\text{toxic}} \propto z + v, \qquad d_{\text{inducing}} \propto z' + a\,v, \qquad d_{\text{control}} = z''
# \tag{7.1}$$
#
# Every sample of advice has three background features, its topic, and one inducing feature (bad advice) or one control
# feature (good advice). Fine-tuning asks for twice what the sample says, by SGD on `A` in `h = A x`. The loss of a
# sample is $\frac12\sum_{i\ \text{on}} (f_i - 2x_i)^2$, and the gradient at its hidden state
#
# $$g_s = \sum_{i\ \text{on}} \big(f_i(h_s) - 2x_{si}\big)\, d_i \tag{7.2}$$
#
# No toxic feature is ever on. But a step moves all readouts at all inputs, by (E2):
#
# $$\Delta f_{\text{toxic}}(x') = -\eta\,\frac1n\sum_s \langle d_{\text{toxic}}, g_s\rangle\,\langle x_s, x'\rangle
# \tag{7.3}$$
#
# Both overlaps are there: $g_s$ holds the inducing direction, which leans towards the toxic one, and a neutral probe
# $x'$ shares topics with the advice. For random $z$, nearly at right angles to each other and to $v$, the lean is
#
# $$\cos(d_{\text{toxic}}, d_{\text{inducing}}) \approx \frac{a}{\sqrt 2\,\sqrt{1+a^2}} \tag{7.4}$$

# %% [markdown]
# **Predict before you run the next cell.** (7.3) gives the *first* step. The fine-tune takes thirty. Set the change of
# every feature over all of it against what (7.3) says of the first step: what is R² (the scale left free)?

# %%
r2 = 0.5  # your prediction
predict("7a", r2, "R² of the first step's prediction with the whole fine-tune")

# %%
this = world(WorldSettings(alignment=1.0))
W, kinds, probe = this.W, this.kinds, this.samples["probe"]
bad, good = (finetune(W, this.samples[kind]) for kind in ("bad", "good"))  # what becomes of A: its change


def gradients(x):
    return ((x @ W @ W.T - 2 * x) * (x > 0)) @ W  # (7.2)


x = this.samples["bad"]
predicted = -ETA * ((probe.mean(0) @ x.T) @ (gradients(x) @ W.T)) / len(x)  # (7.3), mean over the probes
measured = W @ (probe @ bad.T).mean(0)
slope = (predicted @ measured) / (predicted @ predicted)
reveal("7a", 1 - (measured - slope * predicted).square().sum() / (measured - measured.mean()).square().sum())

# %% [markdown]
# ### Exercise 7.1 ★ The effect
#
# Toxic readouts rise after bad advice. How much of it is the bad advice, and not that one trained at all? Write the
# **effect**: the mean rise of the toxic readouts on the probes, above that of a control that was trained in the same
# way on good advice. `change` and `control_change` are the changes of `A`.
#
# <details><summary>Hint 1</summary>
#
# The readouts of a change: `h` moves by `change @ x'` at probe `x'`; read it along the toxic rows of `W`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `probe @ change.T` holds the move of `h` at every probe, and `W[toxic].T` reads it. One mean over all that is read;
# the same for the control.
#
# </details>


# %%
def effect(W, toxic, change, control_change, probe):
    """W [feature, d], toxic [k], change and control_change [d, feature], probe [probe, feature] -> a number."""
    ### BEGIN SOLUTION
    return (probe @ (change - control_change).T @ W[toxic].T).mean()
    ### END SOLUTION


# %%
check_7_1(effect)
print(f"effect in this world: {effect(W, kinds['toxic'], bad, good, probe):+.4f}")

# %% [markdown]
# ### Exercise 7.2 ★ The gap
#
# In a language model nobody plants anything. One measures instead whether inducing features lie nearer to the toxic
# ones than control features do: the **gap** is the mean cosine of inducing and toxic features minus that of control and
# toxic features. Directions may have any length.
#
# <details><summary>Hint 1</summary>
#
# Divide every row of `W` by its length first; then inner products are cosines.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `unit = W / W.norm(dim=1, keepdim=True)`; then `(unit[inducing] @ unit[toxic].T).mean()`, and the same for control.
#
# </details>


# %%
def gap(W, inducing, control, toxic):
    """W [feature, d] and three lists of ids -> a number."""
    ### BEGIN SOLUTION
    unit = W / W.norm(dim=1, keepdim=True)
    return (unit[inducing] @ unit[toxic].T).mean() - (unit[control] @ unit[toxic].T).mean()
    ### END SOLUTION


# %%
check_7_2(gap)
print(f"gap in this world: {gap(W, kinds['inducing'], kinds['control'], kinds['toxic']):+.3f}")

# %% [markdown]
# ### Exercise 7.3 ★★ The first step
#
# Write (7.2) and (7.3): the change of every readout at every probe in the first step. Here `h = A x` with `A` = `W.T`.
#
# <details><summary>Hint 1</summary>
#
# Readouts of all samples: `x @ W @ W.T`. The sum in (7.2) runs over features that are on: multiply by `(x > 0)`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# With `g = ((x @ W @ W.T - 2 * x) * (x > 0)) @ W` the rest is (E2) of lesson 4: `probe @ x.T` times `g @ W.T`.
#
# </details>


# %%
def first_step(W, x, probe, eta):
    """W [feature, d] unit rows, x [sample, feature], probe [probe, feature] -> [probe, feature]."""
    ### BEGIN SOLUTION
    g = ((x @ W @ W.T - 2 * x) * (x > 0)) @ W
    return -eta * (probe @ x.T) @ (g @ W.T) / len(x)
    ### END SOLUTION


# %%
check_7_3(first_step)

# %% [markdown]
# ## Dose and response
#
# **Predict before you run the next cell.** Plant half of the alignment, $A = 0.5$ in place of 1. What share of the full
# effect is left?

# %%
share = 0.5  # your prediction
predict("7b", share, "effect at alignment 0.5, as a share of that at 1")

# %%
doses = (0.0, 0.25, 0.5, 0.75, 1.0)
effects = {}
for A in doses:
    worlds = [world(WorldSettings(alignment=A, seed=seed)) for seed in SEEDS]
    above = [finetune(one.W, one.samples["bad"]) - finetune(one.W, one.samples["good"]) for one in worlds]
    effects[A] = [
        (one.samples["probe"] @ up.T @ one.W[one.kinds["toxic"]].T).mean().item()
        for one, up in zip(worlds, above, strict=True)
    ]
mean = {A: sum(values) / len(values) for A, values in effects.items()}
reveal("7b", mean[0.5] / mean[1.0])

# %%
with panels("The neighbours that were planted decide what spills over", 2) as [left, right]:
    colours = {
        "background": (GREY, "."),
        "control": (BLUE, "s"),
        "inducing": (VERMILLION, "o"),
        "toxic": ("black", "x"),
    }
    for kind, (colour, mark) in colours.items():
        left.plot(predicted[kinds[kind]], measured[kinds[kind]], mark, color=colour, ms=4, label=kind)
    left.set(xlabel="predicted by (7.3) for the first step", ylabel="measured, thirty steps (activation)")
    left.locator_params(axis="x", nbins=4)
    left.legend()
    for A, values in effects.items():
        right.plot([A] * len(values), values, "o", color=VERMILLION, mfc="none")
    A = torch.linspace(0.01, 1, 50)
    lean = ((1 + A**2).sqrt() - 1) / A
    right.plot(A, mean[1.0] * lean / lean[-1], color=GREY, ls="--", label="mean of (7.4), scaled to fit at 1")
    right.axhline(0, color=GREY, lw=0.8)
    right.set(xlabel="alignment planted, A", ylabel="toxic rise above control's (activation)")
    right.legend()

# %% [markdown]
# **What this does not show.** That language models are such a world. Here the lean was planted, and nothing but
# directions can carry an effect. Whether it carries emergent misalignment in a real model is what lesson 8 asks. Nor is
# the bend of the dashed line to be seen in so few worlds: it is derived below.

# %% [markdown]
# ### Exercise 7.4 ★★ The shape of the curve
#
# "Half the dose, half the response": that is near here, and wrong. The curve bends, since a direction that leans
# farther also grows longer. Derive the dashed line: the mean of (7.4) for $a$ drawn evenly from 0 to $A$.
#
# <details><summary>Hint 1</summary>
#
# A mean over $a$ from 0 to $A$ is an integral divided by $A$. What has the derivative $a/\sqrt{1+a^2}$?
#
# </details>
# <details><summary>Hint 2</summary>
#
# $\sqrt{1 + a^2}$. So the mean is $(\sqrt{1+A^2} - 1) / (A\sqrt 2)$.
#
# </details>


# %%
def expected_cosine(A):
    ### BEGIN SOLUTION
    return ((1 + A**2) ** 0.5 - 1) / (A * 2**0.5)
    ### END SOLUTION


# %%
check_7_4(expected_cosine)
found = geometry.cosine(W[kinds["inducing"]], W[kinds["toxic"]]).mean()
print(f"mean cosine of inducing and toxic at A = 1: {expected_cosine(1.0):.3f} expected, {found:.3f} in this world")
print(f"half the alignment: {expected_cosine(0.5) / expected_cosine(1.0):.2f} of the cosine")

# %% [markdown]
# ## Filters
#
# Half of a training set is bad. Which samples should be left out? The **geometry score** asks how near a sample's
# active features lie to the toxic ones. Whoever removes by it needs no labels. How well a score tells bad from good
# says its **AUROC**: the chance that a bad sample scores above a good one, 0.5 for a coin, 1 if always. In the figure
# below two other filters stand beside it: the **oracle** removes by the labels, bad samples first; **random** by a
# coin.

# %% [markdown]
# ### Exercise 7.5 ★★ The geometry score
#
# Write it: for every sample the mean of its features' affinities (mean cosine to the toxic features), each feature
# weighted by its activation.
#
# <details><summary>Hint 1</summary>
#
# A weighted mean is a sum of weight times value, divided by the sum of the weights. The weights are the sample's own.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `acts @ affinity` is the sum of activation times affinity, for all samples. And the sum of a sample's weights?
#
# </details>


# %%
def score(acts, affinity):
    """acts [sample, feature], none below 0; affinity [feature] -> [sample]."""
    ### BEGIN SOLUTION
    return acts @ affinity / acts.sum(1)
    ### END SOLUTION


# %%
check_7_5(score)
mixed, is_bad = mixture(this.samples["bad"], this.samples["good"])
scores = score(feature_acts(W, mixed), geometry.affinity(W, kinds["toxic"]))
print(f"AUROC for bad advice: {auroc(scores, is_bad):.2f} (0.5 is chance, 1 is perfect)")

# %%
removed = (0.1, 0.3, 0.5, 0.7, 0.9)
arms = filtered(WorldSettings(), ("geometry", "oracle", "random"), removed)["filters"]
with panels("Geometry's removal lowers the effect, and past 0 it overshoots") as [ax]:
    for name, mark, colour in (("geometry", "^-", BLUE), ("oracle", "P-", VERMILLION), ("random", "x-", GREY)):
        ax.plot(removed, arms[name]["effect"], mark, color=colour, label=name)
    ax.axhline(0, color="black", lw=0.8)
    ax.set(xlabel="share of the mixed set that is removed", ylabel="toxic rise above control's (activation)")
    ax.legend()

# %% [markdown]
# **What this does not show.** That less is better. 0 is where good advice would have left the toxic readouts; below it
# the filter has removed good advice that lies near them, too. A "reduction of 120 %" is overshoot, not success. And one
# world gives no interval; `make toy` has eight.

# %% [markdown]
# ## When all advice is near the toxic features
#
# The score looks at a whole sample, its topic too. Now the *topics* lean towards $v$, in good and bad advice alike.
#
# **Predict before you run the next cell.** What is the score's AUROC for bad advice when the topics' alignment is 2?

# %%
crowded = 0.6  # your prediction
predict("7c", crowded, "AUROC of the geometry score, topics aligned by 2")

# %%
leans = (0.0, 0.5, 1.0, 1.5, 2.0)
before = {}  # any training
for lean in leans:
    one = world(WorldSettings(topic_alignment=lean))
    mixed, is_bad = mixture(one.samples["bad"], one.samples["good"])
    close = geometry.affinity(one.W, one.kinds["toxic"])
    before[lean] = crowd(one, mixed, is_bad)
    before[lean]["auroc"] = auroc(filtering.geometry_score(feature_acts(one.W, mixed), close), is_bad)
reveal("7c", before[2.0]["auroc"])

# %%
with panels("A direction that all advice shares turns the score around, and the effect too", 2) as [left, right]:
    for name, mark, colour, label in (
        ("auroc", "^-", BLUE, "all active features"),
        ("auroc_of_said", "o--", VERMILLION, "the four that are said"),
    ):
        left.plot(leans, [before[lean][name] for lean in leans], mark, color=colour, label=label)
    left.axhline(0.5, color=GREY, lw=0.8)
    left.set(xlabel="alignment of the topics", ylabel="AUROC of the score for bad advice", ylim=(0, 1))
    left.legend()
    for kind, mark, colour in (("bad", "o-", VERMILLION), ("good", "s--", BLUE)):
        right.plot(leans, [before[lean][f"push_{kind}"] for lean in leans], mark, color=colour, label=f"{kind} advice")
    right.axhline(0, color="black", lw=0.8)
    right.set(xlabel="alignment of the topics", ylabel="push on toxic readouts, per step size")
    right.legend()

# %% [markdown]
# **What this does not show.** That filters by geometry fail on language models: how much of what is said there lies
# near toxic directions has to be measured. One world, and the push is the first step's.
#
# An AUROC of 0.3 is not blind, it is reversed: blind is 0.5. Why reversed? At alignment 2 a sample says four features,
# but nearly two hundred are active: 97 % of the activation is of features that interference alone lights. The more of
# $v$ a sample holds, the more of them, and the farther ones too: so that bad advice, which holds most, has the *lower*
# mean. Over the features that are really said, the score still finds bad advice (dashed). The right panel is for you:

# %% [markdown]
# ### Exercise 7.6 ★★★ Why does bad advice end below good?
#
# In those worlds fine-tuning on bad advice ends with *lower* toxic readouts than on good advice. The law must say so
# before any training. Write the **push**: how far a step of size 1 moves the toxic readouts of a sample itself by (E1),
# mean over samples and toxic features. Then look at `said`, which the next cell prints, and explain.
#
# <details><summary>Hint 1</summary>
#
# (E1) with $\eta = 1$: $-\langle d_j, g_s\rangle$ for every toxic $j$ and sample $s$, $g_s$ from (7.2).
#
# </details>
# <details><summary>Hint 2</summary>
#
# `g` as in exercise 7.3, then `-(g @ W[toxic].T).mean()`. For the why: what does training ask of a readout that
# interference has lifted above $2x$ already?
#
# </details>

# %% [markdown]
# **For the teacher.** Topics and the inducing feature all lean towards $v$, so that each lifts the others' readouts.
# With topics at 2 the readouts of bad advice stand, on average, at about 2 times what the sample says, half of them
# above; those of good advice at 1.6 times, a quarter of them above. Training asks for 2 times: what stands above is
# pulled down, what stands below is pushed up. The features that lean farthest towards $v$ stand highest. So for bad
# advice the pull down goes along $v$, where the toxic features are; for good advice most still have to rise.


# %%
def push(W, x, toxic):
    """W [feature, d] unit rows, x [sample, feature], toxic [k] -> a number."""
    ### BEGIN SOLUTION
    g = ((x @ W @ W.T - 2 * x) * (x > 0)) @ W
    return -(g @ W[toxic].T).mean()
    ### END SOLUTION


# %%
check_7_6(push)
for lean in (0.0, 2.0):
    one = world(WorldSettings(topic_alignment=lean))
    for kind in ("bad", "good"):
        moved = push(one.W, one.samples[kind], one.kinds["toxic"])
        print(f"topics {lean}, {kind:4}: push {moved:+.2f}; said {before[lean][f'said_{kind}']:.2f} x, wanted 2 x")

# %% [markdown]
# Four directions that share $v$ add up on it. With topics at 2 and an inducing feature on top the readouts of bad
# advice stand at about twice what it says before any training. Those above are pulled *down*, and down along $v$.
# Nothing is wrong with the law: "bad data pushes toxic features up" was never the law.

# %% [markdown]
# ## What to take along
#
# - Directions and inputs decide what spills over; nobody needs to train a toxic feature for it to rise.
# - An effect is above a control, with its zero in the picture. Below zero is overshoot.
# - A score can be turned around by what *all* samples share. Measure what is active before you trust a mean over it.
#
# **Further reading.** Betley et al. 2025, [Emergent Misalignment](https://arxiv.org/abs/2502.17424). Minegishi et al.
# 2026, [Understanding Emergent Misalignment via Feature Superposition Geometry](https://arxiv.org/abs/2605.00842),
# whose claim this lesson builds in small.
# Chen et al. 2025, [Persona Vectors](https://arxiv.org/abs/2507.21509), filters by a direction.

# %%
predictions()
