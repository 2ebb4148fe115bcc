"""The page of `attend.py serve=true`: click a pixel and see where its context came from."""
