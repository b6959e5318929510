"""Experiments of their own, each with what it predicts written down first: `python -m real dose`, ..."""
