"""Shows people what is, and carries what they ask to the leading arbiter.

Runs on every member. It hears everything that is said on the bus, and says `operator.<verb>` for
people. What it knows is read over HTTP on a unix socket, `api.sock` in the run directory.
"""
