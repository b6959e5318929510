"""Small superposition models whose leakage is known in closed form.

model.py          the ReLU-output model of Elhage et al. 2022, many instances trained at once
superposition.py  polytopes, sharing, phases: how its features lie
law.py            the predictions: one function for each numbered equation
measure.py        the same changes measured, by autograd and by real steps
check.py          the predictions against the measurements
optimisers.py     which update rules keep the cosine law
consequences.py   what sign and spectral steps do to many features, in closed form
rescaling.py      the same measured
misalignment.py   emergent misalignment in miniature: selection, gap, filters
worlds.py         the same over many worlds, with intervals
equal_loss.py     the same by every optimiser, at equal loss
saes.py           an SAE on the hidden layer: does its geometry predict leakage? (python -m toy.saes)
run.py            settings -> results/toy/summary.json and figures;  figures.py draws them;  command.py takes the folder
"""
