"""An arbiter that says what a test scripts, and switchers that obey it at once.

It keeps the promises of the messages that consoles rely on (whole situations, plans with rising
numbers, answers with the plan before and after), and decides nothing by itself.
"""

from collections.abc import Mapping

from shared.bus import Bus, Received
from shared.clock import Clock
from shared.instant import HOUR
from shared.messages.facts import InstanceBelief, InstanceState
from shared.messages.operator import Answer, OperatorAnswer, OperatorRequest, Verb
from shared.messages.table import Message
from shared.messages.traffic import Override, OverrideKind, Plan
from shared.rules import Admission, Rule, serving
from tests.fakes.situations import believed, heartbeat, measured, placements, plan, situation

NODES = ("node-a", "node-b")


class ScriptedArbiter:
    """Says situations and answers people."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self.bus = bus
        self._clock = clock
        self.plan = plan()
        self.requests = 0
        self.asked: list[OperatorRequest] = []
        self.refusal: OperatorAnswer | None = None  # the next answer, whatever is asked
        self.silent = False
        self.verifies = True
        self.open_incidents: tuple[str, ...] = ()

    async def begin(self) -> None:
        """Answer people from now on."""
        await self.bus.answer("operator.*", self._answer)

    async def say(self) -> None:
        """Say everything that is said every second."""
        if self.silent:
            return
        await self.bus.publish(
            situation(
                self.plan,
                beliefs=self._beliefs(),
                incidents=self.open_incidents,
                paused=self._overridden(OverrideKind.PAUSE),
            )
        )
        self.requests += 100
        for name in NODES:
            await self.bus.publish(
                measured(name, self.plan, requests=self.requests, verified=self.verifies)
            )
        for name in (*NODES, "witness"):
            await self.bus.publish(heartbeat(name))

    def _overridden(self, kind: OverrideKind) -> bool:
        return any(item.kind is kind for item in self.plan.overrides)

    def _beliefs(self) -> Mapping[tuple[str, str], InstanceBelief]:
        return {
            (service, node): believed(
                InstanceState.OUT, reason="connection refused", waiting_for="its probes to be green"
            )
            for service, rules in self.plan.services.items()
            for node, rule in rules.items()
            if rule.admission is Admission.OUT
        }

    async def _answer(self, received: Received) -> Message:
        request = received.message
        assert isinstance(request, OperatorRequest)
        self.asked.append(request)
        if self.refusal is not None:
            return self.refusal
        if request.expects not in (None, self.plan.number):
            return self._refuse(Answer.CHANGED, "the plan is another one: look again")
        after = self._after(request)
        if isinstance(after, OperatorAnswer):
            return after
        before = self.plan
        if not request.dry_run:
            self.plan = after
            await self.say()
        return OperatorAnswer(
            answer=Answer.ACCEPTED,
            text=f"{request.owner} asked for {request.verb.value}: {request.reason}",
            incident="7M0CAA" if request.verb is Verb.FAILOVER else None,
            epoch=after.epoch,
            sequence=after.sequence,
            before=before.services,
            after=after.services,
            undo=f"equipoise failback {request.vip or request.node}"
            if request.verb is Verb.FAILOVER
            else "",
            vips_before={name: placed.holder for name, placed in before.vips.items()},
            vips_after={name: placed.holder for name, placed in after.vips.items()},
        )

    def _after(self, request: OperatorRequest) -> Plan | OperatorAnswer:
        match request.verb:
            case Verb.FAILOVER if request.vip is not None:
                holder = self.plan.vips[request.vip].holder
                to = request.to or next(node for node in NODES if node != holder)
                return plan(self.plan.sequence + 1, vips=placements(**{request.vip: to}))
            case Verb.FAILOVER | Verb.MAINTENANCE_START:
                return self._without(request)
            case Verb.FAILBACK | Verb.MAINTENANCE_END:
                return plan(self.plan.sequence + 1)
            case Verb.PAUSE:
                rules = self.plan.services
                paused = self._override(request, OverrideKind.PAUSE)
                return plan(self.plan.sequence + 1, rules=rules, overrides=(paused,))
            case Verb.RESUME:
                return plan(self.plan.sequence + 1, rules=self.plan.services)

    def _without(self, request: OperatorRequest) -> Plan | OperatorAnswer:
        rules = {name: dict(of_service) for name, of_service in self.plan.services.items()}
        for name, of_service in rules.items():
            if request.service in (None, name) and request.node in of_service:
                others = [node for node in of_service if node != request.node]
                of_service[request.node] = Rule(Admission.OUT, 0)
                if not serving(of_service):
                    taker = next(n for n in others)
                    if of_service[taker].admission is Admission.OUT:
                        return self._refuse(Answer.UNSAFE, f"nothing would serve {name}")
                    of_service[taker] = Rule(Admission.SERVING, 100)
        kind = OverrideKind.FAILOVER if request.verb is Verb.FAILOVER else OverrideKind.MAINTENANCE
        overrides = (self._override(request, kind),)
        return plan(self.plan.sequence + 1, rules=rules, overrides=overrides)

    def _override(self, request: OperatorRequest, kind: OverrideKind) -> Override:
        now = self._clock.wall()
        return Override(
            kind=kind,
            service=request.service,
            node=request.node,
            owner=request.owner,
            reason=request.reason,
            since_wall_us=now,
            until_wall_us=now + (request.for_us or 4 * HOUR),
        )

    def _refuse(self, answer: Answer, text: str) -> OperatorAnswer:
        return OperatorAnswer(
            answer=answer, text=text, epoch=self.plan.epoch, sequence=self.plan.sequence
        )
