"""What a run reads: rows, files, texts, and how they become tokens. Nothing here knows a model's weights."""
