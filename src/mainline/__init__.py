"""Mainline: Git as the control plane of a machine-learning model."""
