"""Watch: drift, quality and data verdicts."""
