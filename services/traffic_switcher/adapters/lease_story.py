"""Writes the story of this node's VIPs to the log: a line for each thing that happened."""

from collections.abc import Mapping

from services.traffic_switcher.adapters.story import Story
from services.traffic_switcher.core.leases.state import NOT_YET
from services.traffic_switcher.core.places import Place
from shared.log import Log
from shared.messages.leases import ClaimSeen, Held, Holding, LeaseBeat
from shared.messages.table import Message


class LeaseStory:
    """What every beat repeats is written once, when it begins and when it ends."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._others = Story(log)
        self._known: dict[str, str] = {}
        self._advised: dict[str, str] = {}

    def said(self, message: Message) -> None:
        """Write what became of a VIP, and what a beat says that the one before did not."""
        match message:
            case LeaseBeat():
                self._beat(message)
            case Held():
                ends = message.holding is Holding.LAPSED
                write = self._log.warning if ends else self._log.info
                write(
                    f"vip_{message.holding}",
                    vip=message.vip,
                    epoch=message.term[0],
                    sequence=message.term[1],
                    because=message.reason,
                    guard_us=message.guard_us,
                    address_us=message.address_us,
                )
            case ClaimSeen():
                self._log.warning(
                    "vip_claimed",
                    vip=message.vip,
                    by=message.hardware,
                    interface=message.interface,
                    seen=message.seen,
                )
            case _:
                self._others.said(message)

    def persisted(self, fault: str) -> None:
        """Write that floors cannot be persisted, or can again."""
        self._changed("persisting of floors", fault)

    def done(self, what: str, vip: str, fault: str) -> None:
        """Write what was tried in vain, once for the same reason, and that it worked again."""
        self._changed(f"{what} of {vip}", fault)

    def farewells(self, fault: str) -> None:
        """Write that clients of what drains are not told to leave, or are again."""
        self._changed("ending kept connections of what drains", fault)

    def lacks(self, what: str) -> None:
        """Write what this machine's guard has to do without."""
        self._changed("the whole guard", what)

    def seen(self, places: Mapping[str, Place]) -> None:
        """Write what a person should mend although it works."""
        for address, place in places.items():
            if place.advice != self._advised.get(address, ""):
                self._advised[address] = place.advice
                if place.advice:
                    self._log.warning("advice", what=address, because=place.advice)

    def _beat(self, beat: LeaseBeat) -> None:
        self._changed("guard", beat.guard_detail)
        self._changed("load balancer", beat.balancer)
        for name, hold in beat.vips.items():
            # What the guard lacks was said already.
            self._changed(name, "" if hold.unfit == beat.guard_detail else hold.unfit)

    def _changed(self, what: str, now: str) -> None:
        if now == self._known.get(what, "") or now in NOT_YET:
            return
        self._known[what] = now
        if now:
            self._log.warning("not_able", what=what, because=now)
        else:
            self._log.info("able_again", what=what)
