"""Label maps of a split as the server of its data set wants them, in one checked archive."""
