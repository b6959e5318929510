"""Metrics of both regimes: geometry, selection, leakage, filtering, stats, records. Rows are features."""
