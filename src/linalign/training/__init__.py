"""Training: the loop, its runs and what they promised."""
