"""Exact reductions: problem to (smaller problem, lift), one file each."""
