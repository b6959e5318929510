"""Steps 7 to 9: margins, leakage and causes: what fine-tuning did."""
