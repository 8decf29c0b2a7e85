"""What the arbiter touches outside: the plans in force, and traces."""
