"""What the switcher decides: `decisions` first; then what its driver says and understands.

decisions       plans, fences, repairs: state and event in, state and actions out
state           the values that decisions are made of
installed       what a load balancer shows when it is read back, whatever its kind
steps           from what is installed to what is wanted
verification    the request that proves a plan, and what its answer proves
leases          what is granted, held and given up: a core of its own, for a loop of its own
places          where a VIP would be on this machine
watching        whether the load balancer is dead or hangs
plan_file       a persisted plan, as bytes; sealed_file: what all persisted files have in common
haproxy_file    haproxy.cfg, as text
haproxy_words   HAProxy's command line, as text
nft_words       the guard's rules, as text for the kernel; nft_listing: what it answers
nft_elements    what is open, as messages for the kernel, and what it answers
connected       which of this machine's networks an address is in
packet_filter   which frames are claims of our VIPs
"""

from services.traffic_switcher.core.decisions import (
    coalesced,
    deadline,
    decide,
    is_current,
    start,
)

__all__ = ["coalesced", "deadline", "decide", "is_current", "start"]
