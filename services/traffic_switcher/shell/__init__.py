"""What the process does: two loops that do not wait for each other.

switcher    makes the load balancer follow the plan
leases      beats, renews, takes and releases VIPs; told of every plan that was persisted
renewing    rule 4: permit, clock, commit
hands       what is asked of netlink, one after the other
"""

from services.traffic_switcher.shell.leases import LeaseKeeper
from services.traffic_switcher.shell.switcher import Switcher

__all__ = ["LeaseKeeper", "Switcher"]
