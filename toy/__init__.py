"""Small superposition models whose leakage is known in closed form.

model.py    the ReLU-output model of Elhage et al. 2022, many instances trained at once
law.py      the predictions: one function for each numbered equation
measure.py  the same changes measured, by autograd and by one real optimiser step
run.py      settings -> results/toy/{summary.json, law.png};  figures.py draws it
"""
