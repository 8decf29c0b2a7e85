"""A guard as a value: elements that expire on a clock of its own, transactions that may be refused.

`freezes` is called at the named points of a renewal, so that a test or a simulation can let time
pass there, as a process that is stopped does: "permit", "permitted", "commit", "committed".
"""

from collections.abc import Callable, Mapping

from services.traffic_switcher.adapters.ports import PERMIT_US
from shared.errors import SwitchError
from shared.instant import Duration, Instant


def _never(_: str) -> None:
    """Nothing stops this process."""


class FakeGuard:
    """What the kernel would have."""

    def __init__(self, now: Callable[[], Instant], freezes: Callable[[str], None] = _never) -> None:
        self._now = now
        self._freezes = freezes
        self._permits: dict[int, Instant] = {}
        self._ends: dict[str, Instant] = {}
        self._drains: dict[str, Instant] = {}
        self._handing: dict[str, tuple[str, Instant]] = {}
        self.stands = False
        self.lacks = ""
        self.refuses = ""  # why the kernel refuses everything
        self.opened: list[tuple[Instant, str, Duration]] = []  # every time one was opened

    # -- what the switcher calls ---------------------------------------------------------

    def stand(self) -> None:
        """Make the tables anew, everything closed."""
        self._ask()
        self._permits, self._ends, self._drains, self._handing = {}, {}, {}, {}
        self.stands = True

    def permit(self, token: int) -> None:
        """Commit an element that is forgotten soon."""
        self._freezes("permit")
        self._ask_standing()
        self._permits[token] = self._now() + PERMIT_US
        self._freezes("permitted")

    def renew(self, token: int, rests: Mapping[str, Duration]) -> bool:
        """Use up the permit and open, or change nothing."""
        self._freezes("commit")
        self._ask_standing()
        if self._permits.pop(token, 0) <= self._now():
            return False
        for address, rest_us in rests.items():
            assert rest_us > 0
            self._ends[address] = self._now() + rest_us
            self._drains.pop(address, None)
            self.opened.append((self._now(), address, rest_us))
        self._freezes("committed")
        return True

    def close(self, address: str, *, drain_us: Duration = 0) -> None:
        """Close; what is open already is served on for a while."""
        self._ask_standing()
        self._ends.pop(address, None)
        self._drains.pop(address, None)
        if drain_us:
            self._drains[address] = self._now() + drain_us

    def hand_over(self, address: str, *, to: str, for_us: Duration) -> None:
        """Pass on what belongs to no connection begun here."""
        self._ask_standing()
        self._handing[address] = (to, self._now() + for_us)

    def keep(self, address: str) -> None:
        """End that."""
        self._ask_standing()
        self._handing.pop(address, None)

    def shows(self) -> Mapping[str, Duration]:
        """Return what is left of every running lease."""
        self._ask_standing()
        now = self._now()
        return {address: end - now for address, end in self._ends.items() if end > now}

    # -- what others see and do ----------------------------------------------------------

    def is_open(self, address: str) -> bool:
        """Whether packets of new connections to it come through now; all do without a guard."""
        return not self.stands or self._ends.get(address, 0) > self._now()

    def serves_on(self, address: str) -> bool:
        """Whether open connections to it are served on after its release."""
        return self._drains.get(address, 0) > self._now()

    def hands_over_to(self, address: str) -> str:
        """Return who gets what belongs to no connection begun here; "" nobody."""
        to, until = self._handing.get(address, ("", 0))
        return to if until > self._now() else ""

    def add(self, address: str, rest_us: Duration) -> None:
        """Add an element by hand, as somebody else's `nft add element` does."""
        self._ends[address] = self._now() + rest_us

    def flush(self) -> None:
        """Remove everything, as somebody else's `nft flush ruleset` does."""
        self._permits, self._ends, self._drains, self._handing = {}, {}, {}, {}
        self.stands = False

    def _ask(self) -> None:
        if self.refuses:
            raise SwitchError(self.refuses)

    def _ask_standing(self) -> None:
        self._ask()
        if not self.stands:
            raise SwitchError("table inet equipoise was removed by somebody else")
