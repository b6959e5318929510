"""Step 10: what a language model says of the answers that the arms give."""
