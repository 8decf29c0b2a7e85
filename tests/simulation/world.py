"""A whole cluster made of a seed, run through a storm, healed, and expected to be as it was."""

from collections.abc import Iterator
from random import Random

from services.arbiter.core.failing import overridden
from services.arbiter.core.losing import node_hold_us
from services.arbiter.core.returning import hold_us
from services.arbiter.core.state import State
from services.traffic_switcher.core.installed import Target, rules_of
from services.traffic_switcher.core.pace import REPAIRS_WINDOW_US
from shared.cluster import Cluster, Mode
from shared.instant import HOUR, MILLISECOND, SECOND, Duration
from shared.messages.facts import InstanceState, NodeState
from shared.rules import WEIGHT_MAX, Admission, Rule, digest, original
from tests.simulation.agenda import Agenda
from tests.simulation.arbiters import Arbiter
from tests.simulation.broker import Broker, Network
from tests.simulation.faults import Faults
from tests.simulation.invariants import Violation
from tests.simulation.observers import Heart, Observer
from tests.simulation.outside import Application, Balancer
from tests.simulation.people import Person
from tests.simulation.processes import Process
from tests.simulation.record import Record
from tests.simulation.switchers import Switcher
from tests.simulation.watch import Watch
from tests.simulation.weather import Fault, Weather, drawn

CALM_US: Duration = 2 * SECOND  # before the storm: everybody begins, all is judged healthy
START_WITHIN_US: Duration = 300 * MILLISECOND
LOOK_EVERY_US: Duration = 250 * MILLISECOND
# What healing may take beside the policy's own times: restarts, the look for the plan in force,
# the probes' rise, an identity read again, repairs of a load balancer at 2 s at the most.
HEAL_WITHIN_US: Duration = 25 * SECOND
WALL_AT_START_US = 1_700_000_000 * SECOND
AHEAD_MAX_US: Duration = 1_000 * HOUR


class World:
    """All there is."""

    def __init__(self, seed: int, storm: frozenset[Fault] | None = None) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.weather: Weather = drawn(self.rng, storm)
        cluster = self.weather.cluster
        self.agenda = Agenda()
        self.record = Record()
        self.stream_unread = False  # an arbiter had to begin without the stream
        self.dark: set[str] = set()  # machines without power
        self.clock_ahead_us = {name: self.rng.randrange(AHEAD_MAX_US) for name in cluster.members}
        self.network = Network(self)
        self.broker = Broker(self)
        self.applications = {
            (service, node): Application((service, node))
            for service in cluster.services
            for node in cluster.nodes
        }
        self.balancers = {node: Balancer(self, node) for node in cluster.nodes}
        self.switchers = {
            node: Switcher(self, node, self.balancers[node]) for node in cluster.nodes
        }
        self.observers = {node: Observer(self, node) for node in cluster.nodes}
        self.hearts = {name: Heart(self, name) for name in cluster.members}
        self.arbiter = Arbiter(self)
        self.person = Person(self, cluster.primary)
        self.processes: list[Process] = [
            self.arbiter,
            *self.switchers.values(),
            *self.observers.values(),
            *self.hearts.values(),
        ]
        self.faults = Faults(self)
        self.watch = Watch(self)

    @property
    def wall_us(self) -> int:
        """The time of day."""
        return WALL_AT_START_US + self.agenda.now

    def run(self) -> None:
        """Let the storm blow over, and see that everything comes back."""
        self.person.start()
        for process in self.processes:
            self.agenda.after(self.rng.randrange(START_WITHIN_US), process.start)
        self.agenda.run(CALM_US)
        self.faults.blow()
        self.agenda.run(CALM_US + self.weather.storm_us)
        self.faults.calm()
        self.agenda.after(SECOND, self.person.tidy)
        self._heal()

    def _heal(self) -> None:
        limit = self.agenda.now + HEAL_WITHIN_US
        extended = False
        while left := self.astray():
            self.agenda.run(self.agenda.now + LOOK_EVERY_US)
            if self.agenda.now > limit and not extended:
                limit, extended = self.agenda.now + self._policy_us(), True
            elif self.agenda.now > limit:
                raise Violation(f"Convergence: after the storm all is as it was\n  but {left}")

    def _policy_us(self) -> Duration:
        """Return what the policy itself wants waited for, once all is healed."""
        state, policy = self.arbiter.state, self.weather.cluster.policy
        waits = [0]
        if state is not None:
            waits += [hold_us(state, i) for some in state.instances.values() for i in some.values()]
            waits += [node_hold_us(state, member) for member in state.members.values()]
        wars = [switcher.state.alarmed for switcher in self.switchers.values() if switcher.alive]
        war_us = REPAIRS_WINDOW_US if any(wars) else 0
        own_us = policy.moves_window_us + 2 * (policy.ramp_us + policy.drain_us)
        return HEAL_WITHIN_US + max(waits) + own_us + war_us

    def astray(self) -> str:
        """Say what is not as it should be after the storm; "" when all is."""
        return next(self._astray(), "")

    def _astray(self) -> Iterator[str]:
        state = self.arbiter.state
        if state is None or not state.awake or state.paused:
            yield "the arbiter does not decide"
            return
        yield from self._astray_instances(state)
        yield from self._astray_nodes(state)

    def _astray_instances(self, state: State) -> Iterator[str]:
        kept = {
            instance.target
            for of_service in state.instances.values()
            for instance in of_service.values()
            if overridden(state, instance)
        }
        for of_service in state.instances.values():
            for instance in of_service.values():
                wanted = InstanceState.OUT if instance.target in kept else InstanceState.HOME
                if instance.state is not wanted:
                    name = "/".join(instance.target)
                    yield f"{name} is {instance.state}, not {wanted}: {instance.reason}"
        if state.plan.services != _expected(self.weather.cluster, kept):
            yield f"the plan is {state.plan.services}"
        for name, case in state.cases.items():
            # A mirror's heir serves for whom a person keeps out: others' incidents wait for it.
            if not {service for service, _ in kept} & {service for service, _ in case.targets}:
                yield f"incident {name} is open: waits for {case.incident.waiting_for}"

    def _astray_nodes(self, state: State) -> Iterator[str]:
        wanted = digest(state.plan.services)
        for node in self.weather.cluster.nodes:
            member, switcher = state.members[node], self.switchers[node]
            if member.state is not NodeState.UP:
                yield f"{node} is believed {member.state}"
            if (member.verified, member.digest) != (state.plan.number, wanted):
                yield f"{node} has verified {member.verified} with {member.digest}"
            if switcher.disk.durable is None or switcher.disk.durable.fence != state.plan.number:
                yield f"{node} has not persisted {state.plan.number}"
            shown = self.balancers[node].peek()
            if digest(rules_of(shown, state.plan.services)) != wanted:
                yield f"the load balancer of {node} has {rules_of(shown, state.plan.services)}"


def _expected(cluster: Cluster, kept: set[Target]) -> dict[str, dict[str, Rule]]:
    """Return the original settings without the instances that people keep out."""
    wanted = original(cluster)
    for name, service in cluster.services.items():
        rules = wanted[name]
        for node in cluster.nodes:
            if (name, node) in kept:
                rules[node] = Rule(Admission.OUT, 0)
        if service.mode is Mode.MIRROR and (name, service.home) in kept:
            heir = next(node for node in cluster.nodes if (name, node) not in kept)
            rules[heir] = Rule(Admission.SERVING, WEIGHT_MAX)
    return wanted
