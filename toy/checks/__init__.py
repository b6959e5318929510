"""The lessons' checks: each recomputes the right answer, and knows the usual wrong ones by name.

`__tracebackhide__` keeps a check's own lines out of a notebook: an error in a student's code shows the student's lines.
"""
