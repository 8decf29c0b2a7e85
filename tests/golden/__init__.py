"""Recorded messages, one file a type: what was once sent must be readable for ever."""
