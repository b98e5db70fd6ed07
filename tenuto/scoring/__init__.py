"""Scores: evaluation on common clips, metrics, intervals and p-values, noise, conditions and latency."""
