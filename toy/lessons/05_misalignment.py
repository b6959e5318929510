# %% [markdown]
# # Lesson 5: emergent misalignment in miniature
#
# A world of 240 features in 64 dimensions. Bad advice uses `inducing` features, good advice `control` features.
# Nobody ever trains the `toxic` ones. **Question:** what does fine-tuning on bad advice do to them, and can a
# filter prevent it?

# %%
from shared import filtering, geometry
from toy.misalignment import (
    WorldSettings,
    experiment,
    feature_acts,
    filtered,
    finetune,
    misaligned,
    mixture,
    select,
    world,
)

this = world(WorldSettings(alignment=1.0))
rise = {arm: misaligned(this, finetune(this.W, this.samples[arm])) for arm in ("bad", "good")}
print("rise of the toxic readouts on neutral probes:", rise)

# %% [markdown]
# **Predict before you run the next cell.** Now plant no alignment: inducing features are no nearer to the toxic
# ones than control features are. By how much do toxic readouts rise above control's? And at half the alignment?

# %%
for alignment in (0.0, 0.5, 1.0):
    found = experiment(WorldSettings(alignment=alignment))
    gap = found["gap"]
    print(f"alignment {alignment}: effect {found['effect']:+.4f}, gap {gap['gap']:+.3f} (p {gap['p']:.3f})")
# The dose makes the response, in proportion to what (E2) says. R^2 of first-step prediction and whole fine-tune:
print("R^2:", round(found["law"]["r2"], 4))

# %% [markdown]
# **Exercise 1.** Half of the training set is bad. Score every sample by how near its features lie to the selected
# toxic ones (`filtering.geometry_score`), remove the highest half, fine-tune on the rest. What share of the
# effect is gone?

# %%
mixed, bad = mixture(this.samples["bad"], this.samples["good"])
close = geometry.affinity(this.W, select(this, 30).toxic)
score = filtering.geometry_score(feature_acts(this.W, mixed), close)
kept = mixed[filtering.keep_mask(score, 0.5, seed=0)]
control = misaligned(this, finetune(this.W, this.samples["good"]))
effect = misaligned(this, finetune(this.W, mixed)) - control
left = misaligned(this, finetune(this.W, kept)) - control  # solution
assert left < 0 < effect
removed = bad[~filtering.keep_mask(score, 0.5, seed=0)].double().mean()
print(
    f"geometry removes {1 - left / effect:.0%} of the effect; {removed:.0%} of the removed samples were bad"
)
# More than all of it: what is kept points away from the toxic features even more than good advice does.

# %% [markdown]
# **Exercise 2.** The filter looks at all features of a sample, its topic too. Plant the same alignment in the topics
# (`topic_alignment=2.0`). Does the geometry score still tell bad from good advice? Do toxic readouts still fall?

# %%
blind = filtered(
    WorldSettings(topic_alignment=2.0), filters=("geometry", "random"), fractions=(0.5,)
)  # solution
geometry_arm, random_arm = blind["filters"]["geometry"], blind["filters"]["random"]
assert geometry_arm["auroc"] < 0.5
assert geometry_arm["effect"][0] < random_arm["effect"][0]
print(f"AUROC for bad advice: {geometry_arm['auroc']:.2f}")
print(f"toxic readouts: geometry {geometry_arm['effect'][0]:+.4f}, random {random_arm['effect'][0]:+.4f}")
# Geometry is evidence about features, not about intentions: it removes what leaks, harmful or not, and here that is
# the advice whose harmless topics lie near the toxic features.
