"""The whole loop on the sample project, in a throw-away clone."""
