# %% [markdown]
# # Lesson 10. Break this claim: five results that look right
#
# **Objective.** You can find, in a result that looks right, a null that is too narrow, a choice made on the rows that
# judge it, an unequal dose, a hidden cause, and a missing power; and you can mend each.
#
# **Before this.** Lessons 7 and 8; lesson 9 helps.
#
# **Minutes.** 75, 15 for each lab
#
# Every fault in this lesson was once in this project, in code that was tested and in a table that read well. Here
# each has a world in which you know the truth, because you make it. In each lab: read the claim, **write one sentence
# on what is wrong before you open the fold**, mend it, and see what becomes of the claim. The worlds are made so
# that the fault shows; their seeds are 0, and were 0 before anything was run.

# %%
import numpy as np
import torch
from scipy.stats import norm

from shared.selection import auroc, point_biserial, score, top_k
from shared.stats import permutation_p
from toy.checks.lesson10 import check_10_1, check_10_2, check_10_3, check_10_4, check_10_5, check_10_6
from toy.checks.predictions import predict, predictions, reveal
from toy.lessons.figures import BLUE, GREY, VERMILLION, panels
from toy.misalignment import WorldSettings, hidden_gradient, misaligned, world

claims = {}  # lab -> what was claimed, what is left of it

# %% [markdown]
# ## Derivation: three sentences that break most claims
#
# **Things that were chosen together are not independent.** Of $k$ values with variance $\sigma^2$, any two correlated
# by $\rho$, the mean has the variance
#
# $$\operatorname{Var} = \frac{\sigma^2}{k}\,\big(1 + (k-1)\,\rho\big) \tag{10.1}$$
#
# With $k = 20$ and $\rho = 0.5$ that is ten times what twenty independent values would have. A null that shuffles
# them one by one is too narrow by a factor 3.
#
# **The best of many is good by luck.** Take $m$ features of pure noise and $n$ rows, half of them labelled "bad" by
# coin. A feature's correlation with the label is about $N(0, 1/n)$. The best $k$ of $m$ have on average $\bar r =
# \frac{m}{k}\,\varphi\big(\Phi^{-1}(1 - k/m)\big) / \sqrt n$. In standard units a feature with correlation $r$ stands
# $2r$ higher on bad rows than on good ones, and the mean of $k$ features has a $\sqrt k$ times smaller spread. On
# *the same rows* their score therefore reaches
#
# $$\text{AUROC} \approx \Phi\big(\sqrt{2k}\;\bar r\,\big) \tag{10.2}$$
#
# On new rows it is one half.
#
# **What could not have been seen is not absent.** Two arms of $n$ seeds each, standard deviation $sd$ over seeds,
# true difference $\delta$. Its standard error is $sd\sqrt{2/n}$, and a two-sided test at 5 % finds it with a
# probability that is called its **power**. You derive it in lab 5.
#
# ## Lab 1. "The gap is real, p < 0.05"
#
# *Claim.* The twenty features that fire most for bad answers lie nearer the toxic ones than the twenty that fire most
# for good answers. Shuffling which feature belongs to which set gives a smaller gap 19 times in 20.
#
# The world: 40 pairs of answers, 300 features. Which answer of a pair is called bad is decided by a **coin**.
# Whatever is found is luck. Features come in 30 families of ten: those of a family fire together and point the same
# way.

# %%
PAIRS, FAMILIES, SIZE, K = 40, 30, 10, 20


def nothing(seed):
    """One world: difference bad - good [pair, feature] in standard units, closeness to the toxic features [feature]."""
    draw = torch.Generator().manual_seed(seed)
    both = [torch.randn(n, FAMILIES, generator=draw).repeat_interleave(SIZE, 1) for n in (PAIRS, 1)]
    own = [torch.randn(n, FAMILIES * SIZE, generator=draw) for n in (PAIRS, 1)]
    z, close = (0.8**0.5 * shared + 0.2**0.5 * alone for shared, alone in zip(both, own, strict=True))
    return z, close[0] / 8  # cosines of random directions in 64 dimensions


