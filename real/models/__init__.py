"""The language model: which are known, how one is loaded, cut, read and sampled, and where it computes."""
