"""Sweeps: which runs a command line with -m means, which of them are done, and each in a process of its own."""
