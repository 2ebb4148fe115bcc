"""Reports on finished runs: the papers' tables with our values beside the published ones, and a table of the rest."""
