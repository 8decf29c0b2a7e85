"""What must hold at every step, whatever the weather; the texts are those of the design.

Each invariant looks at the moments that it has a method for, and raises `Violation` by `broken`.
The moments are shown as things happen, so that nothing is found only at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NoReturn

from services.arbiter.core.state import (
    EVIDENCE_AGE_MAX_US,
    Asked,
    CaughtUp,
    Instance,
    Say,
    State as ArbiterState,
)
from services.traffic_switcher.core.installed import Gate, Target
from services.traffic_switcher.core.state import Commanded, Memory, Number, Shown
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
from shared.messages.health import Evidence, Grade, Sign, Verdict
from shared.messages.operator import Verb
from shared.messages.traffic import (
    Applied,
    Failover,
    Measured,
    Override,
    OverrideKind,
    Plan,
)
from shared.rules import Admission, Rules, digest, original, serving
from tests.simulation.moments import (
    Began,
    Decided,
    Followed,
    Ordered,
    Persisted,
    Prepared,
    Recorded,
    Sending,
    Stepped,
    Stepping,
    Switched,
    Term,
    Told,
)
from tests.simulation.weather import Fault

if TYPE_CHECKING:
    from tests.simulation.arbiters import Arbiter
    from tests.simulation.switchers import Switcher
    from tests.simulation.world import World

CONFIRMING = 2  # observers that must share a suspicion, if there are so many
MUTE_US: Duration = 2_000 * MILLISECOND  # after a pause, until its peers know it again
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
    """Something that always holds: a method for each moment, named like it, that it looks at."""

    text: ClassVar[str]

    def __init__(self, world: World) -> None:
        self.world = world

    def broken(self, how: str) -> NoReturn:
        """Report the first moment at which it does not hold."""
        raise Violation(f"{type(self).__name__}: {self.text}\n  but {how}")


# -- plans and who speaks ----------------------------------------------------------------------


class OneSpeaker(Invariant):
    """Two arbiters of one epoch could give one number to two plans."""

    text = "one arbiter speaks per epoch"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._speakers: dict[int, Term] = {}

    def recorded(self, moment: Recorded) -> None:
        if self.world.broker.lost_something:
            return  # without the stream nobody can know of an epoch that reached no switcher
        epoch = moment.plan.epoch
        known = self._speakers.setdefault(epoch, moment.term)
        if known != moment.term:
            self.broken(f"epoch {epoch} was spoken in by {known}, and is by {moment.term}")


class RestartsStill(Invariant):
    """A restart is no reason to move anything."""

    text = "an arbiter begins with the plan in force, and moves nothing by beginning"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._newest: Plan | None = None  # that a switcher or the stream has

    def recorded(self, moment: Recorded) -> None:
        self._hold(moment.plan)

    def persisted(self, moment: Persisted) -> None:
        if moment.memory.plan is not None:
            self._hold(moment.memory.plan)

    def _hold(self, plan: Plan) -> None:
        if self._newest is None or plan.number > self._newest.number:
            self._newest = plan

    def began(self, moment: Began) -> None:
        newest = max(moment.past.plans, key=lambda plan: plan.number, default=None)
        begun_from = original(self.world.weather.cluster) if newest is None else newest.services
        if moment.state.plan.services != begun_from:
            self.broken(
                f"the first plan is {moment.state.plan.services}, in force was {begun_from}"
            )
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

    def ordered(self, moment: Ordered) -> None:
        plans = self._plans.setdefault(moment.command.plan.number, [])
        if moment.command.plan.services not in plans:
            plans.append(moment.command.plan.services)

    def stepping(self, moment: Stepping) -> None:
        service, node = moment.step.target
        plans = self._plans.get(moment.number)
        if plans is None:
            self.broken(f"{moment.step} is done for {moment.number}, which nobody ordered")
        if not any(_agrees(moment.step, services[service][node].weight) for services in plans):
            self.broken(f"{moment.step} is done for {moment.number}, which does not say so")


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

    def persisted(self, moment: Persisted) -> None:
        plan, known = moment.memory.plan, self._newest.get(moment.switcher.node)
        if plan is None:
            if known is not None:
                self.broken(f"{moment.switcher.node} forgets {known.number}")
            return
        if known is not None and plan.number < known.number:
            self.broken(f"{moment.switcher.node} had {known.number} and takes {plan.number}")
        if known is not None and plan.number == known.number and plan.services != known.services:
            self.broken(f"{moment.switcher.node} takes another plan as {plan.number}")
        self._newest[moment.switcher.node] = plan


class NoOlderEffect(Invariant):
    """An enactor that is late must not undo what a newer plan did."""

    text = "no effect of a plan older than the newest persisted one"

    def sending(self, moment: Sending) -> None:
        # What a load balancer was told in time and does a moment later is not ours to hold back:
        # it is read back, and repaired.
        durable = moment.switcher.disk.durable
        if durable is not None and moment.number < durable.fence:
            self.broken(
                f"{moment.switcher.node} sends steps of {moment.number}, having {durable.fence}"
            )


class PersistedFirst(Invariant):
    """Whoever is killed must find at its restart what it has done."""

    text = "persist before effect"

    def stepping(self, moment: Stepping) -> None:
        durable = moment.switcher.disk.durable
        if durable is None or durable.fence < moment.number:
            what = f"{moment.switcher.node} does {moment.step} for {moment.number}"
            self.broken(f"{what}, which is not on its disk")


class AppliedOnce(Invariant):
    """A command may be heard any number of times."""

    text = "applying twice is applying once"

    def switched(self, moment: Switched) -> None:
        if (
            not isinstance(moment.event, Commanded)
            or moment.event.command.plan.number != moment.before.memory.fence
        ):
            return
        if moment.after.received is not None:
            self.broken(f"{moment.switcher.node} persists {moment.before.memory.fence} again")

    def stepping(self, moment: Stepping) -> None:
        if moment.is_late or moment.switcher.balancer.touched:
            return
        server = moment.switcher.balancer.servers[moment.step.target]
        idle = {
            Change.WEIGH: server.weight == moment.step.weight,
            Change.OPEN: server.gate is Gate.OPEN,
            Change.DRAIN: server.gate is Gate.DRAINING,
            Change.CLOSE: server.gate is Gate.CLOSED,
        }
        if idle[moment.step.change]:
            self.broken(f"{moment.switcher.node} does {moment.step}, which is so already")


# -- never empty, never two --------------------------------------------------------------------


class NeverEmpty(Invariant):
    """Removing the last instance turns a partial failure into a whole one."""

    text = "no service is ever left empty by us"

    def ordered(self, moment: Ordered) -> None:
        for service, rules in moment.command.plan.services.items():
            if not serving(rules):
                self.broken(f"{moment.command.plan.number} leaves {service} with nothing")

    def persisted(self, moment: Persisted) -> None:
        for service, rules in _services(moment.memory).items():
            if not serving(rules):
                self.broken(f"{moment.switcher.node} accepts a plan without any {service}")

    def prepared(self, moment: Prepared) -> None:
        for service, rules in moment.rules.items():
            if not serving(rules):
                self.broken(f"the file of {moment.switcher.node} leaves {service} with nothing")

    def stepped(self, moment: Stepped) -> None:
        service = moment.step.target[0]
        # Between two steps a mirror's service is empty on purpose: two must not serve.
        if self.world.weather.cluster.services[service].mode is Mode.BALANCE:
            self._check(moment.switcher, service, moment.before)

    def followed(self, moment: Followed) -> None:
        for service in moment.before:
            self._check(moment.switcher, service, moment.before)

    def _check(self, switcher: Switcher, service: str, before: Mapping[str, list[str]]) -> None:
        if before[service] and not switcher.balancer.serving(service):
            self.broken(f"{service} has nothing left on the load balancer of {switcher.node}")


def _services(memory: Memory) -> Rules:
    return {} if memory.plan is None else memory.plan.services


class OneServer(Invariant):
    """A mirror's instances do not share their work."""

    text = "a mirror service never has two serving instances"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        services = world.weather.cluster.services
        self._mirrors = [name for name in services if services[name].mode is Mode.MIRROR]

    def ordered(self, moment: Ordered) -> None:
        for service in self._mirrors:
            if len(serving(moment.command.plan.services[service])) > 1:
                self.broken(f"{moment.command.plan.number} lets two of {service} serve")

    def stepped(self, moment: Stepped) -> None:
        service, node = moment.step.target
        if service not in self._mirrors or moment.step.change is not Change.OPEN:
            return
        others = set(moment.switcher.balancer.serving(service)) - {node}
        if others and not moment.switcher.balancer.touched:
            self.broken(f"{moment.switcher.node} opens {service}/{node} beside {sorted(others)}")


