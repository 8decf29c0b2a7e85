"""The outside that is not the bus: the instances, and this process's own event loop."""
