"""Train: columns by role, the bundle and its reference profile."""