# -- people ------------------------------------------------------------------------------------


class PeopleHold(Invariant):
    """Automation that undoes what people did makes people switch automation off."""

    text = "what a person disabled, no automation enables"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._held: tuple[Number, tuple[Override, ...]] = ((0, 0), ())

    def recorded(self, moment: Recorded) -> None:
        self._hold(moment.plan)

    def _hold(self, plan: Plan) -> None:
        if plan.number >= self._held[0]:
            self._held = (plan.number, plan.overrides)

    def persisted(self, moment: Persisted) -> None:
        if moment.memory.plan is not None:
            self._hold(moment.memory.plan)

    def began(self, moment: Began) -> None:
        if self.world.broker.lost_something or self.world.stream_unread:
            return
        standing = {item.override for item in moment.state.standing}
        forgotten = [each for each in self._held[1] if each not in standing]
        if forgotten:
            self.broken(f"a new arbiter forgets {forgotten[0]}")
        self._check_rules(moment.state)

    def decided(self, moment: Decided) -> None:
        if moment.after.standing is not moment.before.standing:
            self._check_ends(moment)
        if moment.is_planned:
            self._check_rules(moment.after)

    def _check_ends(self, moment: Decided) -> None:
        if isinstance(moment.event, Asked) and moment.event.request.verb in ENDING:
            return
        kept = {item.override for item in moment.after.standing}
        for item in moment.before.standing:
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

    def decided(self, moment: Decided) -> None:
        if not (moment.before.paused and moment.after.paused and moment.is_planned):
            return
        if isinstance(moment.event, Asked):
            return
        before, after = moment.before.plan.services, moment.after.plan.services
        for service, rules in after.items():
            for node, rule in rules.items():
                was = before[service][node].admission
                is_end_of_drain = was is Admission.DRAINING
                if rule.admission is not was and not is_end_of_drain:
                    self.broken(f"{service}/{node} goes from {was} to {rule.admission}")


