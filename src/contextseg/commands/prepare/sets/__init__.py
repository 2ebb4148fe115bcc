"""The `LAYOUTS` of the data sets, a file for each."""
