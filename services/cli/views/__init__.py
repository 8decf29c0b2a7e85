"""Answers of the console as lines of text: plain functions, tested by what they print."""
