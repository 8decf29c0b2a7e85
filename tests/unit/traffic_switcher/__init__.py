"""The switcher's pure parts, a situation at a time."""
