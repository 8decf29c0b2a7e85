"""Tests of the tests: bugs planted into the real cores, each of which must be caught.

bugs      the list: which rule is broken, where, and how
planting  puts a bug into a function while it runs, and takes it out again
hunt      runs the simulation until it finds a bug
"""
