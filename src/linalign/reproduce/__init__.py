"""Reproduce: the paper's story as claims, each with an experiment that could refute it."""
