"""The weights that the papers' authors released, turned into our checkpoints: docs/convert.md."""
