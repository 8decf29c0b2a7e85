"""What must hold of nodes that are called lost, and of their way back.

What the arbiter was told is kept here beside its core and not by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.arbiter.core.state import EVIDENCE_AGE_MAX_US, PRESENCE_US, Say, State
from shared.instant import MILLISECOND, Duration, Instant
from shared.messages.facts import IncidentClosed, InstanceState, NodeChanged, NodeState
from shared.messages.health import Heartbeat, Verdict
from shared.messages.leases import LeaseBeat
from shared.messages.traffic import Applied, Measured
from tests.simulation.invariants import SLACK_US, Invariant
from tests.simulation.moments import Began, Decided, Told

if TYPE_CHECKING:
    from tests.simulation.world import World

BEATS_MISSED = 3
WORD_US: Duration = 300 * MILLISECOND  # from a switcher to the arbiter, at the worst


@dataclass(frozen=True, slots=True)
class Beat:
    """A member's newest beat, as the arbiter heard it."""

    beat: Heartbeat
    heard_at: Instant


class Missed(Invariant):
    """A node that speaks is alive, whoever cannot hear it."""

    text = "a node is suspected only if neither the bus nor any member's UDP brings its beats"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._beats: dict[str, Beat] = {}
        self._leased_at: dict[str, Instant] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._boots: dict[str, list[str]] = {}

    def began(self, _: Began) -> None:
        self._beats, self._leased_at, self._boots, self._numbers = {}, {}, {}, {}

    def decided(self, moment: Decided) -> None:
        match moment.event:
            case Heartbeat():
                self._hear(moment.event, moment.now)
            case LeaseBeat():
                self._hear_lease(moment.event, moment.now)
            case _:
                pass
        for action in moment.actions:
            match action:
                case Say(NodeChanged(node=node, after=NodeState.SUSPECT)):
                    self._check(moment, node)
                case _:
                    pass

    def _hear(self, beat: Heartbeat, now: Instant) -> None:
        boots = self._boots.setdefault(beat.node, [])
        known = self._beats.get(beat.node)
        if known is not None and known.beat.boot_id == beat.boot_id:
            is_old = known.beat.sequence >= beat.sequence
        else:
            is_old = beat.boot_id in boots
            boots.append(beat.boot_id)
        if not is_old:
            self._beats[beat.node] = Beat(beat, now)

    def _hear_lease(self, beat: LeaseBeat, now: Instant) -> None:
        whose = (beat.node, beat.incarnation)
        if beat.number > self._numbers.get(whose, 0):  # what came twice shows no life
            self._numbers[whose] = beat.number
            self._leased_at[beat.node] = now

    def _check(self, moment: Decided, node: str) -> None:
        over_us = BEATS_MISSED * self.world.weather.cluster.heartbeat.every_us
        own = self._beats.get(node)
        heard = [self._leased_at.get(node, 0), own.heard_at if own is not None else 0]
        if moment.now - max(heard) < over_us:
            self.broken(f"{node} was heard on the bus {moment.now - max(heard)} us ago")
        for name, each in sorted(self._beats.items()):
            age_us = each.beat.hears_us.get(node)
            if name == node or age_us is None:
                continue
            silent_us = moment.now - each.heard_at + age_us
            if silent_us < over_us and not self._fails(node, moment.now):
                self.broken(f"{name} heard {node} by UDP {silent_us} us ago")

    def _fails(self, node: str, now: Instant) -> bool:
        """Whether all that peers' probes lately met on a node was bad."""
        words = [
            heard.evidence.verdict
            for (_, where), observers in self.world.watch.ears.heard.items()
            for observer, heard in observers.items()
            if where == node and observer != node
            if now - heard.heard_at <= EVIDENCE_AGE_MAX_US and not heard.evidence.abstains
        ]
        return bool(words) and all(each is Verdict.UNHEALTHY for each in words)


class PatientWithNodes(Invariant):
    """Who flaps must not take its addresses and its traffic along each time."""

    text = "a lost node is first heard for as long as the policy and its relapses say"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._up_since: dict[str, Instant] = {}

    def began(self, moment: Began) -> None:
        self._up_since = dict.fromkeys(moment.state.members, moment.state.begun_at)

    def decided(self, moment: Decided) -> None:
        for action in moment.actions:
            if isinstance(action, Say) and isinstance(action.message, NodeChanged):
                self._up_since[action.message.node] = moment.now
        for service, of_service in moment.after.instances.items():
            for node, instance in of_service.items():
                before = moment.before.instances[service][node]
                is_new = before.state is not InstanceState.MATCHED
                if instance.state is InstanceState.MATCHED and is_new and not instance.asked:
                    self._check(moment.after, node, moment)

    def _check(self, state: State, node: str, moment: Decided) -> None:
        member = state.members[node]
        if member.incident is None:
            return
        hold_us = self.world.weather.cluster.policy.node_after_us << member.relapses
        since = max(self._up_since[node], moment.arbiter.listening_since)
        heard_us = moment.now - since
        if member.state is not NodeState.UP or heard_us < hold_us - SLACK_US:
            self.broken(f"{node} is {member.state}, for {heard_us} us; it must be for {hold_us}")


class SwitcherThere(Invariant):
    """What nobody has read back is not known to be restored."""

    text = "no incident is closed while the switcher of a node that lives is absent"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._said_at: dict[str, Instant] = {}

    def told(self, moment: Told) -> None:
        if isinstance(moment.message, Measured | Applied):
            self._said_at[moment.message.node] = self.world.agenda.now

    def decided(self, moment: Decided) -> None:
        for action in moment.actions:
            match action:
                case Say(IncidentClosed(incident=incident)) if not incident.merged_into:
                    self._check(moment.after, incident.id)
                case _:
                    pass

    def _check(self, state: State, name: str) -> None:
        for node in self.world.weather.cluster.nodes:
            silent_us = self.world.agenda.now - self._said_at.get(node, 0)
            is_absent = silent_us > PRESENCE_US + WORD_US
            if state.members[node].state is NodeState.UP and is_absent:
                self.broken(f"{name} is closed {silent_us} us after the last word of {node}")


OF_NODES: tuple[type[Invariant], ...] = (Missed, PatientWithNodes, SwitcherThere)