class ForeignHands(Invariant):
    """A person's maintenance at the load balancer itself counts as much as one asked of us."""

    text = "a foreign maintenance is never cleared"

    def switched(self, moment: Switched) -> None:
        balancer = moment.switcher.balancer
        if not isinstance(moment.event, Shown) or not balancer.unseen:
            return
        plan = moment.before.memory.plan
        for target in sorted(balancer.unseen):
            if moment.event.installation.instances[target].gate is Gate.OPEN:
                continue  # this was read before the hand came
            balancer.unseen.discard(target)
            wanted = plan is None or plan.services[target[0]][target[1]].weight > 0
            is_ours = target in moment.before.memory.ours
            is_other = moment.event.installation.process != moment.before.memory.process
            if wanted and not is_ours and not is_other:
                balancer.foreign.add(target)

    def stepping(self, moment: Stepping) -> None:
        balancer = moment.switcher.balancer
        if moment.is_late:
            return
        if moment.step.change is Change.OPEN and moment.step.target in balancer.foreign:
            name = "/".join(moment.step.target)
            self.broken(f"{moment.switcher.node} opens {name}, which a person closed")
        if moment.step.change in (Change.DRAIN, Change.CLOSE):
            balancer.unseen.discard(moment.step.target)


# -- evidence ----------------------------------------------------------------------------------


class EvidenceFirst(Invariant):
    """Hearsay, old news and single accusers take nobody out."""

    text = "no evidence, no action: said by an observer that vouches, fresh, after the last waking"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._said: dict[tuple[str, str, int], Evidence] = {}

    def told(self, moment: Told) -> None:
        if isinstance(moment.message, Evidence):
            self._said[moment.message.observer, moment.message.boot_id, moment.message.sequence] = (
                moment.message
            )
        elif isinstance(moment.message, IncidentOpened):
            self._check_items(moment.message.incident)

    def _check_items(self, incident: Incident) -> None:
        for item in incident.evidence:
            if item.sign is Sign.SILENT:
                continue  # nothing was said: `Missed` looks at that
            said = self._said.get((item.observer, item.boot_id, item.sequence))
            if said is None or said.verdict is not Verdict.UNHEALTHY:
                self.broken(f"incident {incident.id} names {item}, which was never said")
            if said.node != incident.node or incident.service not in ("", said.service):
                self.broken(f"incident {incident.id} names {item}, which is about another")

    def decided(self, moment: Decided) -> None:
        if moment.is_planned and isinstance(moment.after.command, Failover):
            for target in _removed(moment):
                # Whoever leaves with its node leaves by the node's silence: see `Missed`.
                if not moment.after.members[target[1]].is_lost:
                    self._check(moment.arbiter, moment.before.instance(target), moment.now)

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

    def decided(self, moment: Decided) -> None:
        for target in _arrived_at(moment, InstanceState.MATCHED):
            self._check(moment.arbiter, moment.before.instance(target), moment.now)

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

    def decided(self, moment: Decided) -> None:
        if not moment.is_planned:
            return
        for target in _returned(moment):
            if not moment.before.instance(target).forced:
                self._check(moment.after, target)

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

    def decided(self, moment: Decided) -> None:
        if self._all_innocent and moment.is_planned and not isinstance(moment.event, Asked):
            for target in _removed(moment):
                if self._is_mute(target[1]):
                    continue
                why = moment.after.instance(target).reason
                if moment.before.instance(target).state is not InstanceState.DRAINING:
                    self.broken(f"{'/'.join(target)} is taken out: {why}")

    def _is_mute(self, node: str) -> bool:
        """Whether a node's heartbeat stands or stood a moment ago, so that no peer hears it.

        While it runs, peers hear the node by UDP in all this weather, and nothing else may count.
        """
        heart = self.world.hearts[node]
        stands = not heart.alive or heart.frozen_since is not None
        return stands or self.world.agenda.now - heart.steady_since < MUTE_US


