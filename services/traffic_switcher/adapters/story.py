"""Writes the story of this load balancer to the log: a line for each thing that happened."""

from services.traffic_switcher.core.state import (
    Commanded,
    Event,
    NotPersisted,
    NotShown,
    Prepared,
    State,
    Verified,
)
from shared.log import Log
from shared.messages.table import Message
from shared.messages.traffic import Applied, Drift, Refused, Stage


class Story:
    """What is repeated every second is written once, when it begins."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._unconfirmed = ""
        self._applied_last: tuple[object, ...] = ()

    def heard(self, state: State, event: Event) -> None:
        """Write an event, with the state that it finds."""
        match event:
            case Commanded() if event.command.plan.number > state.memory.fence:
                plan = event.command.plan
                self._log.info(
                    "plan_heard", epoch=plan.epoch, sequence=plan.sequence, because=plan.reason
                )
            case NotPersisted():
                self._log.error("plan_not_persisted", because=event.detail)
            case NotShown() if event.detail != state.detail:
                self._log.warning("balancer_unknown", because=event.detail)
            case Prepared() if event.detail and event.detail != state.unprepared:
                self._log.error("configuration_not_installed", because=event.detail)
            case Verified():
                self._verified(event)
            case _:
                pass

    def said(self, message: Message) -> None:
        """Write what is said; the picture of every second is not."""
        match message:
            case Applied():
                self._applied(message)
            case Drift():
                self._log.warning(
                    "drift",
                    target=f"{message.service}/{message.target}",
                    wanted=message.wanted,
                    installed=message.installed,
                    repaired=message.repaired,
                    by=message.by,
                )
            case Refused():
                self._log.warning(
                    "plan_refused",
                    epoch=message.epoch,
                    sequence=message.sequence,
                    because=message.reason,
                )
            case _:
                pass

    def _applied(self, applied: Applied) -> None:
        # A command that is repeated is answered every time.
        this = (applied.epoch, applied.sequence, applied.stage, applied.detail)
        if this == self._applied_last:
            return
        self._applied_last = this
        write = self._log.warning if applied.stage is Stage.FAILED else self._log.info
        write(
            f"plan_{applied.stage}",
            epoch=applied.epoch,
            sequence=applied.sequence,
            detail=applied.detail,
            persist_us=applied.persist_us,
            install_us=applied.install_us,
            verify_us=applied.verify_us,
        )

    def _verified(self, verified: Verified) -> None:
        seen = "; ".join(o.detail for o in verified.outcomes if not o.confirmed)
        if seen and not self._unconfirmed:
            self._log.warning("not_verified", seen=seen)
        self._unconfirmed = seen
