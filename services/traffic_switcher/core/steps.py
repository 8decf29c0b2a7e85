"""From what is installed to what is wanted, one change after the other.

Rule 1: a service is never momentarily empty: takers open before leavers close. In mirror mode the
        order is reversed, because two instances must not serve at once; what arrives in the
        moment between finds nobody and is held by the load balancer (docs/decisions/0012).
Rule 2: the weight is set before the gate opens: a returning instance begins at its ramp's weight.
Rule 3: nobody is closed before it has drained for a moment: closing ends what is open, and what
        is just being connected would be lost although it may be repeated (docs/decisions/0011).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from services.traffic_switcher.core.installed import Gate, Instance, Target, targets
from shared.cluster import Cluster, Mode
from shared.frozen import replace
from shared.rules import Admission, Rule, Rules

SERVICE_OF = 0  # of a Target


class Change(StrEnum):
    """What can be done to one instance in a load balancer."""

    WEIGH = "weigh"
    OPEN = "open"
    DRAIN = "drain"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Step:
    """One change; each can be repeated without harm."""

    target: Target
    change: Change
    weight: int = 0  # for WEIGH
    ends_sessions: bool = False  # for CLOSE: HAProxy would leave open requests where they are

    def __str__(self) -> str:
        service, node = self.target
        words = f"weight {self.weight}" if self.change is Change.WEIGH else self.change.value
        return f"{service}/{node} {words}"


TAKING = (Change.WEIGH, Change.OPEN)

Shown: TypeAlias = Mapping[Target, Instance]


def steps(
    cluster: Cluster, wanted: Rules, shown: Shown, *, drained: frozenset[Target]
) -> tuple[Step, ...]:
    """Return what makes a load balancer follow; `drained` have drained for long enough."""
    found: list[Step] = []
    for name, rules in sorted(wanted.items()):
        every = [
            step
            for target, rule in targets({name: rules})
            if target in shown
            for step in _toward(target, rule, shown[target], drained=target in drained)
        ]
        mirror = cluster.services[name].mode is Mode.MIRROR
        if mirror:
            every = [replace(s, ends_sessions=s.change is Change.CLOSE) for s in every]
        found += sorted(every, key=lambda step: (step.change in TAKING) == mirror)
    return tuple(found)


def _toward(target: Target, rule: Rule, shown: Instance, *, drained: bool) -> Iterator[Step]:
    if rule.admission is Admission.SERVING:
        if shown.weight != rule.weight:
            yield Step(target, Change.WEIGH, rule.weight)
        if shown.gate is not Gate.OPEN:
            yield Step(target, Change.OPEN)
    elif rule.admission is Admission.DRAINING:
        if shown.gate is not Gate.DRAINING:
            yield Step(target, Change.DRAIN)
    elif shown.gate is Gate.OPEN:
        yield Step(target, Change.DRAIN)
    elif shown.gate is Gate.DRAINING and drained:
        yield Step(target, Change.CLOSE)
