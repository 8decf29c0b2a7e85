"""What must hold at every step, whatever the weather; the texts are those of the design.

Each invariant overrides the moments that it is about and raises `Violation` with `broken`. The
moments are called by the world as things happen, so that nothing is found only at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from services.arbiter.core.state import (
    EVIDENCE_AGE_MAX_US,
    Action as ArbiterAction,
    Asked,
    CaughtUp,
    Event as ArbiterEvent,
    Instance,
    Order,
    Say,
    State as ArbiterState,
    Tick,
)
from services.traffic_switcher.core.installed import Gate, Target
from services.traffic_switcher.core.state import (
    Action as SwitcherAction,
    Commanded,
    Event as SwitcherEvent,
    Memory,
    Number,
    Prepare,
    Shown,
    State as SwitcherState,
)
from services.traffic_switcher.core.steps import Change, Step
from shared.cluster import Mode
from shared.instant import MILLISECOND, Duration, Instant
from shared.messages.facts import (
    Incident,
    IncidentClosed,
    IncidentOpened,
    IncidentState,
    IncidentUpdated,
    InstanceState,
    NodeChanged,
    ServiceChanged,
)
from shared.messages.health import Evidence, Grade, Picture, Verdict
from shared.messages.operator import Verb
from shared.messages.table import Message
from shared.messages.traffic import (
    Applied,
    Command,
    Failover,
    Measured,
    Override,
    OverrideKind,
    Plan,
    Stage,
)
from shared.rules import Admission, Rules, digest, original, serving

from tests.simulation.weather import Fault

if TYPE_CHECKING:
    from services.arbiter.core import Past
    from tests.simulation.arbiters import Arbiter
    from tests.simulation.processes import Process
    from tests.simulation.switchers import Switcher
    from tests.simulation.world import World

CONFIRMING = 2  # observers that must share a suspicion, if there are so many
SLACK_US: Duration = 100 * MILLISECOND  # five ticks: what is judged at ticks is not judged between
PHASES = ("detect", "decide", "switch", "verify")
ENDING = (Verb.FAILBACK, Verb.MAINTENANCE_END, Verb.RESUME)
RECEIVING = (
    InstanceState.HOME,
    InstanceState.SUSPECT,
    InstanceState.HELD,
    InstanceState.RAMPING,
)


class Violation(AssertionError):  # noqa: N818 - it is what was found
    """An invariant does not hold."""


class Invariant:
    """Something that always holds; its moments do nothing unless overridden."""

    text = ""

    def __init__(self, world: World) -> None:
        self.world = world

    def broken(self, how: str) -> NoReturn:
        """Report the first moment at which it does not hold."""
        raise Violation(f"{type(self).__name__}: {self.text}\n  but {how}")

    def began(self, arbiter: Arbiter, past: Past, state: ArbiterState) -> None:
        """An arbiter begins with what it found."""

    def decided(self, arbiter: Arbiter, change: Change_, now: Instant) -> None:
        """The arbiter's core has taken an event in."""

    def ordered(self, arbiter: Arbiter, command: Command, node: str) -> None:
        """A command is sent to a node."""

    def recorded(self, plan: Plan) -> None:
        """The stream has a command."""

    def told(self, process: Process, message: Message) -> None:
        """A process says something."""

    def switched(
        self,
        switcher: Switcher,
        before: SwitcherState,
        event: SwitcherEvent,
        after: SwitcherState,
        actions: tuple[SwitcherAction, ...],
    ) -> None:
        """The switcher's core has taken an event in."""

    def persisted(self, switcher: Switcher, before: Memory | None, memory: Memory) -> None:
        """A switcher has written its plan."""

    def prepared(self, switcher: Switcher, prepare: Prepare) -> None:
        """A switcher has written the load balancer's file."""

    def sending(self, switcher: Switcher, number: Number) -> None:
        """A switcher sends the steps of a plan to its load balancer."""

    def stepping(self, switcher: Switcher, step: Step, number: Number, *, is_late: bool) -> None:
        """A load balancer is about to do one step of a plan."""

    def stepped(self, switcher: Switcher, step: Step, before: Mapping[str, list[str]]) -> None:
        """It has done it; `before` is who served before the first step of these."""

    def followed(self, switcher: Switcher, before: Mapping[str, list[str]]) -> None:
        """It has done all of them."""


