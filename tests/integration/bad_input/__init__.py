"""What people get wrong, as each program meets it: its exit code, its log, its health."""
