"""Benchmarks: `python -m bench` prints one table and saves its data under bench/results/."""