class Change_:  # noqa: N801 - `Change` is the switcher's
    """One decision of the arbiter."""

    __slots__ = ("actions", "after", "before", "event")

    def __init__(
        self,
        before: ArbiterState,
        event: ArbiterEvent,
        after: ArbiterState,
        actions: tuple[ArbiterAction, ...],
    ) -> None:
        self.before = before
        self.event = event
        self.after = after
        self.actions = actions

    @property
    def is_planned(self) -> bool:
        """Whether it made a plan."""
        return self.after.plan is not self.before.plan


@dataclass(frozen=True, slots=True)
class Heard:
    """What one observer last said of one instance, as it reached the arbiter."""

    evidence: Evidence
    arrived_at: Instant
    heard_at: Instant


class Ears:
    """What the arbiter has heard, kept beside its core and not by it."""

    def __init__(self) -> None:
        self.heard: dict[Target, dict[str, Heard]] = {}
        self.bad: dict[tuple[Target, str], Heard] = {}  # bad words that stand
        self.bad_at: dict[Target, Instant] = {}  # the last tick that found one

    def forget(self) -> None:
        """Begin as a new arbiter does."""
        self.heard, self.bad, self.bad_at = {}, {}, {}

    def hear(self, event: ArbiterEvent, arrived_at: Instant, now: Instant) -> None:
        """Take evidence in; what an observer said earlier than what is known changes nothing."""
        match event:
            case Evidence():
                self._hear(Heard(event, arrived_at, now))
            case Picture():
                for evidence in event.evidence:
                    self._hear(Heard(evidence, arrived_at, now))
            case CaughtUp():
                self.bad = {}  # said before it slept, and no longer believed
            case Tick():
                for (target, _), heard in self.bad.items():
                    if now - heard.heard_at <= EVIDENCE_AGE_MAX_US:
                        self.bad_at[target] = now
            case _:
                pass

    def _hear(self, heard: Heard) -> None:
        said = heard.evidence
        target = (said.service, said.node)
        known = self.heard.setdefault(target, {}).get(said.observer)
        if known is not None:
            old = known.evidence
            if old.boot_id == said.boot_id and old.sequence > said.sequence:
                return
        self.heard[target][said.observer] = heard
        if said.verdict is Verdict.UNHEALTHY and not said.abstains:
            self.bad[target, said.observer] = heard
        else:
            self.bad.pop((target, said.observer), None)


# -- plans and who speaks ----------------------------------------------------------------------


class OneSpeaker(Invariant):
    """Two arbiters of one epoch could give one number to two plans."""

    text = "one arbiter speaks per epoch"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._speakers: dict[int, tuple[int, Instant]] = {}

    def ordered(self, arbiter: Arbiter, command: Command, node: str) -> None:
        if self.world.broker.lost_something or arbiter.state is None:
            return  # without the stream nobody can know of an epoch that reached no switcher
        speaker = (arbiter.generation, arbiter.state.begun_at)
        known = self._speakers.setdefault(command.plan.epoch, speaker)
        if known != speaker:
            self.broken(f"epoch {command.plan.epoch} was spoken in before, to {node} now")


class RestartsStill(Invariant):
    """A restart is no reason to move anything."""

    text = "an arbiter begins with the plan in force, and moves nothing by beginning"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._newest: Plan | None = None  # that a switcher or the stream has

    def recorded(self, plan: Plan) -> None:
        self._hold(plan)

    def persisted(self, switcher: Switcher, before: Memory | None, memory: Memory) -> None:
        if memory.plan is not None:
            self._hold(memory.plan)

    def _hold(self, plan: Plan) -> None:
        if self._newest is None or plan.number > self._newest.number:
            self._newest = plan

    def began(self, arbiter: Arbiter, past: Past, state: ArbiterState) -> None:
        newest = max(past.plans, key=lambda plan: plan.number, default=None)
        begun_from = original(self.world.weather.cluster) if newest is None else newest.services
        if state.plan.services != begun_from:
            self.broken(f"the first plan is {state.plan.services}, in force was {begun_from}")
        if self.world.broker.lost_something or self.world.stream_unread:
            return
        if self._newest is not None and (newest is None or newest.number < self._newest.number):
            self.broken(f"{self._newest.number} was in force, and it begins from {newest}")


