"""From the official archives of a data set to a ready tree. What is true of one data set only is in `sets`."""
