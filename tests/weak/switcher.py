"""The real traffic switcher, whose guard lets everything pass."""

from collections.abc import Mapping

from services.traffic_switcher.__main__ import main
from services.traffic_switcher.adapters import machine
from services.traffic_switcher.adapters.guard import Kernel
from shared.clock import Clock
from shared.cluster import Cluster
from shared.instant import Duration, Instant
from shared.runtime import run


class NoGuard:
    """Says what a guard would say, and tells the kernel nothing."""

    lacks = ""

    def __init__(self, kernel: Kernel, cluster: Cluster, clock: Clock) -> None:
        del kernel, cluster
        self._clock = clock
        self._ends: dict[str, Instant] = {}

    def stand(self) -> None:
        self._ends.clear()

    def permit(self, token: int) -> None:
        del token

    def renew(self, token: int, rests: Mapping[str, Duration]) -> bool:
        del token
        now = self._clock.now()
        self._ends.update({address: now + rest_us for address, rest_us in rests.items()})
        return True

    def close(self, address: str, *, drain_us: Duration = 0) -> None:
        del drain_us
        self._ends.pop(address, None)

    def hand_over(self, address: str, *, to: str, for_us: Duration) -> None:
        del address, to, for_us

    def keep(self, address: str) -> None:
        del address

    def shows(self) -> Mapping[str, Duration]:
        now = self._clock.now()
        return {address: end - now for address, end in self._ends.items() if end > now}


if __name__ == "__main__":
    assert "NftGuard" in vars(machine), "the switcher makes its guard by another name now"
    vars(machine)["NftGuard"] = NoGuard
    run("traffic_switcher", main)