class Caused(Invariant):
    """Whoever looks at the load balancer must find who wanted it so."""

    text = "every change of rules has an accepted command or a named reflex"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._plans: dict[Number, list[Rules]] = {}

    def ordered(self, arbiter: Arbiter, command: Command, node: str) -> None:
        plans = self._plans.setdefault(command.plan.number, [])
        if command.plan.services not in plans:
            plans.append(command.plan.services)

    def stepping(self, switcher: Switcher, step: Step, number: Number, *, is_late: bool) -> None:
        service, node = step.target
        plans = self._plans.get(number)
        if plans is None:
            self.broken(f"{step} is done for {number}, which nobody ordered")
        if not any(_agrees(step, services[service][node].weight) for services in plans):
            self.broken(f"{step} is done for {number}, which does not say so")


def _agrees(step: Step, weight: int) -> bool:
    """Whether a step leads to a rule of this weight: only what serves has one."""
    if step.change is Change.WEIGH:
        return step.weight == weight
    return (step.change is Change.OPEN) == (weight > 0)


# -- fences ------------------------------------------------------------------------------------


class OnlyUpwards(Invariant):
    """Plans are whole: the newest is right, whatever else is heard."""

    text = "what a switcher applies strictly increases in (epoch, sequence), over restarts too"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._newest: dict[str, Plan] = {}

    def persisted(self, switcher: Switcher, before: Memory | None, memory: Memory) -> None:
        plan, known = memory.plan, self._newest.get(switcher.node)
        if plan is None:
            if known is not None:
                self.broken(f"{switcher.node} forgets {known.number}")
            return
        if known is not None and plan.number < known.number:
            self.broken(f"{switcher.node} had {known.number} and takes {plan.number}")
        if known is not None and plan.number == known.number and plan.services != known.services:
            self.broken(f"{switcher.node} takes another plan as {plan.number}")
        self._newest[switcher.node] = plan


class NoOlderEffect(Invariant):
    """An enactor that is late must not undo what a newer plan did."""

    text = "no effect of a plan older than the newest persisted one"

    def sending(self, switcher: Switcher, number: Number) -> None:
        # What a load balancer was told in time and does a moment later is not ours to hold back:
        # it is read back, and repaired.
        durable = switcher.disk.durable
        if durable is not None and number < durable.fence:
            self.broken(f"{switcher.node} sends steps of {number}, having {durable.fence}")


class PersistedFirst(Invariant):
    """Whoever is killed must find at its restart what it has done."""

    text = "persist before effect"

    def stepping(self, switcher: Switcher, step: Step, number: Number, *, is_late: bool) -> None:
        durable = switcher.disk.durable
        if durable is None or durable.fence < number:
            self.broken(f"{switcher.node} does {step} for {number}, which is not on its disk")


class AppliedOnce(Invariant):
    """A command may be heard any number of times."""

    text = "applying twice is applying once"

    def switched(
        self,
        switcher: Switcher,
        before: SwitcherState,
        event: SwitcherEvent,
        after: SwitcherState,
        actions: tuple[SwitcherAction, ...],
    ) -> None:
        if not isinstance(event, Commanded) or event.command.plan.number != before.memory.fence:
            return
        if after.received is not None:
            self.broken(f"{switcher.node} persists {before.memory.fence} again")

    def stepping(self, switcher: Switcher, step: Step, number: Number, *, is_late: bool) -> None:
        if is_late or switcher.balancer.touched:
            return
        server = switcher.balancer.servers[step.target]
        idle = {
            Change.WEIGH: server.weight == step.weight,
            Change.OPEN: server.gate is Gate.OPEN,
            Change.DRAIN: server.gate is Gate.DRAINING,
            Change.CLOSE: server.gate is Gate.CLOSED,
        }
        if idle[step.change]:
            self.broken(f"{switcher.node} does {step}, which is so already")


# -- never empty, never two --------------------------------------------------------------------


