"""Looks on with true time, which nobody in the world has, and says when a promise is broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.instant import Duration, Instant, milliseconds
from shared.messages.leases import NO_TERM, Term
from shared.messages.traffic import Plan

if TYPE_CHECKING:
    from tests.simulation.leases.world import World


class Violation(Exception):  # noqa: N818 - it is what was found
    """A promise is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Two guards were open for one address."""

    address: str
    earlier: str
    later: str
    since: Instant
    lasted_us: Duration

    def __str__(self) -> str:
        return (
            f"two holders: {self.address} was open on {self.earlier} when it opened on "
            f"{self.later}, and on both for {milliseconds(self.lasted_us):.3f} ms"
        )


class Watch:
    """At every instant at most one guard is open for an address; floors never go down.

    Guards close by themselves, so two are open at some instant exactly if one is opened while
    another is: it is enough to look at every opening.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._floors: dict[tuple[str, str], Term] = {}
        self._pending: tuple[str, str, str, Instant] | None = None
        self.overlap: Overlap | None = None
        self.broken = ""  # another promise than the first one

    # -- guards --------------------------------------------------------------------------

    def opened(self, node: str, address: str, *, was_open: bool) -> None:
        """Look whether anybody else is open."""
        world = self._world
        if not was_open:
            world.record.counts["takings"] += 1
            world.record.note(world.agenda.now, node, "OPENS {}", address)
        for other in world.weather.cluster.nodes:
            if other != node and world.machines[other].kernel.is_open(address):
                self._two(other, node, address)

    def closed(self, node: str, address: str) -> None:
        """Note that a guard was closed before its time was over."""
        world = self._world
        world.record.note(world.agenda.now, node, "CLOSES {}", address)
        self._look()

    def _two(self, earlier: str, later: str, address: str) -> None:
        if self._pending is not None:
            return
        now = self._world.agenda.now
        self._world.record.note(now, "watch", "TWO HOLDERS of {}: {} too", address, earlier)
        self._pending = (address, earlier, later, now)
        self._look()

    def _look(self) -> None:
        """End the run when one of the two has closed; then it is known how long it lasted."""
        if self._pending is None or self.overlap is not None:
            return
        address, earlier, later, since = self._pending
        agenda = self._world.agenda
        kernels = [self._world.machines[node].kernel for node in (earlier, later)]
        if all(kernel.is_open(address) for kernel in kernels):
            ends_at = min(kernel.ends_at(address) for kernel in kernels)
            agenda.after(max(ends_at - agenda.now, 0), self._look)
            return
        self.overlap = Overlap(
            address=address,
            earlier=earlier,
            later=later,
            since=since,
            lasted_us=agenda.now - since,
        )
        agenda.stopped = True

    # -- plans ---------------------------------------------------------------------------

    def planned(self, before: Plan, after: Plan) -> None:
        """Look whether a VIP leaves a place where nothing ails it: it may only come home."""
        world = self._world
        for vip, placement in after.vips.items():
            is_moved = vip in before.vips and before.vips[vip].holder != placement.holder
            is_home = placement.holder == world.weather.cluster.vips[vip].home
            if is_moved and not is_home and world.faults.is_long_quiet:
                self._broken(f"{vip} moves to {placement.holder} for nothing: {after.reason}")

    # -- floors --------------------------------------------------------------------------

    def persisted(self, node: str, floors: Mapping[str, Term]) -> None:
        """Look whether a floor went down."""
        for vip, floor in floors.items():
            before = self._floors.get((node, vip), NO_TERM)
            if floor < before:
                self._broken(f"the floor of {vip} on {node} went from {before} to {floor}")
            self._floors[node, vip] = floor

    def lost(self, node: str) -> None:
        """Forget what a node has forgotten."""
        self._floors = {key: floor for key, floor in self._floors.items() if key[0] != node}

    def said(self, node: str, vip: str, floor: Term) -> None:
        """Look whether a floor is said that is not on the disk."""
        if floor > self._floors.get((node, vip), NO_TERM):
            self._broken(f"{node} says floor {floor} of {vip}, which is not on its disk")

    def _broken(self, what: str) -> None:
        """Remember the first; the run goes on, because two holders may come of it."""
        self.broken = self.broken or what
