"""Who looks after whom, where a cluster is too large for everybody to look after everybody.

In a small cluster all do. Beyond that a few are enough to be sure of something, and each further
one costs all the others: a hundred nodes that asked each other's twenty services ten times a second
would ask two million times. Who the few are follows from the names alone, so that all agree.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias

from shared.cluster import Cluster

# Of an instance: its own node's, which is first to see it die, and others to tell a dead node from
# a dead service. Suspicion needs two; one of these may be lost, and another one late.
OBSERVERS_MAX = 4
# Who hears a member by UDP. They are anywhere in the cluster, so that what is lost together
# (a rack, half of a cut network) is seldom all of somebody's company.
COMPANIONS_MAX = 8

Names: TypeAlias = tuple[str, ...]


def observers(cluster: Cluster, service: str, node: str) -> Names:
    """Return the nodes whose probes ask an instance, its own among them, in the file's order."""
    names = tuple(cluster.nodes)
    if len(names) <= OBSERVERS_MAX:
        return names
    # Counted from the node itself, which stands at 0. They are as far from each other in the file
    # as can be: neighbours in it are often neighbours in a rack.
    own, others, peers = names.index(node), len(names) - 1, OBSERVERS_MAX - 1
    begin = int.from_bytes(_place(service, node)[:8], "big")
    steps = {0, *(1 + (begin + others * peer // peers) % others for peer in range(peers))}
    return tuple(names[place] for place in sorted((own + step) % len(names) for step in steps))


def companions(cluster: Cluster, member: str) -> Names:
    """Return the members that beat to a member by UDP, and that it beats to, sorted."""
    return _circle(tuple(cluster.members))[member]


@lru_cache(maxsize=8)
def _circle(names: Names) -> Mapping[str, Names]:
    """Return everybody's neighbours in a circle, as many on the one side as on the other."""
    if len(names) - 1 <= COMPANIONS_MAX:
        return {name: tuple(sorted(each for each in names if each != name)) for name in names}
    circle = sorted(names, key=_place)
    reach = [side * step for side in (-1, 1) for step in range(1, COMPANIONS_MAX // 2 + 1)]
    return {
        name: tuple(sorted(circle[(at + steps) % len(circle)] for steps in reach))
        for at, name in enumerate(circle)
    }


def _place(*names: str) -> bytes:
    return hashlib.sha256("\0".join(names).encode()).digest()
