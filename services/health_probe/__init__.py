"""Looks at every instance from this node, and says what it sees as evidence.

Runs on every node. Hears: the instances themselves; where it is configured, Docker's engine about
their containers; and `incident.*` to add its part to an incident's trace. Says:
`probe.<observer>.<node>.<service>` at each change of evidence and `picture.<observer>`, the whole,
every second. It judges instances, never what is to be done.
"""