class NeverEmpty(Invariant):
    """Removing the last instance turns a partial failure into a whole one."""

    text = "no service is ever left empty by us"

    def ordered(self, arbiter: Arbiter, command: Command, node: str) -> None:
        for service, rules in command.plan.services.items():
            if not serving(rules):
                self.broken(f"{command.plan.number} leaves {service} with nothing")

    def persisted(self, switcher: Switcher, before: Memory | None, memory: Memory) -> None:
        for service, rules in memory.plan.services.items() if memory.plan is not None else ():
            if not serving(rules):
                self.broken(f"{switcher.node} accepts a plan without any {service}")

    def prepared(self, switcher: Switcher, prepare: Prepare) -> None:
        for service, rules in prepare.rules.items():
            if not serving(rules):
                self.broken(f"the file of {switcher.node} leaves {service} with nothing")

    def stepped(self, switcher: Switcher, step: Step, before: Mapping[str, list[str]]) -> None:
        service = step.target[0]
        # Between two steps a mirror's service is empty on purpose: two must not serve.
        if self.world.weather.cluster.services[service].mode is Mode.BALANCE:
            self._check(switcher, service, before)

    def followed(self, switcher: Switcher, before: Mapping[str, list[str]]) -> None:
        for service in before:
            self._check(switcher, service, before)

    def _check(self, switcher: Switcher, service: str, before: Mapping[str, list[str]]) -> None:
        if before[service] and not switcher.balancer.serving(service):
            self.broken(f"{service} has nothing left on the load balancer of {switcher.node}")


class OneServer(Invariant):
    """A mirror's instances do not share their work."""

    text = "a mirror service never has two serving instances"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        services = world.weather.cluster.services
        self._mirrors = [name for name in services if services[name].mode is Mode.MIRROR]

    def ordered(self, arbiter: Arbiter, command: Command, node: str) -> None:
        for service in self._mirrors:
            if len(serving(command.plan.services[service])) > 1:
                self.broken(f"{command.plan.number} lets two of {service} serve")

    def stepped(self, switcher: Switcher, step: Step, before: Mapping[str, list[str]]) -> None:
        service, node = step.target
        if service not in self._mirrors or step.change is not Change.OPEN:
            return
        others = set(switcher.balancer.serving(service)) - {node}
        if others and not switcher.balancer.touched:
            self.broken(f"{switcher.node} opens {service}/{node} beside {sorted(others)}")


# -- people ------------------------------------------------------------------------------------


class PeopleHold(Invariant):
    """Automation that undoes what people did makes people switch automation off."""

    text = "what a person disabled, no automation enables"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._held: tuple[Number, tuple[Override, ...]] = ((0, 0), ())

    def recorded(self, plan: Plan) -> None:
        if plan.number >= self._held[0]:
            self._held = (plan.number, plan.overrides)

    def persisted(self, switcher: Switcher, before: Memory | None, memory: Memory) -> None:
        if memory.plan is not None:
            self.recorded(memory.plan)

    def began(self, arbiter: Arbiter, past: Past, state: ArbiterState) -> None:
        if self.world.broker.lost_something or self.world.stream_unread:
            return
        standing = {item.override for item in state.standing}
        forgotten = [each for each in self._held[1] if each not in standing]
        if forgotten:
            self.broken(f"a new arbiter forgets {forgotten[0]}")
        self._check_rules(state)

    def decided(self, arbiter: Arbiter, change: Change_, now: Instant) -> None:
        if change.after.standing is not change.before.standing:
            self._check_ends(change)
        if change.is_planned:
            self._check_rules(change.after)

    def _check_ends(self, change: Change_) -> None:
        if isinstance(change.event, Asked) and change.event.request.verb in ENDING:
            return
        kept = {item.override for item in change.after.standing}
        for item in change.before.standing:
            left_us = item.override.until_wall_us - self.world.wall_us
            if item.override not in kept and left_us > SLACK_US:
                self.broken(f"{item.override} ends {left_us} us too early")

    def _check_rules(self, state: ArbiterState) -> None:
        for item in state.standing:
            override = item.override
            if override.kind is OverrideKind.PAUSE:
                continue
            for service, rules in state.plan.services.items():
                for node, rule in rules.items():
                    matches = override.node in (None, node)
                    matches = matches and override.service in (None, service)
                    if matches and rule.admission is Admission.SERVING:
                        self.broken(f"{service}/{node} serves in {state.plan.number}: {override}")


class PauseHolds(Invariant):
    """`pause` means hands off."""

    text = "while automation is paused, only a person moves traffic"

    def decided(self, arbiter: Arbiter, change: Change_, now: Instant) -> None:
        if not (change.before.paused and change.after.paused and change.is_planned):
            return
        if isinstance(change.event, Asked):
            return
        before, after = change.before.plan.services, change.after.plan.services
        for service, rules in after.items():
            for node, rule in rules.items():
                was = before[service][node].admission
                is_end_of_drain = was is Admission.DRAINING
                if rule.admission is not was and not is_end_of_drain:
                    self.broken(f"{service}/{node} goes from {was} to {rule.admission}")


