"""Says that this member is alive, and whom it hears.

Runs on every node and on the witness. Hears: the peers' beats, directly by UDP. Says:
`heartbeat.<node>` on the bus and an authenticated datagram to every peer, each
`heartbeat.every`, and `presence.<node>` once a second. It judges nobody: silence is what the
arbiter makes of it.
"""
