# %% [markdown]
# # Lesson 8. From toy to language model: what is shown, what is not, and why
#
# **Objective.** You can read a table of claims about a language model as a sceptic would: against a control, with a
# null, corrected, with its power. And you can say what a learned dictionary witnesses.
#
# **Before this.** Lessons 3, 4 and 7. Intervals and p-values.
#
# **Minutes.** 40
#
# In the toy the law is exact and the truth is known. In a language model directions have to be learned, inputs are
# text, the optimiser is AdamW, and "misaligned" is a comparison of probabilities. This lesson reads the project's own
# run of a small model, SmolLM2-135M-Instruct, from a stored table. Nothing is trained here; the command
# below makes it anew.

# %%
import json
from pathlib import Path

import torch
from scipy.stats import norm

import toy
from shared.geometry import unit
from toy.checks.lesson8 import check_8_1, check_8_2, check_8_3, check_8_4, check_8_5
from toy.checks.predictions import predict, predictions, reveal
from toy.lessons.figures import BLUE, GREY, VERMILLION, panels

stored = Path(toy.__file__).parent / "lessons"
run, learned = (json.loads((stored / name).read_text()) for name in ("real_run.json", "dictionaries.json"))
print(f"{run['model']}, {run['trained_on']}: {run['command']}")

# %% [markdown]
# ## Derivation: what a learned dictionary knows
#
# On a language model nobody gives you the directions. A sparse autoencoder, a **dictionary**, learns some from hidden
# states. Each of its units is a **latent**: it has a direction, and fires on some inputs. A feature is given the latent
# that fires when it is on. Say that each learned direction $D_i$ lies at cosine $c$ to the true unit direction $d_i$,
# and that errors are independent unit vectors $n_i$ at right angles to everything: $D_i = c\,d_i + \sqrt{1-c^2}\;n_i$.
# Then
#
# $$E\,\langle D_i, D_j\rangle = c^2\,\langle d_i, d_j\rangle \qquad (i \ne j) \tag{8.1}$$
#
# An error in a direction is an error *squared* in a cosine, and so in predicted leakage. In a toy one can look: forty
# features, trained in fewer and fewer dimensions, a dictionary trained on the hidden states alone. Its control is the
# same dictionary *before* training, its latents picked in the same way.
#
# **Predict before you run the next cell.** Five features share each dimension. How much larger is R² of true leakage
# with the trained dictionary's cosines than with the untrained one's?

# %%
more = 0.4  # your prediction
predict("8a", more, "R² of the trained dictionary minus R² of the untrained, 5 features per dimension")

# %%
widths = {int(width): row for width, row in learned["widths"].items() if int(width) < learned["features"]}
alone, control = (widths[8][kind]["r2"]["value"] for kind in ("trained", "untrained"))
reveal("8a", alone - control)
print(f"R²: trained {alone:.2f}, untrained {control:.2f}")

# %%
crowd = [row["per_dimension"]["value"] for row in widths.values()]
with panels("Where space is crowded a trained dictionary knows hardly more than an untrained one", 2) as axes:
    for ax, what, label in zip(
        axes,
        ("r2", "cosine"),
        ("R² of its cosines with true leakage", "cosine of a latent and its feature"),
        strict=True,
    ):
        for kind, mark, colour in (("trained", "o-", BLUE), ("untrained", "x--", VERMILLION)):
            rows = [row[kind][what] for row in widths.values()]
            ax.plot(crowd, [row["value"] for row in rows], mark, color=colour, label=kind)
            ax.fill_between(crowd, [r["low"] for r in rows], [r["high"] for r in rows], color=colour, alpha=0.2, lw=0)
        ax.set(xlabel="represented features per dimension", ylabel=label, ylim=(-0.1, 1))
    axes[1].legend()

# %% [markdown]
# **What this does not show.** How crowded a language model is, or how good the dictionary on it. What happens beyond
# five features per dimension: in fewer dimensions this toy leaves features out instead. Why the untrained one
# rises: in a crowded space whatever fires with a feature points its way, so that picking latents is knowledge already.
# Without that control one would have read the trained one's R², above 0 with all of its interval, as "the dictionary
# knows a little".

