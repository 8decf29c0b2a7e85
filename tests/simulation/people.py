"""Somebody at a console, who asks for sensible and for foolish things."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.instant import MILLISECOND, SECOND, Duration
from shared.messages.facts import InstanceState
from shared.messages.operator import Answer, OperatorAnswer, OperatorRequest, Verb
from shared.messages.traffic import OverrideKind
from tests.simulation.processes import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

TIDY_EVERY_US: Duration = 500 * MILLISECOND
VERBS = (
    Verb.FAILOVER,
    Verb.FAILOVER,
    Verb.FAILBACK,
    Verb.MAINTENANCE_START,
    Verb.MAINTENANCE_END,
    Verb.PAUSE,
    Verb.RESUME,
    Verb.RESUME,
)


class Person(Process):
    """Asks the arbiter, and believes what is answered."""

    def __init__(self, world: World, machine: str) -> None:
        super().__init__(world, "person", machine)
        self.accepted = 0

    def begin(self) -> None:
        pass

    def ask_something(self) -> None:
        """Ask for anything."""
        rng, cluster = self.world.rng, self.world.weather.cluster
        verb = rng.choice(VERBS)
        node = rng.choice((*cluster.nodes, None))
        service = rng.choice((*cluster.services, None))
        lasting = verb in (Verb.FAILOVER, Verb.MAINTENANCE_START, Verb.PAUSE)
        for_us = rng.randrange(SECOND, 20 * SECOND) if lasting and rng.random() < 0.7 else None
        self._ask(
            OperatorRequest(
                verb=verb,
                node=node,
                service=service,
                owner="ana",
                reason="because",
                for_us=for_us,
                dry_run=rng.random() < 0.1,
                force=rng.random() < 0.2,
            )
        )

    def tidy(self) -> None:
        """Undo what was asked for, until nothing is left; bring back what waits for a person."""
        for verb, node, service in self._left():
            self._ask(
                OperatorRequest(
                    verb=verb, node=node, service=service, owner="bo", reason="tidy", force=True
                )
            )
        self.after(TIDY_EVERY_US, self.tidy)

    def _left(self) -> list[tuple[Verb, str | None, str | None]]:
        state = self.world.arbiter.state
        if state is None:
            return []
        left: list[tuple[Verb, str | None, str | None]] = []
        for standing in state.standing:
            override = standing.override
            if override.kind is OverrideKind.PAUSE:
                left.append((Verb.RESUME, None, None))
            elif self.world.weather.leaves_overrides:
                continue
            elif override.kind is OverrideKind.MAINTENANCE:
                left.append((Verb.MAINTENANCE_END, override.node, None))
            else:
                left.append((Verb.FAILBACK, override.node, override.service))
        kept = {(s.override.service, s.override.node) for s in state.standing}
        left += [
            (Verb.FAILBACK, node, service)
            for service, of_service in sorted(state.instances.items())
            for node, instance in sorted(of_service.items())
            if instance.state is InstanceState.MATCHED
            and not kept & {(service, node), (None, node), (service, None)}
        ]
        return left

    def _ask(self, request: OperatorRequest) -> None:
        words = " ".join(filter(None, (request.verb, request.service, request.node)))
        self.note(f"asks {words}{' dry' if request.dry_run else ''}")

        def told(answer: OperatorAnswer) -> None:
            self.note(f"hears {answer.answer}: {answer.text}")
            self.accepted += answer.answer is Answer.ACCEPTED

        self.world.broker.request(self, request, told)
