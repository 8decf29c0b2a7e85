"""The composed cluster on a real engine: `make test-compose`."""
