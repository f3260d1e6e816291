"""Report and decide: Markdown, one HTML page, the gate."""
