"""A node's guard as the kernel keeps it, whoever of ours is alive, frozen or late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from services.traffic_switcher.core.leases.pace import PERMIT_US
from shared.errors import SwitchError
from shared.instant import MILLISECOND, Duration, Instant

if TYPE_CHECKING:
    from tests.simulation.leases.world import Machine, World


class Kernel:
    """Sets of elements with time-outs, on the node's clock; one call is one transaction.

    A time-out ends at a tick of the kernel, so an element lives up to one tick longer than it
    was asked to. It is told in whole milliseconds.
    """

    def __init__(self, world: World, machine: Machine, tick_us: Duration) -> None:
        self._world = world
        self._machine = machine
        self._tick_us = tick_us
        self._open: dict[str, Instant] = {}
        self._permits: dict[int, Instant] = {}
        self._drains: dict[str, Instant] = {}
        self.broken = False  # it refuses everything

    # -- what the switcher calls ---------------------------------------------------------

    def stand(self) -> None:
        """Close everything."""
        self._ask()
        self._permits.clear()
        self._drains.clear()
        self._closed(tuple(self._open))

    def permit(self, token: int) -> None:
        """Commit an element that is forgotten after PERMIT_US."""
        self._ask()
        self._permits[token] = self._expires(PERMIT_US)

    def renew(self, token: int, rests: Mapping[str, Duration]) -> bool:
        """Delete the permit, delete and add the leases: all, or nothing if there is no permit."""
        self._ask()
        if not self._runs(self._permits.pop(token, None)):
            return False
        for address, rest_us in sorted(rests.items()):
            assert rest_us > 0
            self._drains.pop(address, None)
            was_open = self.is_open(address)
            self._open[address] = self._expires(rest_us)
            self._world.watch.opened(self._machine.name, address, was_open=was_open)
        return True

    def close(self, address: str, *, drain_us: Duration = 0) -> None:
        """Close; what is open already is served on for a while, which is no holding."""
        self._ask()
        if drain_us:
            self._drains[address] = self._expires(drain_us)
        self._closed((address,))

    def ask(self) -> None:
        """Do what the watch does not look at; refused like everything else."""
        self._ask()

    def shows(self) -> Mapping[str, Duration]:
        """Return what is left of the running leases."""
        self._ask()
        now = self._machine.clock.now()
        return {each: end - now for each, end in self._open.items() if end > now}

    # -- what the world does and sees ----------------------------------------------------

    def is_open(self, address: str) -> bool:
        """Whether this node answers for an address, now."""
        return self._runs(self._open.get(address))

    def ends_at(self, address: str) -> Instant:
        """Return the true time at which an open guard closes if nobody touches it."""
        return self._machine.clock.true(self._open[address])

    def power_off(self) -> None:
        """Forget everything."""
        self._permits.clear()
        self._drains.clear()
        self._closed(tuple(self._open))

    def _closed(self, addresses: tuple[str, ...]) -> None:
        for address in addresses:
            was_open = self.is_open(address)
            self._open.pop(address, None)
            if was_open:
                self._world.watch.closed(self._machine.name, address)

    def _ask(self) -> None:
        if self.broken:
            raise SwitchError("the kernel does not do it")

    def _runs(self, end: Instant | None) -> bool:
        return end is not None and self._machine.clock.now() < end

    def _expires(self, timeout_us: Duration) -> Instant:
        whole_us = timeout_us // MILLISECOND * MILLISECOND
        ticks = -(-whole_us // self._tick_us)
        return (self._machine.clock.now() // self._tick_us + ticks) * self._tick_us