class ForeignHands(Invariant):
    """A person's maintenance at the load balancer itself counts as much as one asked of us."""

    text = "a foreign maintenance is never cleared"

    def switched(
        self,
        switcher: Switcher,
        before: SwitcherState,
        event: SwitcherEvent,
        after: SwitcherState,
        actions: tuple[SwitcherAction, ...],
    ) -> None:
        balancer = switcher.balancer
        if not isinstance(event, Shown) or not balancer.unseen:
            return
        plan = before.memory.plan
        for target in sorted(balancer.unseen):
            if event.installation.instances[target].gate is Gate.OPEN:
                continue  # this was read before the hand came
            balancer.unseen.discard(target)
            wanted = plan is None or plan.services[target[0]][target[1]].weight > 0
            is_ours = target in before.memory.ours
            is_other = event.installation.process != before.memory.process
            if wanted and not is_ours and not is_other:
                balancer.foreign.add(target)

    def stepping(self, switcher: Switcher, step: Step, number: Number, *, is_late: bool) -> None:
        balancer = switcher.balancer
        if is_late:
            return
        if step.change is Change.OPEN and step.target in balancer.foreign:
            self.broken(f"{switcher.node} opens {'/'.join(step.target)}, which a person closed")
        if step.change in (Change.DRAIN, Change.CLOSE):
            balancer.unseen.discard(step.target)


# -- evidence ----------------------------------------------------------------------------------


class EvidenceFirst(Invariant):
    """Hearsay, old news and single accusers take nobody out."""

    text = "no evidence, no action: said by an observer that vouches, fresh, after the last waking"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._said: dict[tuple[str, str, int], Evidence] = {}

    def told(self, process: Process, message: Message) -> None:
        if isinstance(message, Evidence):
            self._said[message.observer, message.boot_id, message.sequence] = message
        elif isinstance(message, IncidentOpened):
            self._check_items(message.incident)

    def _check_items(self, incident: Incident) -> None:
        for item in incident.evidence:
            said = self._said.get((item.observer, item.boot_id, item.sequence))
            if said is None or said.verdict is not Verdict.UNHEALTHY:
                self.broken(f"incident {incident.id} names {item}, which was never said")
            if (said.service, said.node) != (incident.service, incident.node):
                self.broken(f"incident {incident.id} names {item}, which is about another")

    def decided(self, arbiter: Arbiter, change: Change_, now: Instant) -> None:
        if change.is_planned and isinstance(change.after.command, Failover):
            for target in _removed(change):
                self._check(arbiter, change.before.instance(target), now)

    def _check(self, arbiter: Arbiter, instance: Instance, now: Instant) -> None:
        words = [
            heard
            for heard in self.world.watch.ears.heard.get(instance.target, {}).values()
            if now - heard.heard_at <= EVIDENCE_AGE_MAX_US
            and heard.arrived_at >= arbiter.awake_since
            and not heard.evidence.abstains
        ]
        bad = [each.evidence for each in words if each.evidence.verdict is Verdict.UNHEALTHY]
        if any(each.grade is Grade.CONCLUSIVE for each in bad):
            return
        has_listened = now - arbiter.listening_since > EVIDENCE_AGE_MAX_US
        observers = len(words) if has_listened else len(self.world.weather.cluster.nodes)
        if bad and len(bad) >= min(CONFIRMING, observers):
            return
        if instance.state is InstanceState.RAMPING and instance.ramp_base:
            return  # taken back because errors rose, as the load balancers count them
        name = "/".join(instance.target)
        self.broken(f"{name} is taken out on {bad or 'nothing'}, of {len(words)} observers")


class Patient(Invariant):
    """Who returns at the first good answer fails again at the second."""

    text = "a returning instance is first observed for as long as the policy and its relapses say"

    def decided(self, arbiter: Arbiter, change: Change_, now: Instant) -> None:
        for target in _arrived_at(change, InstanceState.MATCHED):
            self._check(arbiter, change.before.instance(target), now)

    def _check(self, arbiter: Arbiter, instance: Instance, now: Instant) -> None:
        hold_us = self.world.weather.cluster.policy.after_us << instance.relapses
        bad_at = self.world.watch.ears.bad_at.get(instance.target, 0)
        observed_us = now - max(bad_at, arbiter.listening_since)
        if not instance.asked and observed_us < hold_us - SLACK_US:
            name = "/".join(instance.target)
            self.broken(f"{name} was observed for {observed_us} us, and must be for {hold_us}")


