"""Step 5: how much each filter wants a training sample gone, what it may know, and how well it does."""
