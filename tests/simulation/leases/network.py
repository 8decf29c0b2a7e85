"""Directed links between machines: late, doubled, overtaking, lost, cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.instant import MILLISECOND, Duration

if TYPE_CHECKING:
    from tests.simulation.leases.processes import Seat
    from tests.simulation.leases.world import World

LINK_MIN_US: Duration = 60
LINK_MAX_US: Duration = 900
LATE_MAX_US: Duration = 900 * MILLISECOND


class Network:
    """What is sent arrives after a time of its own, whatever was sent before it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.cut: set[tuple[str, str]] = set()
        self.lost = 0.0  # shares of the messages
        self.late = 0.0
        self.doubled = 0.0
        self.late_ways: dict[tuple[str, str], float] = {}  # shares on one link

    def calm(self) -> None:
        """Be a good network again; what is late still comes."""
        self.cut.clear()
        self.late_ways.clear()
        self.lost = self.late = self.doubled = 0.0

    def send(self, source: str, target: Seat, message: object) -> None:
        """Let whoever then sits there hear it, perhaps, some time, perhaps twice."""
        rng, agenda = self._world.rng, self._world.agenda
        if (source, target.machine.name) in self.cut or rng.random() < self.lost:
            return
        late = max(self.late, self.late_ways.get((source, target.machine.name), 0.0))
        agenda.after(self._delay_us(late), target.deliver, message)
        if self.doubled and rng.random() < self.doubled:
            agenda.after(rng.randrange(LINK_MIN_US, LATE_MAX_US), target.deliver, message)

    def _delay_us(self, late: float) -> Duration:
        rng = self._world.rng
        if late and rng.random() < late:
            # Most are a little late, some very.
            return int(LINK_MAX_US + (LATE_MAX_US - LINK_MAX_US) * rng.random() ** 2)
        return LINK_MIN_US + int((LINK_MAX_US - LINK_MIN_US) * rng.random() ** 3)
