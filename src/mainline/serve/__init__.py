"""Build and serve: a Bento, its service, the prediction log."""