def _arrived_at(moment: Decided, where: InstanceState) -> list[Target]:
    """Return the instances that a decision brought somewhere."""
    return [
        (service, node)
        for service, of_service in moment.after.instances.items()
        if of_service is not moment.before.instances[service]
        for node, instance in of_service.items()
        if instance.state is where and moment.before.instances[service][node].state is not where
    ]


def _removed(moment: Decided) -> list[Target]:
    """Return the instances that automation took out in a decision."""
    return [
        (service, node)
        for service, of_service in moment.after.instances.items()
        if of_service is not moment.before.instances[service]
        for node, instance in of_service.items()
        if instance.state is InstanceState.OUT
        and moment.before.instances[service][node].state in RECEIVING
    ]


class Harmless(Invariant):
    """What a sleeper believes is old."""

    text = "a process that slept decides nothing before it has caught up"

    def decided(self, moment: Decided) -> None:
        if moment.arbiter.caught_up or isinstance(moment.event, CaughtUp):
            return
        if moment.is_planned:
            self.broken(f"{moment.after.plan.number} is decided: {moment.after.plan.reason}")
        for action in moment.actions:
            if isinstance(action, Say) and isinstance(action.message, NodeChanged | ServiceChanged):
                self.broken(f"it says {action.message}")


class Bounded(Invariant):
    """Health checks that flap must not take a cluster apart."""

    text = "automatic moves of a target within the window are bounded"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._moves: dict[Target, list[Instant]] = {}
        self._pending: list[tuple[Number, Target, Instant]] = []  # no switcher has them yet

    def began(self, _: Began) -> None:
        if self.world.broker.lost_something or self.world.stream_unread:
            self._moves = {}
        self._pending = []  # what nobody heard of has not happened

    def decided(self, moment: Decided) -> None:
        if not moment.is_planned or isinstance(moment.event, Asked):
            return
        moved = [*_removed(moment), *_returned(moment)]
        number = moment.after.plan.number
        self._pending += [(number, target, self.world.agenda.now) for target in moved]

    def persisted(self, moment: Persisted) -> None:
        done = [each for each in self._pending if each[0] <= moment.memory.fence]
        self._pending = [each for each in self._pending if each[0] > moment.memory.fence]
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


def _returned(moment: Decided) -> list[Target]:
    """Return the instances that automation began to bring back in a decision."""
    return [
        (service, node)
        for service, of_service in moment.after.instances.items()
        if of_service is not moment.before.instances[service]
        for node, instance in of_service.items()
        if instance.state in (InstanceState.RAMPING, InstanceState.HOME)
        and moment.before.instances[service][node].state is InstanceState.MATCHED
        and not moment.before.instances[service][node].asked
        and not isinstance(moment.after.command, Failover)
        # Called to help because nothing else serves: that has no bound, and no conditions.
        and not any(
            other.state is InstanceState.HELD for other in moment.before.instances[service].values()
        )
    ]


# -- incidents ---------------------------------------------------------------------------------


class AddsUp(Invariant):
    """People trust a sum that they can check."""

    text = "the phases of every incident follow one another and add up"

    def decided(self, moment: Decided) -> None:
        for action in moment.actions:
            if isinstance(action, Say) and isinstance(
                action.message, IncidentUpdated | IncidentClosed
            ):
                self._check(moment, action.message.incident)

    def _check(self, moment: Decided, incident: Incident) -> None:
        names = tuple(phase.name for phase in incident.phases)
        if names != PHASES[: len(names)]:
            self.broken(f"{incident.id} has the phases {names}")
        if any(phase.duration_us < 0 for phase in (*incident.phases, *incident.recovery)):
            self.broken(f"{incident.id} has a negative phase: {incident.phases}")
        case = moment.after.cases.get(incident.id) or moment.before.cases.get(incident.id)
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

    def told(self, moment: Told) -> None:
        if isinstance(moment.message, Measured | Applied):
            number = (moment.message.epoch, moment.message.sequence)
            self._read_back.setdefault((moment.message.node, number), set()).add(
                moment.message.digest
            )

    def decided(self, moment: Decided) -> None:
        for action in moment.actions:
            if isinstance(action, Say) and isinstance(action.message, IncidentClosed):
                self._check(moment, action.message.incident, moment.now)

    def _check(self, moment: Decided, incident: Incident, now: Instant) -> None:
        assert incident.state is IncidentState.CLOSED
        if incident.merged_into:
            if incident.merged_into not in moment.after.cases:
                self.broken(f"{incident.id} goes on as {incident.merged_into}, which is not open")
            return
        state, case = moment.after, moment.before.cases[incident.id]
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
