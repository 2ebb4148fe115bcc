"""Data sets: a source of (image, mask) pairs per split, a keyed training stream, one data module per data set."""