class Matching(Invariant):
    """The same name is not the same service."""

    text = "an instance returns only with the same identity as those that serve, or by insistence"

    def decided(self, arbiter: Arbiter, change: Change_, now: Instant) -> None:
        if not change.is_planned:
            return
        for target in _returned(change):
            if not change.before.instance(target).forced:
                self._check(change.after, target)

    def _check(self, state: ArbiterState, target: Target) -> None:
        service, node = target
        if self.world.weather.cluster.services[service].identity is None:
            return
        own = _identity(state.instance(target))
        for name, other in state.instances[service].items():
            serves = other.state in RECEIVING and other.state is not InstanceState.RAMPING
            if name != node and serves and _identity(other) != own:
                self.broken(f"{service}/{node} returns as {own} beside {_identity(other)}")


def _identity(instance: Instance) -> str | None:
    """Return what the observer on the instance's own node last read, else any other."""
    views = {name: view.evidence.identity for name, view in sorted(instance.views.items())}
    known = [value for value in views.values() if value is not None]
    return views.get(instance.node) or next(iter(known), None)


class Innocent(Invariant):
    """A busy machine, a sick observer or a bus that is away is nobody's failure."""

    text = "nothing that works, and is reached, is taken out"

    BLAMEABLE = frozenset(
        {
            Fault.NODE_CRASH,
            Fault.CUT_PEER,
            Fault.LOSS,
            Fault.INSTANCE_KILL,
            Fault.INSTANCE_HANG,
            Fault.INSTANCE_ERROR,
            Fault.INSTANCE_SLOW,
            Fault.INSTANCE_OTHER,
        }
    )

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._all_innocent = not self.BLAMEABLE & world.weather.every_us.keys()

    def decided(self, arbiter: Arbiter, change: Change_, now: Instant) -> None:
        if self._all_innocent and change.is_planned and not isinstance(change.event, Asked):
            for target in _removed(change):
                why = change.after.instance(target).reason
                if change.before.instance(target).state is not InstanceState.DRAINING:
                    self.broken(f"{'/'.join(target)} is taken out: {why}")


def _arrived_at(change: Change_, where: InstanceState) -> list[Target]:
    """Return the instances that a decision brought somewhere."""
    return [
        (service, node)
        for service, of_service in change.after.instances.items()
        if of_service is not change.before.instances[service]
        for node, instance in of_service.items()
        if instance.state is where and change.before.instances[service][node].state is not where
    ]


def _removed(change: Change_) -> list[Target]:
    """Return the instances that automation took out in a decision."""
    return [
        (service, node)
        for service, of_service in change.after.instances.items()
        if of_service is not change.before.instances[service]
        for node, instance in of_service.items()
        if instance.state is InstanceState.OUT
        and change.before.instances[service][node].state in RECEIVING
    ]


class Harmless(Invariant):
    """What a sleeper believes is old."""

    text = "a process that slept decides nothing before it has caught up"

    def decided(self, arbiter: Arbiter, change: Change_, now: Instant) -> None:
        if arbiter.caught_up or isinstance(change.event, CaughtUp):
            return
        if change.is_planned:
            self.broken(f"{change.after.plan.number} is decided: {change.after.plan.reason}")
        for action in change.actions:
            if isinstance(action, Say) and isinstance(action.message, NodeChanged | ServiceChanged):
                self.broken(f"it says {action.message}")