def observed_gap(z, close):
    r = z.mean(0)
    return close[r.topk(K).indices].mean() - close[(-r).topk(K).indices].mean()


def narrow_p(z, close, draws=200):
    """Shuffles the 40 chosen features between the two sets."""
    r = z.mean(0)
    chosen = close[torch.cat([r.topk(K).indices, (-r).topk(K).indices])].numpy()
    shuffled = np.random.default_rng(0).permuted(np.tile(chosen, (draws, 1)), axis=1)
    return permutation_p(float(observed_gap(z, close)), shuffled[:, :K].mean(1) - shuffled[:, K:].mean(1))


# %% [markdown]
# **Predict.** In 200 worlds of nothing a good test calls 5 % significant. What share does this one?

# %%
share = 0.1  # your prediction
predict("10a", share, "share of worlds of nothing that shuffled features call significant, p < 0.05")

# %%
worlds = [nothing(seed) for seed in range(200)]
narrow = torch.tensor([narrow_p(*one) for one in worlds])
reveal("10a", (narrow < 0.05).double().mean())
first = int((narrow < 0.05).nonzero()[0])
print(f"the first that somebody would write up: world {first}, gap", end=" ")
print(f"{observed_gap(*worlds[first]):+.3f}, p = {narrow[first]:.3f}")
families = {int(i) // SIZE for i in worlds[first][0].mean(0).topk(K).indices}
print(f"its {K} features for bad answers come from {len(families)} families")

# %% [markdown]
# What is wrong? Write it down.
#
# <details><summary>What is wrong</summary>
#
# The features were chosen by the labels, and who is chosen brings its family along. Twenty features from a few
# families are a few independent values, by (10.1). The shuffle asks how the gap would vary if each feature had been
# drawn alone. Nobody drew them so.
#
# </details>
#
# ### Exercise 10.1 ★★ Flip, and choose again
#
# What was decided by chance, if nothing is true, is which answer of a pair is called bad. So flip *that*, in some
# pairs, and do all over again what was done with the labels: correlate, choose, take the gap. A row of `signs` holds
# +1 (as it was) or -1 (flipped) for every pair. Correlation is in proportion to the mean of `z` over pairs.
#
# <details><summary>Hint 1</summary>
#
# Flipping a pair turns the sign of its row of `z`. For all draws at once: `r = signs @ z`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `r.topk(k, dim=1).indices` holds the chosen of every draw, `(-r).topk(k, dim=1)` those of the other set;
# `close[...]` of either, the mean over each row.
#
# </details>


# %%
def flipped_gaps(z, close, k, signs):
    """z [pair, feature], close [feature], signs [draw, pair] -> gap [draw]."""
    ### BEGIN SOLUTION
    r = signs @ z
    return close[r.topk(k, dim=1).indices].mean(1) - close[(-r).topk(k, dim=1).indices].mean(1)
    ### END SOLUTION


# %%
check_10_1(flipped_gaps)
signs = torch.randint(2, (200, PAIRS), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
wide = torch.tensor(
    [permutation_p(float(observed_gap(*one)), flipped_gaps(*one, K, signs).double().numpy()) for one in worlds]
)
print(f"significant among worlds of nothing: {(narrow < 0.05).double().mean():.0%} before,", end=" ")
print(
    f"{(wide < 0.05).double().mean():.0%} after; world {first}: p = {narrow[first]:.3f} before, {wide[first]:.3f} after"
)
claims["1 a gap"] = f"p = {narrow[first]:.3f}", f"p = {wide[first]:.3f}"

# %%
z, close = worlds[first]
r = z.mean(0)
chosen = close[torch.cat([r.topk(K).indices, (-r).topk(K).indices])]
draw = torch.Generator().manual_seed(0)
shuffles = torch.stack([chosen[torch.randperm(2 * K, generator=draw)] for _ in range(1000)])
again = (torch.randint(2, (1000, PAIRS), generator=draw) * 2.0 - 1) @ z
nulls = {
    "features shuffled": shuffles[:, :K].mean(1) - shuffles[:, K:].mean(1),
    "labels flipped, chosen again": close[again.topk(K).indices].mean(1) - close[(-again).topk(K).indices].mean(1),
}
with panels("The same gap against two nulls: shuffled features make it look rare") as [ax]:
    for (name, values), style, colour in zip(nulls.items(), ("--", "-"), (VERMILLION, BLUE), strict=True):
        ax.hist(
            values, bins=40, histtype="step", ls=style, color=colour, lw=1.6, label=f"{name}, sd {values.std():.3f}"
        )
    ax.plot([observed_gap(z, close)] * 2, [0, 70], color="black", label="seen")
    ax.set(xlabel="gap (difference of mean cosines)", ylabel="draws of 1,000", ylim=(0, 110))
    ax.legend(loc="upper left")

# %% [markdown]
# **What this does not show.** How correlated features of a language model are; here four fifths of each feature's
# variance are its family's, by decree. In this project's own run the wider null has about twice the spread of the
# narrow one; cells that were once "beyond both nulls" are not beyond them now.
#
# ## Lab 2. "Twenty features know bad advice from good, AUROC 0.9 and more"
#
# *Claim.* 100 answers, 2,000 features. The twenty that correlate most with "bad" make a score; it tells bad from
# good.
#
# The world: every activation is noise, and so is every label. **Predict** the AUROC.

# %%
luck = 0.6  # your prediction
predict("10b", luck, "AUROC of the best 20 of 2,000 noise features, on the rows that chose them")

# %%
draw = torch.Generator().manual_seed(0)
acts, labels = torch.randn(100, 2000, generator=draw), torch.arange(100) % 2 == 0


def same_rows(acts, labels, k):
    c = point_biserial([(acts, labels)])
    return auroc(score(acts, top_k(c.r, k), c), labels)


reveal("10b", same_rows(acts, labels, 20))

# %% [markdown]
# What is wrong? Write it down.
#
# <details><summary>What is wrong</summary>
#
# The rows that chose the features also judge them. By (10.2) the best twenty of 2,000 reach 0.95 by luck alone.
#
# </details>
#
# ### Exercise 10.2 ★ New rows
#
# Choose on the rows where `train` is true, take the AUROC on the others. What `score` needs to know of a feature, its
# mean and spread, comes from the training rows too.
#
# <details><summary>Hint 1</summary>
#
# `same_rows` above does three things with the same rows. Which of them may see which rows?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `c = point_biserial([(acts[train], labels[train])])`; score `acts[~train]` with it.
#
# </details>


# %%
def held_out(acts, labels, k, train):
    """acts [row, feature], labels and train [row] of booleans -> AUROC on the rows that are not train."""
    ### BEGIN SOLUTION
    c = point_biserial([(acts[train], labels[train])])
    return auroc(score(acts[~train], top_k(c.r, k), c), labels[~train])
    ### END SOLUTION


# %%
check_10_2(held_out)
train = torch.arange(100) % 4 < 2
print(f"on the same rows {same_rows(acts, labels, 20):.2f}, on new rows {held_out(acts, labels, 20, train):.2f}")
claims["2 a score"] = (f"AUROC {same_rows(acts, labels, 20):.2f}", f"AUROC {held_out(acts, labels, 20, train):.2f}")

# %%
numbers = (20, 50, 100, 200, 500, 1000, 2000)
expected = [norm.cdf(40**0.5 * m / 20 * norm.pdf(norm.ppf(1 - 20 / m)) / 10) if m > 20 else 0.5 for m in numbers]
with panels("Choosing twenty features of noise makes a score, the better the more there are to choose from") as [ax]:
    ax.plot(numbers, expected, "-", color=GREY, label="(10.2)")
    ax.plot(numbers, [same_rows(acts[:, :m], labels, 20) for m in numbers], "o", color=VERMILLION, label="same rows")
    ax.axhline(0.5, color="black", lw=0.8)
    ax.set(xscale="log", xlabel="features to choose from", ylabel="AUROC", ylim=(0.4, 1))
    ax.legend(loc="center right")

# %% [markdown]
# **What this does not show.** That a held-out AUROC is safe. Whoever tries ten filters on the held-out rows and
# reports the best has chosen on the rows that judge, once more.
#
# ## Lab 3. "Removing half of the data lowers misalignment"
#
# *Claim.* The mixed set of lesson 7, half bad and half good; a filter removes half of it, one pass over what is left;
# the effect on toxic readouts is far smaller than without the filter. The filter works.
#
# The world: the "filter" is a **coin**. **Predict** the reduction: 1 minus effect with filter over effect without.

# %%
by_coin = 0.0  # your prediction
predict("10c", by_coin, "reduction of the effect when a coin removes half of the data, one pass")

# %%
BATCH = 10
this = world(WorldSettings(alignment=1.0))
W, bad, good = this.W, this.samples["bad"], this.samples["good"]


def effect_of(x, batches):
    """Mean rise of the toxic readouts after SGD on A, a step for each batch of rows of x."""
    A = W.mT.clone()
    for rows in batches:
        A -= 0.1 * hidden_gradient(W, x[rows], x[rows] @ A.mT).mT @ x[rows] / len(rows)
    return misaligned(this, A - W.mT)


def one_pass(number, seed=0):
    return torch.randperm(number, generator=torch.Generator().manual_seed(seed)).view(-1, BATCH)


mixed = torch.cat([bad[:150], good[150:]])


def coin(seed):
    """What is left: a random half of the bad and a random half of the good."""
    draw = torch.Generator().manual_seed(seed)
    return torch.cat([torch.randperm(150, generator=draw)[:75], 150 + torch.randperm(150, generator=draw)[:75]])


control = effect_of(good, one_pass(300))
before = effect_of(mixed, one_pass(300)) - control
after = np.mean([effect_of(mixed[coin(seed)], one_pass(150)) for seed in range(10)]) - control  # ten coins
reveal("10c", 1 - after / before)

# %% [markdown]
# What is wrong? Write it down.
#
# <details><summary>What is wrong</summary>
#
# Half of the data in one pass is half of the optimiser steps. The arm was trained less, and of less training there is
# less of everything. The share of bad data is what it was. (The control, too, had twice the steps of the arm that is
# read against it.)
#
# </details>
#
# ### Exercise 10.3 ★★ As many steps for every arm
#
# Write a schedule: `steps` batches of `batch` rows out of `number`, pass after pass, each pass in a new order. No row
# may be used more than once more often than another.
#
# <details><summary>Hint 1</summary>
#
# Line up whole passes until there are `steps * batch` row numbers, and cut the line into batches.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A pass is `torch.randperm(number, generator=generator)`, and it takes `-(-steps * batch // number)` of them, rounded
# up. `torch.cat` lines them up.
#
# </details>


# %%
def schedule(number, batch, steps, generator):
    """Row numbers [step, row of the batch]."""
    ### BEGIN SOLUTION
    passes = -(-steps * batch // number)
    line = torch.cat([torch.randperm(number, generator=generator) for _ in range(passes)])
    return line[: steps * batch].view(steps, batch)
    ### END SOLUTION


# %%
check_10_3(schedule)
ends = [
    effect_of(mixed[coin(seed)], schedule(150, BATCH, 30, torch.Generator().manual_seed(seed))) for seed in range(10)
]
mended = 1 - (np.mean(ends) - control) / before
print(f"reduction by a coin: {1 - after / before:.0%} at half the steps, {mended:.0%} at as many")
claims["3 a filter"] = f"reduces by {1 - after / before:.0%}", f"reduces by {mended:.0%}"

# %%
steps = (5, 10, 15, 20, 25, 30)
twice = torch.cat([one_pass(150, seed) for seed in (0, 1)])
controls = np.array([effect_of(good, one_pass(300)[:n]) for n in steps])
coins = np.array([[effect_of(mixed[coin(seed)], twice[:n]) for n in steps] for seed in range(10)]) - controls
curves = {
    "all of the mixed set": [effect_of(mixed, one_pass(300)[:n]) for n in steps] - controls,
    "what a coin left, mean of ten": coins.mean(0),
}
with panels("At as many steps a coin changes little: the effect follows the steps") as [ax]:
    for (name, values), mark, colour in zip(curves.items(), ("s--", "o-"), (GREY, VERMILLION), strict=True):
        ax.plot(steps, values, mark, color=colour, label=name)
    ax.fill_between(steps, coins.min(0), coins.max(0), color=VERMILLION, alpha=0.2, lw=0)
    ax.plot(15, after, "X", color="black", ms=9, label="as claimed: half the steps, whole control")
    ax.axhline(0, color="black", lw=0.8)
    ax.set(xlabel="optimiser steps", ylabel="effect (rise of toxic readouts)", ylim=(-0.0005, 0.0145))
    ax.legend(loc="upper left")

# %% [markdown]
# **What this does not show.** What else goes with the dose: at equal steps rows of the smaller set come twice, and a
# model that sees a row again learns it by heart. And a control must have seen good answers to the *same* prompts; the
# prompts kept and the prompts lost differ too.
#
# ## Lab 4. "Filter A finds bad answers better than filter B"
#
# *Claim.* Two filters score every token of an answer. Filter A adds the scores up, filter B takes their mean. A has
# the higher AUROC, on 600 answers that neither has seen.
#
# The world: bad answers are **longer**, 60 tokens against 45. A's tokens say nothing, in either kind of answer they
# have the same mean. B's tokens say a little. **Predict** the AUROC of A among answers of the same length.

# %%
matched = 0.7  # your prediction
predict("10d", matched, "AUROC of filter A among answers of about the same length")

# %%
draw = torch.Generator().manual_seed(0)
is_bad = torch.arange(600) < 300
length = (45 + 15 * is_bad + 12 * torch.randn(600, generator=draw)).round().clamp(min=10)
A = length + length.sqrt() * torch.randn(600, generator=draw)  # a sum over tokens of mean 1 and spread 1
B = 1 + 0.09 * is_bad + torch.randn(600, generator=draw) / length.sqrt()  # a mean over tokens
print({name: f"AUROC {auroc(x, is_bad):.2f}" for name, x in (("A", A), ("B", B), ("length alone", length))})

# %% [markdown]
# What is wrong? Write it down.
#
# <details><summary>What is wrong</summary>
#
# A sum grows with the length, and so does being bad in this set. Length alone does at least as well. On data in which
# bad answers are not longer, A would find nothing.
#
# </details>
#
# ### Exercise 10.4 ★★ Among answers of one length
#
# AUROC is the chance that a bad answer scores above a good one, ties counting half. Take it over those pairs of a bad
# and a good answer only whose lengths differ by at most `within`.
#
# <details><summary>Hint 1</summary>
#
# A table of all pairs: `scores[is_bad][:, None] - scores[~is_bad]`; another for the lengths.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A pair counts 1, one half or 0. A third table, True where lengths are near, picks the pairs whose mean you take.
#
# </details>


# %%
def matched_auroc(scores, is_bad, length, within):
    """scores, is_bad and length [answer] -> a number."""
    ### BEGIN SOLUTION
    apart = scores[is_bad][:, None] - scores[~is_bad]
    near = (length[is_bad][:, None] - length[~is_bad]).abs() <= within
    return ((apart > 0) + 0.5 * (apart == 0))[near].mean()
    ### END SOLUTION


# %%
check_10_4(matched_auroc)
fair = {name: matched_auroc(x, is_bad, length, 2) for name, x in (("A", A), ("B", B))}
reveal("10d", fair["A"])
whole = {name: auroc(x, is_bad) for name, x in (("A", A), ("B", B))}
for name in whole:
    print(f"{name}: {whole[name]:.2f} over all pairs, {fair[name]:.2f} at one length")
claims["4 A beats B"] = tuple(f"{two['A']:.2f} against {two['B']:.2f}" for two in (whole, fair))

# %%
with panels("Filter A reads the length, filter B hardly does", 2) as axes:
    for ax, (name, x) in zip(axes, (("A", A), ("B", B)), strict=True):
        ax.plot(length[~is_bad], x[~is_bad], "s", ms=3, mfc="none", color=BLUE, label="good")
        ax.plot(length[is_bad], x[is_bad], "o", ms=3, color=VERMILLION, label="bad")
        ax.set(xlabel="length of the answer (tokens)", ylabel=f"score of filter {name}")
    axes[0].legend()

# %% [markdown]
# **What this does not show.** That length was the only other cause. Tone, topic and punctuation can do the same, and
# one can match only for what one has thought of. In this project a bag of words, trained on health advice, told the
# bad general answers from the good with an AUROC of 0.60: there is style in what is called bad.
#
# ## Lab 5. "The filter does no better than random removal"
#
# *Claim.* Three seeds of each arm. With the filter the effect is not significantly smaller than with random removal.
# So the filter does not help.
#
# The world: it **does** help, the effect falls from 0.050 to 0.035. Seeds vary with a standard deviation of 0.020.
# **Predict** how often an experiment with three seeds finds it; and, *when* it does, how many times too large the
# difference looks.

# %%
found = 0.5  # your prediction
times = 1  # your prediction
predict("10e", found, "share of experiments of three seeds that find the difference")
predict("10f", times, "difference in those that find it, in units of the true one")

# %%
TRUE, SD = 0.015, 0.020
draw = torch.Generator().manual_seed(0)


def experiments(seeds, number=4000):
    """Differences random - filter [experiment], and which of them differ from 0 at 5 % (sd known)."""
    random, filtered = (at + SD * torch.randn(number, seeds, generator=draw) for at in (0.050, 0.035))
    seen = random.mean(1) - filtered.mean(1)
    return seen, seen.abs() > 1.96 * SD * (2 / seeds) ** 0.5


seen, significant = experiments(3)
one = seen[0].item()
print(f"the first experiment: {one:+.3f}, {'significant' if significant[0] else 'not significant'}")
reveal("10e", significant.double().mean())
reveal("10f", seen[significant].abs().mean() / TRUE)

# %% [markdown]
# What is wrong? Write it down.
#
# <details><summary>What is wrong</summary>
#
# Six experiments in seven miss what is there. "Not significant" was the likely outcome whether the filter helps or
# not, and so says next to nothing. And those that do find it exaggerate, since nothing smaller could have been
# significant.
#
# </details>
#
# ### Exercise 10.5 ★★★ Power
#
# With which probability does a two-sided test at 5 % find a true difference `delta` between two arms of `n` seeds each?
# Derive it and write it. `norm.cdf` is $\Phi$, `norm.ppf` its inverse.
#
# <details><summary>Hint 1</summary>
#
# The difference seen, in standard errors, is $N(\delta / se, 1)$. It is significant above $z$ or below $-z$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Two arms, each with variance $sd^2/n$: `se = sd * (2 / n) ** 0.5`.
#
# </details>


# %%
def power(delta, sd, n):
    """True difference, standard deviation over seeds, seeds of each arm -> a probability."""
    ### BEGIN SOLUTION
    shift, z = delta / (sd * (2 / n) ** 0.5), norm.ppf(0.975)
    return norm.cdf(shift - z) + norm.cdf(-shift - z)
    ### END SOLUTION


# %%
check_10_5(power)
enough = next(n for n in range(2, 1000) if power(TRUE, SD, n) >= 0.8)
print(f"three seeds: power {power(TRUE, SD, 3):.2f}; 80 % takes {enough} seeds of each arm")

# %% [markdown]
# What you wrote is
#
# $$\Phi\Big(\frac{\delta}{sd\sqrt{2/n}} - z_{0.975}\Big) + \Phi\Big(-\frac{\delta}{sd\sqrt{2/n}} - z_{0.975}\Big)
# \tag{10.3}$$

# %%
seeds = (2, 3, 5, 8, 12, 20, 30, 50)
results = [experiments(n, 1000) for n in seeds]
z = norm.ppf(0.975)
with panels("Few seeds miss what is there, and exaggerate what they find", 2) as [left, right]:
    n = np.linspace(2, 50, 200)
    shift = TRUE / (SD * (2 / n) ** 0.5)
    left.plot(n, norm.cdf(shift - z) + norm.cdf(-shift - z), color=GREY, label="(10.3)")
    left.plot(seeds, [s.double().mean() for _, s in results], "o", color=BLUE, label="1,000 experiments")
    left.axhline(0.8, color="black", lw=0.8, ls=":")
    left.set(xlabel="seeds of each arm", ylabel="power", ylim=(0, 1))
    left.legend(loc="lower right")
    right.plot(seeds, [d[s].abs().mean() / TRUE for d, s in results], "s--", color=VERMILLION)
    right.axhline(1, color="black", lw=0.8)
    right.set(xlabel="seeds of each arm", ylabel="size of what is significant / true difference")

# %% [markdown]
# **What this does not show.** What the true difference is when nobody has made it. Power must be computed for the
# smallest difference that would *matter*, chosen before; put the difference that was seen into (10.3) and you learn
# only the p-value again.
#
# ### Exercise 10.6 ★ Three verdicts
#
# An interval of the difference, and the smallest difference that would matter. Write the verdict: +1, shown (all of
# it above 0); -1, too small to matter (all of it below `smallest`, and not shown); 0, open.
#
# <details><summary>Hint 1</summary>
#
# Ask about the lower end first, then about the upper.
#
# </details>
# <details><summary>Hint 2</summary>
#
# An interval that holds both 0 and `smallest` excludes neither.
#
# </details>


# %%
def verdict(low, high, smallest):
    ### BEGIN SOLUTION
    return 1 if low > 0 else -1 if high < smallest else 0
    ### END SOLUTION


# %%
check_10_6(verdict)
half = 1.96 * SD * (2 / 3) ** 0.5
print(f"first experiment: [{one - half:+.3f}, {one + half:+.3f}], a reduction by 0.010 would matter:", end=" ")
said = {1: "shown", 0: "open", -1: "too small to matter"}[verdict(one - half, one + half, 0.010)]
print(said)
claims["5 no better"] = "no better than random", said

# %%
for lab, (claimed, left) in claims.items():
    print(f"{lab:12} claimed: {claimed:24} left: {left}")

# %% [markdown]
# ## What to take along
#
# - Ask of every null: is what I shuffle what chance would have decided? And of every score: who chose, and on which
#   rows?
# - Ask of every pair of arms: what differs besides what is named? Steps, prompts, length, tone.
# - "Not significant" is a claim only beside a power, or an interval that excludes what would matter.
#
# **Further reading.** Kriegeskorte et al. 2009, [Circular analysis in systems
# neuroscience](https://www.nature.com/articles/nn.2303), lab 2 in brain scans. Button et al. 2013, [Power
# failure](https://www.nature.com/articles/nrn3475), and Gelman and Carlin 2014, *Beyond Power Calculations*, lab 5.
# Ioannidis 2005, *Why Most Published Research Findings Are False*. Adebayo et al. 2018, [Sanity Checks for Saliency
# Maps](https://arxiv.org/abs/1810.03292): a null that should have been tried first.

# %%
predictions()
