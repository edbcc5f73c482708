"""From a problem to the cheapest one with the same trajectory, and why."""
