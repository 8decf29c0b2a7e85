"""Makes the load balancer of its node follow the plan, and holds the VIPs that it is granted.

Hears `command.<node>` (Failover, Failback, Drain, Restore), `recall.<node>` and `grant.<node>`.
Says `applied.<node>` (installed, verified or failed), `refused.<node>`, `drift.<node>` and, every
second, `measured.<node>`; answers a recall with the plan that it persisted. Where there are VIPs:
`beat.<node>`, `held.<node>` and `claim.<node>`.
"""
