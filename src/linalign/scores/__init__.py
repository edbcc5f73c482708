"""Scores of networks: spectra, alignment of interfaces, singular vectors, certificates."""
