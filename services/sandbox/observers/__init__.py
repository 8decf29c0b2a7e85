"""Who really holds the virtual IPs, observed from outside, sharing nothing with Equipoise.

Two pairs of eyes in one process, on the clock that all namespaces have in common:

    guards     in every node's namespace: which VIPs' addresses are there, and for which of them
               the guard is open. Both: the node *holds* the VIP, whoever of its programs lives.
    wire       on the clients' network: asks for every VIP at link level (ARP, neighbour
               solicitation) a hundred times a second, and notes who answers.

    observations   what they write and how it is read
    judging        what it means: overlap, darkness, who answered first; or "not observed" (pure)

The client's kernel learns nothing from the answers: they go to a port of their own, else asking
would heal a stale neighbour table that a node failed to correct. Why it is done so, and how far
it can be trusted: docs/decisions/0023.
"""
