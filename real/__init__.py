"""The law on real language models: data, features, geometry, fine-tunes, margins, leakage, report."""
