"""Packing label maps of a split for the test server of its data set, in one checked archive."""
