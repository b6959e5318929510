"""Step 6: what every arm is trained on, its fine-tune, and its weights."""
