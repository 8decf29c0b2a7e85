"""The outside: Docker's engine."""
