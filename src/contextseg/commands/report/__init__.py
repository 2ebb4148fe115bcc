"""Reports on finished runs: the papers' tables with our numbers beside the published ones, and a table of the rest."""
