"""Retrain: one branch, one pull request."""
