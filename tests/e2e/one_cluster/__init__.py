"""Tests that share one sandbox, which each leaves as it found it.

They are played in the order of their files' names: who needs a cluster about which nothing is said
comes first, what leaves a node shunned for a minute last.
"""
