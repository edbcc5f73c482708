"""What is minimised: networks, data, and the two together."""
