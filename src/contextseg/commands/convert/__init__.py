"""Converting the weights that the papers' authors released into our checkpoints: docs/convert.md."""