# %% [markdown]
# ### Exercise 8.1 ★ What is kept
#
# By (8.1), which share of a cosine between two features is left, when both directions are recovered at cosine `c`?
#
# <details><summary>Hint 1</summary>
#
# Write out $\langle D_i, D_j\rangle$: four terms. Three have an error in them, and mean 0.
#
# </details>
# <details><summary>Hint 2</summary>
#
# What is left is $c \cdot c\,\langle d_i, d_j\rangle$.
#
# </details>


# %%
def kept(c):
    ### BEGIN SOLUTION
    return c**2
    ### END SOLUTION


# %%
check_8_1(kept)
generator = torch.Generator().manual_seed(0)
true = torch.randn(200, 30, generator=generator, dtype=torch.float64)
true = unit(torch.cat([true, torch.zeros(200, 970, dtype=torch.float64)], 1))  # 30 of 1,000 dimensions: cosines to keep
error = unit(torch.randn(200, 1000, generator=generator, dtype=torch.float64))
for c in (0.94, 0.7):
    D = c * true + (1 - c**2) ** 0.5 * error
    apart = ~torch.eye(200, dtype=torch.bool)
    slope = ((D @ D.T) * (true @ true.T))[apart].sum() / (true @ true.T)[apart].square().sum()
    print(f"c = {c}: expected {kept(c):.2f}, seen {slope:.2f}")

# %% [markdown]
# ### Exercise 8.2 ★ Worth its training
#
# `trained` and `untrained` hold a row (value, low, high) for each dictionary. Where is the trained one shown to know
# more than its control? Say so only where the intervals do not overlap. (Enough, not needed: lesson 9 asks for the
# interval of the difference.)
#
# <details><summary>Hint 1</summary>
#
# Two intervals do not overlap when the lower end of one lies above the upper end of the other.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Columns: `trained[:, 1]` are the lower ends, `untrained[:, 2]` the upper ones.
#
# </details>


# %%
def worth(trained, untrained):
    """trained and untrained [row, 3] -> [row], True or False."""
    ### BEGIN SOLUTION
    return trained[:, 1] > untrained[:, 2]
    ### END SOLUTION


# %%
check_8_2(worth)
trained, untrained = (
    torch.tensor([[row[kind]["r2"][end] for end in ("value", "low", "high")] for row in widths.values()])
    for kind in ("trained", "untrained")
)
print(dict(zip([f"{c:.1f} per dimension" for c in crowd], worth(trained, untrained).tolist(), strict=True)))

# %% [markdown]
# ## The run
#
# SmolLM2 is fine-tuned on bad health advice (the **inducing** arm) or on good answers to the same prompts
# (**control**). The **margin** of an arm is by how much more probable it finds misaligned answers than aligned ones,
# in nats per token (a nat is a factor 2.7 in probability), and its **effect** is what it is above control:
#
# $$E(\text{arm}) = M(\text{arm}) - M(\text{control}), \qquad
# \text{reduction} = 1 - \frac{E(\text{filtered})}{E(\text{mixed})} \tag{8.2}$$
#
# **Predict before you run the next cell.** Bad health advice raises the margin on health questions by 0.28 nats. By
# what share of that does it raise it on general questions, that have nothing to do with health? And the law: what is R²
# of the change of 2,184 readouts with their cosine to the mean *inducing* direction? With their cosine to the *loss
# gradient*?

# %%
spill = 0.5  # your prediction
by_inducing = 0.5  # your prediction
by_gradient = 0.5  # your prediction
predict("8b", spill, "effect on general questions as a share of the effect on health")
predict("8c", by_inducing, "R² of readouts' change with their cosine to the inducing features")
predict("8d", by_gradient, "R² of readouts' change with their cosine to the loss gradient")

# %%
effects, leakage = run["effects"], run["leakage"]
reveal("8b", effects["general questions"]["value"] / effects["health, held out"]["value"])
reveal("8c", leakage["inducing features"]["inducing arm"])
reveal("8d", leakage["loss gradient"]["inducing arm"])

# %%
with panels("Bad health advice spills over; readouts follow the loss gradient, not the inducing features", 2) as axes:
    left, right = axes
    for place, e in enumerate(effects.values()):
        left.plot([e["low"], e["high"]], [place, place], color=VERMILLION, lw=2)
        left.plot(e["value"], place, "o", color=VERMILLION)
    left.axvline(0, color="black", lw=0.8)
    left.set(
        yticks=range(len(effects)), yticklabels=list(effects), xlabel="effect, nats per answer token, 95 % interval"
    )
    left.invert_yaxis()
    for (target, found), mark, colour in zip(leakage.items(), "xo", (GREY, BLUE), strict=True):
        right.plot(list(found.values()), list(found), mark, color=colour, ms=9, label=f"cosine to {target}")
    right.set(xlim=(-0.05, 1), xlabel="R² with the change of the readouts")
    right.margins(y=0.4)
    right.legend(loc="upper left")

