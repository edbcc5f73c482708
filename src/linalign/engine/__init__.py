"""What runs a plan: the compiled kernels, the reference, and sums of parts."""
