"""Compare a candidate with production on the same rows."""
