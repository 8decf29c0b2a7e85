"""Whether this observer observes."""

from collections.abc import Iterator, Mapping

from services.health_probe.core.events import Target
from services.health_probe.core.instance import Instance
from shared.health import Check
from shared.instant import SECOND, Instant

SILENT_US = 5 * SECOND  # the longest time-out, and then some: something always ends before
SHOWN_MAX = 3  # of those abstained from


def readiness(
    instances: Mapping[Target, Instance], ended_at: Instant | None, now: Instant
) -> tuple[Check, ...]:
    """Return what must be so for its word to count; an instance's trouble is not its own."""
    return (_probes(instances, ended_at, now), _abstains(instances))


def _probes(instances: Mapping[Target, Instance], ended_at: Instant | None, now: Instant) -> Check:
    if ended_at is None:
        return Check(name="probes", failure="no probe has ended yet")
    if now - ended_at > SILENT_US:
        text = f"no probe has ended for {(now - ended_at) // SECOND} s: this machine is starved"
        return Check(name="probes", failure=text)
    return Check(name="probes", note=f"asks {len(instances)} instances")


def _abstains(instances: Mapping[Target, Instance]) -> Check:
    """One that abstains from all has a trouble of its own; from some, it may be late just now."""
    silent = [(target, one) for target, one in sorted(instances.items()) if one.judgement.abstains]
    if not silent:
        return Check(name="vouches")
    shown = "; ".join(
        f"{target.service} on {target.node}: {one.judgement.detail}"
        for target, one in silent[:SHOWN_MAX]
    )
    if len(silent) == len(instances):
        return Check(name="vouches", failure=f"it abstains from all: {shown}")
    return Check(name="vouches", note=f"abstains from {len(silent)}: {shown}")


def engine(instances: Mapping[Target, Instance], trouble: str) -> Iterator[Check]:
    """Yield a check where an engine is to be asked too: without it, the probes alone decide."""
    contained = tuple(
        one for _, one in sorted(instances.items()) if one.local and one.service.docker is not None
    )
    if contained:
        troubles = dict.fromkeys((trouble, *(one.container.trouble for one in contained)))
        yield Check(name="docker", failure="; ".join(text for text in troubles if text))
