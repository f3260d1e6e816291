"""Evaluate: metrics, predictions and plots on held-out rows."""
