"""The switcher against a real HAProxy."""
