"""Observes who holds the virtual IPs, until told to stop.

The plan is a file: {"nodes": {NAME: PID}, "vips": {NAME: ADDRESS}, "hardware": {HARDWARE ADDRESS:
NODE}, "wire": {"holder": PID, …}}, where a process holds each namespace. SIGHUP: it has changed.
"""

import argparse
import json
import select
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from services.sandbox.netlink import Netlink
from services.sandbox.observers.guards import NodeEye
from services.sandbox.observers.observations import Look, Writer
from services.sandbox.observers.wire import Place, WireEye
from shared.clock import Clock, SystemClock
from shared.instant import MILLISECOND, SECOND, Duration, Instant
from shared.urgency import hurry

ASK_EVERY_US: Duration = 10 * MILLISECOND
LOOK_EVERY_US: Duration = 50 * MILLISECOND  # when nothing happens
STARE_EVERY_US: Duration = MILLISECOND  # while two nodes seem to hold the same VIP
FLUSH_EVERY_US: Duration = 50 * MILLISECOND


@dataclass(slots=True, kw_only=True)
class Observer:
    """All eyes, and when each has its turn."""

    plan: Path
    writer: Writer
    clock: Clock
    stopping: bool = False
    changed: bool = False  # what the plan says
    _eyes: dict[str, tuple[int, NodeEye]] = field(default_factory=dict)
    _wire: tuple[Place, WireEye] | None = None
    _poll: select.epoll = field(default_factory=select.epoll)
    _look_at: Instant = 0
    _ask_at: Instant = 0
    _flush_at: Instant = 0
    _signs: dict[int, tuple[NodeEye, Netlink]] = field(default_factory=dict)
    _frames: dict[int, socket.socket] = field(default_factory=dict)

    def run(self) -> None:
        """Observe until told to stop."""
        while not self.stopping:
            if self.changed:
                self.changed = False
                self.open()
            next_at = min(self._look_at, self._ask_at, self._flush_at)
            wait_us = max(next_at - self.clock.now(), 0)
            self._turn([descriptor for descriptor, _ in self._poll.poll(wait_us / SECOND)])
        self.writer.flush()

    def open(self) -> None:
        """Open the eyes that the plan wants; those that it wants no more are closed."""
        plan = json.loads(self.plan.read_bytes())
        for node, holder in plan["nodes"].items():
            before = self._eyes.get(node)
            if before is None or before[0] != holder:
                with suppress(OSError):  # it is gone again: who is there next is said next
                    eye = NodeEye.open(node, holder, plan["vips"], self.clock)
                    self._eyes[node] = holder, eye
                    if before is not None:
                        before[1].close()
        place = Place(**plan["wire"])
        if self._wire is None or self._wire[0] != place:
            before_wire, self._wire = self._wire, (place, WireEye(place, plan["vips"], self.clock))
            if before_wire is not None:
                before_wire[1].close()
        self._wire[1].knows(plan["hardware"])
        self._attend()

    def _attend(self) -> None:
        """Wait for the signs of all eyes, and of no others."""
        assert self._wire is not None
        self._poll.close()
        self._poll = select.epoll()
        self._signs = {
            sign.fileno(): (eye, sign) for _, eye in self._eyes.values() for sign in eye.signs
        }
        self._frames = {each.fileno(): each for each in self._wire[1].sockets}
        for descriptor in (*self._signs, *self._frames):
            self._poll.register(descriptor, select.EPOLLIN)

    def _turn(self, ready: Sequence[int]) -> None:
        assert self._wire is not None
        _, wire = self._wire
        self._heed(ready, wire)
        now = self.clock.now()
        if now >= self._look_at:
            stares = self._look()
            self._look_at = now + (STARE_EVERY_US if stares else LOOK_EVERY_US)
        if now >= self._ask_at:
            wire.ask()
            # The next one is due by the schedule, unless we slept through it.
            self._ask_at = max(self._ask_at + ASK_EVERY_US, now + ASK_EVERY_US // 2)
        if now >= self._flush_at:
            for asked in wire.closed():
                self.writer.add(asked)
            self.writer.flush()
            self._flush_at = now + FLUSH_EVERY_US

    def _heed(self, ready: Sequence[int], wire: WireEye) -> None:
        for descriptor in ready:
            if descriptor in self._frames:
                if wire.hear(self._frames[descriptor]):
                    self._ask_at = 0  # whoever says that it is theirs is asked at once
            else:
                eye, sign = self._signs[descriptor]
                if eye.heed(sign):
                    self._look_at = 0

    def _look(self) -> bool:
        """Look at every node; return whether two seem to hold the same VIP."""
        looks = [eye.look() for _, eye in self._eyes.values()]
        for look in looks:
            self.writer.add(look)
        return suspicious(looks)


def suspicious(looks: Sequence[Look]) -> bool:
    """Return whether two nodes seem to hold the same VIP."""
    held = [vip for look in looks for vip in look.holds]
    return len(held) != len(set(held))


def main(arguments: Sequence[str]) -> int:
    """Run the observers."""
    parser = argparse.ArgumentParser(prog="observers", allow_abbrev=False)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--observations", type=Path, required=True)
    options = parser.parse_args(arguments)
    clock = SystemClock()
    hurry()  # as what is observed does: who starves sees what happened too late
    observer = Observer(plan=options.plan, writer=Writer(options.observations), clock=clock)

    def stop(number: int, where: object) -> None:
        del number, where
        observer.stopping = True

    def look_again(number: int, where: object) -> None:
        del number, where
        observer.changed = True

    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, stop)
    signal.signal(signal.SIGHUP, look_again)
    observer.open()
    print(json.dumps({"event": "ready"}), flush=True)
    observer.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
