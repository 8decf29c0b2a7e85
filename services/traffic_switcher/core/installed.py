"""What a load balancer shows when it is read back, whatever its kind."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from shared.messages.traffic import ServiceLoad
from shared.rules import WEIGHT_MAX, Admission, Rule, Rules

Target: TypeAlias = tuple[str, str]  # service, node: one instance in this load balancer

NOTHING: Rule = Rule(Admission.OUT, 0)


class Gate(StrEnum):
    """Whether the load balancer lets requests through to an instance."""

    OPEN = "open"
    DRAINING = "draining"  # nothing new; what is open goes on
    CLOSED = "closed"  # nothing, and what was open has been closed


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as the load balancer shows it."""

    gate: Gate
    weight: int
    up: bool = True  # the load balancer's own opinion


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Everything that was read back at one moment."""

    process: str  # changes when the load balancer restarts or reloads
    outdated: bool  # it runs another configuration than the one that we wrote
    instances: Mapping[Target, Instance]
    loads: Mapping[str, ServiceLoad] = field(default_factory=dict)  # empty when not asked for


def rule_of(instance: Instance, wanted: Rule) -> Rule:
    """Return an instance's rule as installed, in the words of the wanted one where they fit.

    A load balancer does not know why a gate is not open: a closed one is standby if that is what
    it should be. A draining one counts as out from its first moment, because it receives nothing
    new; its open requests are freed a moment later.
    """
    if instance.gate is Gate.OPEN:
        weight = min(instance.weight, WEIGHT_MAX)
        return Rule(Admission.SERVING, weight) if weight else Rule(Admission.DRAINING, 0)
    if wanted.admission in (Admission.OUT, Admission.STANDBY):
        return wanted
    return Rule(Admission.DRAINING, 0) if instance.gate is Gate.DRAINING else NOTHING


def rules_of(installation: Installation, wanted: Rules) -> dict[str, dict[str, Rule]]:
    """Return the rules as installed, of all instances that are wanted and shown."""
    found: dict[str, dict[str, Rule]] = {}
    for (service, node), rule in targets(wanted):
        instance = installation.instances.get((service, node))
        if instance is not None:
            found.setdefault(service, {})[node] = rule_of(instance, rule)
    return found


def targets(rules: Rules) -> Iterator[tuple[Target, Rule]]:
    """Yield every instance with its rule, in a fixed order."""
    for service, of_service in sorted(rules.items()):
        for node, rule in sorted(of_service.items()):
            yield (service, node), rule
