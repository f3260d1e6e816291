"""`mainline drill`: faults on purpose, on the project's own table; each must be blocked by name."""
