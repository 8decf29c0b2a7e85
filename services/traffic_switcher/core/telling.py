"""What is told of a load balancer every second: everything, or a part of it where that is much.

Every load balancer knows every instance, so what all of them tell grows with the square of the
nodes. In a large cluster the services that are as originally set take turns with their instances;
their totals, and the instances of all others, are told every time. Rules are told by their digest,
and written out only where they are not those that are wanted.
"""

from collections.abc import Mapping

from services.traffic_switcher.core.pace import LOOK_EVERY_US
from shared.frozen import replace
from shared.instant import Instant
from shared.messages.traffic import Plan, ServiceLoad
from shared.rules import Rules

WHOLE_MAX = 200  # instances: 25 kB a second from each node


def is_whole(rules: Rules) -> bool:
    """Whether everything is told every time."""
    return sum(map(len, rules.values())) <= WHOLE_MAX


def told_loads(
    loads: Mapping[str, ServiceLoad], wanted: Rules, plan: Plan | None, now: Instant
) -> Mapping[str, ServiceLoad]:
    """Return what was counted, the instances of most services left out where there are many."""
    if is_whole(wanted):
        return loads
    concerned = {each.service for each in plan.records if each.incident} if plan else set()
    at_rest = sorted(loads.keys() - concerned)
    told = {*concerned, *_in_turn(at_rest, max(map(len, wanted.values())), now)}
    return {
        name: load if name in told else replace(load, instances={}) for name, load in loads.items()
    }


def told_rules(rules: Rules, wanted: Rules) -> Rules:
    """Return what is installed, or nothing where its digest says as much."""
    return {} if rules == wanted and not is_whole(wanted) else rules


def _in_turn(services: list[str], nodes: int, now: Instant) -> list[str]:
    """Return the services whose turn it is: as many as are told together, by the clock."""
    some = max(1, WHOLE_MAX // nodes)
    begin = now // LOOK_EVERY_US * some
    return [services[(begin + k) % len(services)] for k in range(min(some, len(services)))]