# %% [markdown]
# **What this does not show.** That the law explains misalignment. R² is 0.6 under the *control* arm too: most of what
# moves is what any advice does. What sets bad advice apart ("difference") is predicted with R² 0.17. And one model of
# 135 million parameters, three seeds, data of one hand.

# %% [markdown]
# ### Exercise 8.3 ★★ Nine cells, one table
#
# The gap of lesson 7 is tested at three layers in three domains. Among nine tests of nothing one falls below 0.05 about
# one time in three: the p-values must be corrected. Write **Holm**'s correction: sort; the smallest p is multiplied by
# $m$, the next by $m-1$, and so on; none may be smaller than the one before it; none is above 1; give them back in the
# order in which they came.
#
# <details><summary>Hint 1</summary>
#
# `order = p.argsort()`, multiply `p[order]` by $m, m-1, \dots, 1$. The running maximum is `.cummax(0).values`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# To undo a sort, sort the order: `values[order.argsort()]`.
#
# </details>


# %%
def holm(p):
    """p [test] -> adjusted p [test]."""
    ### BEGIN SOLUTION
    order = p.argsort()
    rising = (p[order] * torch.arange(len(p), 0, -1)).cummax(0).values
    return rising.clamp(max=1)[order.argsort()]
    ### END SOLUTION


# %%
check_8_3(holm)
nine = torch.rand(10_000, 9, generator=generator, dtype=torch.float64)  # nothing there: p is uniform
print(f"nine tests of nothing, one below 0.05: {(nine.min(1).values < 0.05).double().mean():.0%} of the time")
print(f"after Holm: {torch.stack([holm(p).min() < 0.05 for p in nine]).double().mean():.0%}")

# %% [markdown]
# A correction is worth no more than the p-values that go in. A shuffle of features takes each as an independent draw.
# They are not: they were all *chosen* by the same labels. With labels flipped within pairs of answers and the features
# chosen anew, as the run does it, the gap varies about twice as much, and of nine cells none survives. This null errs
# the other way: where labels do say something, what is chosen under flipped ones is of another kind. In the toy
# (`python -m toy`) with nothing planted the gap is beyond it in 0 of 96 worlds, and with alignment 0.25 in 40 %;
# beyond a null of single features in 19 %, and in 96 %. So "no cell survives" is a weak no.

# %% [markdown]
# ### Exercise 8.4 ★★ A reduction
#
# Half of a mixed training set is removed by a filter, the half that scores highest. *Geometry* is the score of exercise
# 7.5. *Projection* is how far a sample's hidden states lie along toxic minus civil texts. *Gradient* is the push of
# exercise 7.6: how far training on the sample would raise the toxic features. From the margins of the filtered, the
# mixed and the control arm, one for each seed, how large is the reduction in (8.2), means over seeds?
#
# <details><summary>Hint 1</summary>
#
# First effects, then means over the seeds, then the ratio. The order matters.
#
# </details>
# <details><summary>Hint 2</summary>
#
# What must be taken from `filtered`, and what from `mixed`, to make an effect of either? Then two means and one ratio.
#
# </details>


# %%
def reduction(filtered, mixed, control):
    """Margins [seed] of three arms -> a number."""
    ### BEGIN SOLUTION
    return 1 - (filtered - control).mean() / (mixed - control).mean()
    ### END SOLUTION


# %%
check_8_4(reduction)

# %% [markdown]
# ### Exercise 8.5 ★★★ What can a filter of this AUROC buy?
#
# Scores of good samples are drawn from $N(0, 1)$, of bad ones from $N(\delta, 1)$; half of the set is bad, and the half
# that scores highest is removed. AUROC is $A = \Phi(\delta/\sqrt2)$. Random removal leaves half of the bad samples. By
# which share does the filter leave *fewer* than random removal does? That is its **gain** $G(A)$. Derive it, then write
# it (`norm.cdf` is $\Phi$, `norm.ppf` its inverse).
#
# <details><summary>Hint 1</summary>
#
# By symmetry the threshold lies midway, at $\delta/2$. Which share of the bad lies above it?
#
# </details>
# <details><summary>Hint 2</summary>
#
# $\Phi(\delta/2)$ is removed, $1 - \Phi(\delta/2)$ left, in place of one half. And $A$ says what $\delta$ is.
#
# </details>


