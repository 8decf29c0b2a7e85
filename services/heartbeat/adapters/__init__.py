"""The outside that is not the bus: UDP between members."""
