"""The lessons' checks: each recomputes the right answer, and knows the usual wrong ones by name."""