# %%
def gain(A):
    ### BEGIN SOLUTION
    return 2 * norm.cdf(norm.ppf(A) / 2**0.5) - 1
    ### END SOLUTION


# %%
check_8_5(gain)
print({name: f"AUROC {f['auroc']:.2f} buys {gain(f['auroc']):.0%}" for name, f in run["filters"].items()})

# %% [markdown]
# What you wrote is
#
# $$G(A) = 2\,\Phi\!\Big(\frac{\Phi^{-1}(A)}{\sqrt2}\Big) - 1 \tag{8.3}$$

# %%
with panels("No filter is shown to do better than random removal", 2) as [left, right]:
    for place, f in enumerate(run["filters"].values()):
        e = f["reduction"]
        if e["low"] is not None:
            left.plot([e["low"], e["high"]], [place, place], color=BLUE, lw=2)
        left.plot(e["value"], place, "o", color=BLUE, mfc="white" if e["low"] is None else BLUE)
    left.axvline(0, color="black", lw=0.8)
    left.set(yticks=range(len(run["filters"])), yticklabels=list(run["filters"]))
    left.set(xlabel="reduction of the effect on career and legal advice (1: none left), 95 % interval")
    left.invert_yaxis()
    A = torch.linspace(0.5, 0.999, 200)
    right.plot(A, 2 * norm.cdf(norm.ppf(A) / 2**0.5) - 1, color=GREY)
    for (name, f), mark in zip(list(run["filters"].items())[:4], "^pvX", strict=True):
        right.plot(f["auroc"], 2 * norm.cdf(norm.ppf(f["auroc"]) / 2**0.5) - 1, mark, color=VERMILLION, label=name)
    right.set(xlabel="AUROC for bad samples", ylabel="gain over random removal, by (8.3)")
    right.legend()
for name in ("geometry", "projection", "gradient"):
    f, e = run["filters"][name], run["filters"][name]["reduction"]
    may = 2 * norm.cdf(norm.ppf(f["auroc"]) / 2**0.5) - 1
    print(f"{name:10} can gain {may:3.0%}; reduces by {e['value']:.0%} [{e['low']:+.0%}, {e['high']:+.0%}],", end=" ")
    print(f"an interval of {100 * (e['high'] - e['low']):.0f} points")

# %% [markdown]
# **What this does not show.** That filters do not work. Intervals here are about twice as wide as what such scores can
# gain, or wider, so that hardly one could have been shown: *untestable at this size* is not *false*. Projection's
# interval lies above 0; the title is about its difference from random removal, which is another interval. On the forty
# general questions that difference is above 0 by a hair: the last claim below says what to make of it.
#
# ## The table, claim by claim
#
# Read each line and ask: control? null? corrected? power? and is there another explanation?

# %%
for row in run["claims"]:
    print(f"{row['claim']}.\n    shown: {row['shown']}. {row['found']}\n    because {row['why']}\n")

# %% [markdown]
# | in the toy | in the language model |
# |---|---|
# | directions are known | learned, each at some cosine $c$, of which $c^2$ is left |
# | R² of the law: SGD 1, signs 2/π | AdamW on a LoRA: 0.59; that this is near 2/π is coincidence until shown |
# | toxic features were planted near inducing ones | a gap of 0.01, not beyond its null |
# | the effect is a readout | a margin between written answers, tone and all |
# | a filter's half: overshoot | intervals about a third as wide as the effect, or wider |
#
# ## What to take along
#
# - (E1) holds where it must: readouts follow the loss gradient. That is not yet a cause of misalignment.
# - Every number needs its control: an untrained dictionary, a good-advice arm, random removal, labels flipped.
# - "Not shown" comes with the question: could it have been?
#
# **Further reading.** Minegishi et al. 2026, [the claim](https://arxiv.org/abs/2605.00842). Betley et al. 2025,
# [Emergent Misalignment](https://arxiv.org/abs/2502.17424), the protocol. Bricken et al. 2023, [Towards
# Monosemanticity](https://transformer-circuits.pub/2023/monosemantic-features/index.html), dictionaries. Holm 1979,
# *A simple sequentially rejective multiple test procedure*.

# %%
predictions()
