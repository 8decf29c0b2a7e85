"""The node's side of leases (docs/vip-safety.md): `deciding` first.

deciding    events in, actions out; the order of everything
granting    what a grant gives and a plan takes away: the rules by their numbers
taking      how a VIP comes: guard, address, announcements, a real request
releasing   how a VIP leaves: given up, run out, drained; what is persisted before it is said
handing     planned moves: open connections are handed over to the holder before
fitness     whether this node can hold a VIP; repairs
beating     what is said, and when
state       the values, and events
actions     what is to be done
lease_file  what is persisted, as bytes
"""

from services.traffic_switcher.core.leases.deciding import (
    Beginning,
    deadline,
    decide,
    draining,
    is_over,
    start,
)
from services.traffic_switcher.core.leases.granting import rests

__all__ = ["Beginning", "deadline", "decide", "draining", "is_over", "rests", "start"]
