"""The rules of the load balancers: what each instance is to receive, and the original settings.

Weights are whole numbers from 0 to 100, exact in proportion to the nodes' capacities where
such numbers exist (3:1 is 99:33), so that distribution is what the configuration says.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from math import gcd
from typing import TypeAlias

from shared.cluster import Cluster, Mode, Service

WEIGHT_MAX = 100  # the scale of weights: one step is one per cent of the largest


class Admission(StrEnum):
    """What an instance receives from the load balancers."""

    SERVING = "serving"  # requests by weight
    DRAINING = "draining"  # nothing new; what is open may finish
    STANDBY = "standby"  # nothing; a mirror's second, ready to take over
    OUT = "out"  # nothing; it failed, or a person took it out


@dataclass(frozen=True, slots=True)
class Rule:
    """One instance's place in every load balancer."""

    admission: Admission
    weight: int

    def __post_init__(self) -> None:
        assert 0 <= self.weight <= WEIGHT_MAX
        assert (self.weight > 0) == (self.admission is Admission.SERVING)


Rules: TypeAlias = Mapping[str, Mapping[str, Rule]]  # service -> node -> rule


def serving(rules: Mapping[str, Rule]) -> tuple[str, ...]:
    """Return the nodes of one service whose instances receive requests, sorted."""
    return tuple(sorted(n for n, rule in rules.items() if rule.admission is Admission.SERVING))


def original(cluster: Cluster) -> dict[str, dict[str, Rule]]:
    """Return the original settings: what a failback restores, exactly."""
    return {name: original_of(cluster, service) for name, service in cluster.services.items()}


def original_of(cluster: Cluster, service: Service) -> dict[str, Rule]:
    """Return the original rules of one service."""
    if service.mode is Mode.MIRROR:
        return {
            name: Rule(Admission.SERVING, WEIGHT_MAX)
            if name == service.home
            else Rule(Admission.STANDBY, 0)
            for name in cluster.nodes
        }
    weights = _weights({name: node.capacity for name, node in cluster.nodes.items()})
    return {name: Rule(Admission.SERVING, weight) for name, weight in weights.items()}


def _weights(capacities: Mapping[str, int]) -> dict[str, int]:
    divisor = reduce(gcd, capacities.values())
    reduced = {name: capacity // divisor for name, capacity in capacities.items()}
    largest = max(reduced.values())
    if largest <= WEIGHT_MAX:
        return {name: part * (WEIGHT_MAX // largest) for name, part in reduced.items()}
    return {name: max(1, round(part * WEIGHT_MAX / largest)) for name, part in reduced.items()}


def digest(rules: Rules) -> str:
    """Return a short hash of rules: equal digests mean equal rules."""
    lines = [
        [service, node, rule.admission, rule.weight]
        for service, of_service in sorted(rules.items())
        for node, rule in sorted(of_service.items())
    ]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]
