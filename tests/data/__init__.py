"""Real public data sets through the whole pipeline, against figures computed apart from it."""
