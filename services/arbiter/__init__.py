"""Decides where traffic goes: turns heartbeats and evidence into whole plans, and says why.

Hears `heartbeat.*`, `probe.*.*.*`, `picture.*`, `applied.*`, `measured.*`, `refused.*`,
`drift.*` and `operator.*`; says `command.<node>`, `situation`, `node.*`, `service.*`,
`readiness`, `leader` and `incident.*`. It keeps nothing on disk: an arbiter starts from the
plan in force, which every switcher has persisted.
"""
