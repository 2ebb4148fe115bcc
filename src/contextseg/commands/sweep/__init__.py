"""Sweeps: the runs of a command line with -m, those of them that are done, and the jobs that do the others."""
