"""Making the ready tree of a data set from its official archives; `sets` has a file for each data set."""
