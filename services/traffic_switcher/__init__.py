"""Makes the load balancer of its node follow the plan, and proves that it did.

Hears `command.<node>` (Failover, Failback, Drain, Restore) and `recall.<node>`.
Says `applied.<node>` (installed, verified or failed), `refused.<node>`, `drift.<node>` and, every
second, `measured.<node>`; answers a recall with the plan that it persisted.
"""
