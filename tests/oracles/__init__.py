"""What the tests check against: cases, bounds, and programs that nobody here wrote."""
