"""What the switcher decides: `decisions` first; then what its driver says and understands.

decisions       plans, fences, repairs: state and event in, state and actions out
state           the values that decisions are made of
installed       what a load balancer shows when it is read back, whatever its kind
steps           from what is installed to what is wanted
verification    the request that proves a plan, and what its answer proves
plan_file       a persisted plan, as bytes
haproxy_file    haproxy.cfg, as text
haproxy_words   HAProxy's command line, as text
"""

from services.traffic_switcher.core.decisions import (
    coalesced,
    deadline,
    decide,
    is_current,
    start,
)

__all__ = ["coalesced", "deadline", "decide", "is_current", "start"]
