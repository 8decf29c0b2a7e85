"""Properties of the arbiter's core."""
