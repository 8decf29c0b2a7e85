"""How cost grows with the cluster, and with clusters on one bus: `make bench-growth`.

A real nats-server and a real arbiter; all that nodes and consoles say and hear is played, in
messages of the real types, as often as the real programs say them:

scene     the configuration of a cluster of any size, the server, the arbiter, and their ends
said      what the programs of one node say (pure)
crowd     a process that speaks for all nodes of a cluster
listeners a process that hears what consoles hear, and forgets it
faults    evidence in at one side, commands out at the other: what a decision takes from outside
spent     processor, memory and traffic of processes, from outside
cluster   one cluster of a size, measured
many      many clusters on one server, measured
pieces    what grows without a bus: the core, the file, the plan, haproxy.cfg
chapter   the tables and pictures of it (pure)
"""