class Bounded(Invariant):
    """Health checks that flap must not take a cluster apart."""

    text = "automatic moves of a target within the window are bounded"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._moves: dict[Target, list[Instant]] = {}
        self._pending: list[tuple[Number, Target, Instant]] = []  # no switcher has them yet

    def began(self, arbiter: Arbiter, past: Past, state: ArbiterState) -> None:
        if self.world.broker.lost_something or self.world.stream_unread:
            self._moves = {}
        self._pending = []  # what nobody heard of has not happened

    def decided(self, arbiter: Arbiter, change: Change_, now: Instant) -> None:
        if not change.is_planned or isinstance(change.event, Asked):
            return
        moved = [*_removed(change), *_returned(change)]
        number = change.after.plan.number
        self._pending += [(number, target, self.world.agenda.now) for target in moved]

    def persisted(self, switcher: Switcher, before: Memory | None, memory: Memory) -> None:
        done = [each for each in self._pending if each[0] <= memory.fence]
        self._pending = [each for each in self._pending if each[0] > memory.fence]
        for number, target, at in done:
            self._count(number, target, at)

    def _count(self, number: Number, target: Target, at: Instant) -> None:
        policy = self.world.weather.cluster.policy
        recent = [
            each for each in self._moves.get(target, ()) if at - each < policy.moves_window_us
        ]
        self._moves[target] = [*recent, at]
        if len(recent) >= policy.moves_max:
            self.broken(f"{number} is move {len(recent) + 1} of {'/'.join(target)} in the window")


def _returned(change: Change_) -> list[Target]:
    """Return the instances that automation began to bring back in a decision."""
    return [
        (service, node)
        for service, of_service in change.after.instances.items()
        if of_service is not change.before.instances[service]
        for node, instance in of_service.items()
        if instance.state in (InstanceState.RAMPING, InstanceState.HOME)
        and change.before.instances[service][node].state is InstanceState.MATCHED
        and not change.before.instances[service][node].asked
        and not isinstance(change.after.command, Failover)
        # Called to help because nothing else serves: that has no bound, and no conditions.
        and not any(
            other.state is InstanceState.HELD for other in change.before.instances[service].values()
        )
    ]


# -- incidents ---------------------------------------------------------------------------------


class AddsUp(Invariant):
    """People trust a sum that they can check."""

    text = "the phases of every incident follow one another and add up"

    def decided(self, arbiter: Arbiter, change: Change_, now: Instant) -> None:
        for action in change.actions:
            if isinstance(action, Say) and isinstance(
                action.message, IncidentUpdated | IncidentClosed
            ):
                self._check(change, action.message.incident)

    def _check(self, change: Change_, incident: Incident) -> None:
        names = tuple(phase.name for phase in incident.phases)
        if names != PHASES[: len(names)]:
            self.broken(f"{incident.id} has the phases {names}")
        if any(phase.duration_us < 0 for phase in (*incident.phases, *incident.recovery)):
            self.broken(f"{incident.id} has a negative phase: {incident.phases}")
        case = change.after.cases.get(incident.id) or change.before.cases.get(incident.id)
        if case is None or len(names) < len(PHASES) or case.verified_at is None:
            return
        whole = sum(phase.duration_us for phase in incident.phases)
        if whole != case.verified_at - case.began_at:
            took_us = case.verified_at - case.began_at
            self.broken(f"{incident.id} took {took_us} us, its phases {incident.phases}")


class ClosedWhenEqual(Invariant):
    """`restored` must be a fact."""

    text = "an incident is closed only when the rules read back equal the original settings"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._read_back: dict[tuple[str, Number], set[str]] = {}

    def told(self, process: Process, message: Message) -> None:
        if isinstance(message, Measured | Applied):
            number = (message.epoch, message.sequence)
            self._read_back.setdefault((message.node, number), set()).add(message.digest)

    def decided(self, arbiter: Arbiter, change: Change_, now: Instant) -> None:
        for action in change.actions:
            if isinstance(action, Say) and isinstance(action.message, IncidentClosed):
                self._check(change, action.message.incident, now)

    def _check(self, change: Change_, incident: Incident, now: Instant) -> None:
        assert incident.state is IncidentState.CLOSED
        state, case = change.after, change.before.cases[incident.id]
        wanted = digest(state.plan.services)
        for node in state.present(now):
            if wanted not in self._read_back.get((node, state.plan.number), ()):
                self.broken(f"{incident.id} is closed, and {node} never read {wanted} back")
        for service in {service for service, _ in case.targets}:
            for node, instance in state.instances[service].items():
                is_anothers = instance.incident not in (None, incident.id)
                rule = state.plan.services[service][node]
                if rule != state.original[service][node] and not is_anothers:
                    self.broken(f"{incident.id} is closed with {service}/{node} at {rule}")


ALL: tuple[type[Invariant], ...] = (
    OneSpeaker,
    RestartsStill,
    Caused,
    OnlyUpwards,
    NoOlderEffect,
    PersistedFirst,
    AppliedOnce,
    NeverEmpty,
    OneServer,
    PeopleHold,
    PauseHolds,
    ForeignHands,
    EvidenceFirst,
    Patient,
    Matching,
    Innocent,
    Harmless,
    Bounded,
    AddsUp,
    ClosedWhenEqual,
)


