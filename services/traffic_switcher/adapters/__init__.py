"""What is outside of the switcher and is not the bus: load balancers, the disk, real requests."""
