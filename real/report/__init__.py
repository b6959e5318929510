"""Step 11: the summary, its verdicts, figures, tables and page."""
