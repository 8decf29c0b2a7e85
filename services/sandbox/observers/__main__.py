"""Observes who holds the virtual IPs, until told to stop."""

import argparse
import json
import os
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
from services.sandbox.observers.wire import WireEye
from shared.clock import Clock, SystemClock
from shared.instant import MILLISECOND, SECOND, Duration, Instant

ASK_EVERY_US: Duration = 10 * MILLISECOND
LOOK_EVERY_US: Duration = 50 * MILLISECOND  # when nothing happens
STARE_EVERY_US: Duration = MILLISECOND  # while two nodes seem to hold the same VIP
FLUSH_EVERY_US: Duration = 50 * MILLISECOND
URGENT = -10  # of priorities: who observes must not be the first to starve; root may say so


@dataclass(slots=True, kw_only=True)
class Observer:
    """All eyes, and when each has its turn."""

    eyes: Sequence[NodeEye]
    wire: WireEye
    writer: Writer
    clock: Clock
    stopping: bool = False
    _look_at: Instant = 0
    _ask_at: Instant = 0
    _flush_at: Instant = 0
    _signs: dict[int, tuple[NodeEye, Netlink]] = field(default_factory=dict)
    _frames: dict[int, socket.socket] = field(default_factory=dict)

    def run(self) -> None:
        """Observe until told to stop."""
        poll = select.epoll()
        for eye in self.eyes:
            for sign in eye.signs:
                self._signs[sign.fileno()] = eye, sign
        self._frames = {each.fileno(): each for each in self.wire.sockets}
        for descriptor in (*self._signs, *self._frames):
            poll.register(descriptor, select.EPOLLIN)
        while not self.stopping:
            next_at = min(self._look_at, self._ask_at, self._flush_at)
            wait_us = max(next_at - self.clock.now(), 0)
            self._turn([descriptor for descriptor, _ in poll.poll(wait_us / SECOND)])
        self.writer.flush()

    def _turn(self, ready: Sequence[int]) -> None:
        for descriptor in ready:
            if descriptor in self._frames:
                self.wire.hear(self._frames[descriptor])
            else:
                eye, sign = self._signs[descriptor]
                if eye.heed(sign):
                    self._look_at = 0
        now = self.clock.now()
        if now >= self._look_at:
            stares = self._look()
            self._look_at = now + (STARE_EVERY_US if stares else LOOK_EVERY_US)
        if now >= self._ask_at:
            self.wire.ask()
            # The next one is due by the schedule, unless we slept through it.
            self._ask_at = max(self._ask_at + ASK_EVERY_US, now + ASK_EVERY_US // 2)
        if now >= self._flush_at:
            for asked in self.wire.closed():
                self.writer.add(asked)
            self.writer.flush()
            self._flush_at = now + FLUSH_EVERY_US

    def _look(self) -> bool:
        """Look at every node; return whether two seem to hold the same VIP."""
        looks = [eye.look() for eye in self.eyes]
        for look in looks:
            self.writer.add(look)
        return suspicious(looks)


def suspicious(looks: Sequence[Look]) -> bool:
    """Return whether two nodes seem to hold the same VIP."""
    held = [vip for look in looks for vip in look.holds]
    return len(held) != len(set(held))


def main(arguments: Sequence[str]) -> int:
    """Run the observers.

    Their plan is a file: {"nodes": {NAME: PID}, "client": PID, "vips": {NAME: ADDRESS},
    "hardware": {HARDWARE ADDRESS: NODE}}, where a process holds each namespace.
    """
    parser = argparse.ArgumentParser(prog="observers", allow_abbrev=False)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--observations", type=Path, required=True)
    options = parser.parse_args(arguments)
    plan = json.loads(options.plan.read_bytes())
    clock = SystemClock()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, URGENT)
    wire = WireEye(plan["client"], plan["vips"], clock)
    wire.knows(plan["hardware"])
    observer = Observer(
        eyes=[
            NodeEye.open(node, holder, plan["vips"], clock)
            for node, holder in plan["nodes"].items()
        ],
        wire=wire,
        writer=Writer(options.observations),
        clock=clock,
    )

    def stop(number: int, where: object) -> None:
        del number, where
        observer.stopping = True

    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, stop)
    print(json.dumps({"event": "ready"}), flush=True)
    observer.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
