"""`make clean-data`: scores for the rows of one unlabelled file, and the file in two: kept and removed."""
