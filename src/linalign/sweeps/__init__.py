"""Ensembles of runs over one data set."""
