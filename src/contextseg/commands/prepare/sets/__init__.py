"""A file for each data set: its `LAYOUTS`."""
