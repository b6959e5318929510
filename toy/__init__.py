"""Small superposition models whose leakage is known in closed form.

model.py          the ReLU-output model of Elhage et al. 2022, many instances trained at once
superposition.py  polytopes, sharing, phases: how its features lie
law.py            the predictions: one function for each numbered equation
measure.py        the same changes measured, by autograd and by real steps; check.py sets one against the other
optimisers.py     which update rules keep the cosine law
misalignment.py   emergent misalignment in miniature: selection, gap, filters
saes.py           an SAE on the hidden layer: does its geometry predict leakage? (python -m toy.saes)
run.py            settings -> results/toy/summary.json and figures;  figures.py draws them;  command.py takes the folder
"""
