"""Clients that stay: connections through the virtual IPs that are open for long, and in use.

A few connections to every service at every VIP; over each a request is sent again and again, and
it is noted until when it was answered, and when it broke; then another is opened. A planned move
must not break them within the drain time; but it may ask them to leave, with a whole answer that
says it is the last.

What is seen is written as JSON: when all are open, and at the end.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from services.sandbox.client import Answer, Target, parse_answer, read_targets
from services.sandbox.loops import run
from shared.clock import Clock, SystemClock
from shared.errors import StateError
from shared.instant import MILLISECOND, SECOND, Duration, Instant

SEATS_EACH = 3  # connections to one service at one VIP
ASK_EVERY_US: Duration = 50 * MILLISECOND
ANSWER_WITHIN_S = 2.0  # what is not answered by then is broken, as for every client here
RECEIVE_MAX = 64 * 1024
LENGTH_MAX_S = 60
SEATS_MAX = 4_096  # a service that closes every connection at once is asked again and again
Line: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True, kw_only=True)
class Seat:
    """One connection."""

    vip: str
    service: str
    opened_at: Instant
    answers: int = 0
    answered_at: Instant = 0  # the newest answer
    left_at: Instant | None = None  # it was asked to
    broken_at: Instant | None = None
    why: str = ""


async def sit(targets: Sequence[Target], length_us: Duration, report: Path, clock: Clock) -> None:
    """Open the connections, say so, use them for a while, and report."""
    seats: list[Seat] = []
    places = [target for target in targets for _ in range(SEATS_EACH)]
    lines = [await asyncio.open_connection(target.address, target.port) for target in places]
    opened = [_seated(seats, target, clock) for target in places]
    write(report, seats, over=False)
    end_at = clock.now() + length_us

    async def stay(target: Target, seat: Seat, line: Line) -> None:
        await _use(seat, line, end_at, clock)
        while (
            clock.now() < end_at and len(seats) < SEATS_MAX
        ):  # it is over: sit down again, as who is still interested does
            try:
                line = await asyncio.open_connection(target.address, target.port)
            except OSError:
                await clock.sleep(ASK_EVERY_US)
                continue
            await _use(_seated(seats, target, clock), line, end_at, clock)

    await asyncio.gather(*map(stay, places, opened, lines))
    write(report, seats, over=True)


def _seated(seats: list[Seat], target: Target, clock: Clock) -> Seat:
    seat = Seat(vip=target.place, service=target.service, opened_at=clock.now())
    seats.append(seat)
    return seat


async def _use(seat: Seat, line: Line, end_at: Instant, clock: Clock) -> None:
    """Ask over one connection until its end, or ours."""
    reader, writer = line
    try:
        while clock.now() < end_at:
            writer.write(f"GET / HTTP/1.1\r\nhost: {seat.service}.test\r\n\r\n".encode())
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer = await _answer(reader)
            seat.answers += 1
            seat.answered_at = clock.now()
            if not answer.keep:
                seat.left_at = seat.answered_at
                return
            await clock.sleep(ASK_EVERY_US)
    except TimeoutError:
        seat.broken_at, seat.why = clock.now(), f"no answer within {ANSWER_WITHIN_S:g} s"
    except (OSError, EOFError, ValueError) as problem:
        seat.broken_at, seat.why = clock.now(), str(problem) or type(problem).__name__
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> Answer:
    received = b""
    while (answer := parse_answer(received)) is None:
        chunk = await reader.read(RECEIVE_MAX)
        if not chunk:
            raise EOFError("closed by the other end")
        received += chunk
    return answer


def write(report: Path, seats: Sequence[Seat], *, over: bool) -> None:
    """Write what was seen; a reader finds all of it or what was there before."""
    new = report.with_name(f"{report.name}.new")
    new.write_text(json.dumps({"over": over, "seats": [asdict(seat) for seat in seats]}))
    new.replace(report)


def read(report: Path) -> tuple[bool, list[Seat]]:
    """Return whether it is over, and the connections; none as long as they are not all open."""
    with suppress(FileNotFoundError):
        try:
            content = json.loads(report.read_bytes())
            return content["over"], [Seat(**fields) for fields in content["seats"]]
        except (ValueError, KeyError, TypeError) as problem:
            raise StateError(f"{report} tells nothing of connections: {problem}") from problem
    return False, []


def main(arguments: Sequence[str]) -> int:
    """Run them."""
    parser = argparse.ArgumentParser(prog="sitting", allow_abbrev=False)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--seconds", type=int, required=True, choices=range(1, LENGTH_MAX_S + 1))
    parser.add_argument("--report", type=Path, required=True)
    options = parser.parse_args(arguments)
    targets = read_targets(json.loads(options.plan.read_bytes()))
    run(sit(targets, options.seconds * SECOND, options.report, SystemClock()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