class Watch:
    """Calls every invariant at the moments that it overrides, and counts them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.ears = Ears()
        every = [kind(world) for kind in ALL]
        self._began = _overriding(every, "began")
        self._decided = _overriding(every, "decided")
        self._ordered = _overriding(every, "ordered")
        self._recorded = _overriding(every, "recorded")
        self._told = _overriding(every, "told")
        self._switched = _overriding(every, "switched")
        self._persisted = _overriding(every, "persisted")
        self._prepared = _overriding(every, "prepared")
        self._sending = _overriding(every, "sending")
        self._stepping = _overriding(every, "stepping")
        self._stepped = _overriding(every, "stepped")
        self._followed = _overriding(every, "followed")

    def began(self, arbiter: Arbiter, past: Past, state: ArbiterState) -> None:
        """An arbiter begins with what it found."""
        self._world.record.counts["beginnings"] += 1
        self.ears.forget()
        for call in self._began:
            call(arbiter, past, state)

    def decided(
        self,
        arbiter: Arbiter,
        before: ArbiterState,
        event: ArbiterEvent,
        after: ArbiterState,
        actions: tuple[ArbiterAction, ...],
    ) -> None:
        """The arbiter's core has taken an event in."""
        self.ears.hear(event, arbiter.arrived_at, arbiter.now)
        if after.plan is before.plan and after.standing is before.standing and not actions:
            return  # nothing that any invariant looks at
        change = Change_(before, event, after, actions)
        if change.is_planned:
            self._world.record.counts["plans"] += 1
        for action in actions:
            if isinstance(action, Say) and isinstance(action.message, IncidentOpened):
                self._world.record.counts["incidents"] += 1
            elif isinstance(action, Order):
                self._world.record.counts["orders"] += 1
        for call in self._decided:
            call(arbiter, change, arbiter.now)

    def ordered(self, arbiter: Arbiter, command: Command, node: str) -> None:
        """A command is sent to a node."""
        self._world.faults.remember(node, command)
        for call in self._ordered:
            call(arbiter, command, node)

    def recorded(self, plan: Plan) -> None:
        """The stream has a command."""
        for call in self._recorded:
            call(plan)

    def told(self, process: Process, message: Message) -> None:
        """A process says something."""
        if isinstance(message, Applied) and message.stage is not Stage.FAILED:
            self._world.record.counts[message.stage] += 1
        for call in self._told:
            call(process, message)

    def switched(
        self,
        switcher: Switcher,
        before: SwitcherState,
        event: SwitcherEvent,
        after: SwitcherState,
        actions: tuple[SwitcherAction, ...],
    ) -> None:
        """The switcher's core has taken an event in."""
        for call in self._switched:
            call(switcher, before, event, after, actions)

    def persisted(self, switcher: Switcher, before: Memory | None, memory: Memory) -> None:
        """A switcher has written its plan."""
        for call in self._persisted:
            call(switcher, before, memory)

    def prepared(self, switcher: Switcher, prepare: Prepare) -> None:
        """A switcher has written the load balancer's file."""
        for call in self._prepared:
            call(switcher, prepare)

    def sending(self, switcher: Switcher, number: Number) -> None:
        """A switcher sends the steps of a plan to its load balancer."""
        for call in self._sending:
            call(switcher, number)

    def stepping(self, switcher: Switcher, step: Step, number: Number, *, is_late: bool) -> None:
        """A load balancer is about to do one step of a plan."""
        self._world.record.counts["steps"] += 1
        for call in self._stepping:
            call(switcher, step, number, is_late=is_late)

    def stepped(self, switcher: Switcher, step: Step, before: Mapping[str, list[str]]) -> None:
        """It has done it."""
        for call in self._stepped:
            call(switcher, step, before)

    def followed(self, switcher: Switcher, before: Mapping[str, list[str]]) -> None:
        """It has done all of them."""
        for call in self._followed:
            call(switcher, before)


def _overriding(every: list[Invariant], moment: str) -> list[Callable[..., None]]:
    return [
        getattr(each, moment)
        for each in every
        if getattr(type(each), moment) is not getattr(Invariant, moment)
    ]
