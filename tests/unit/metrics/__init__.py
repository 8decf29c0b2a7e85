"""The names of what is measured."""
