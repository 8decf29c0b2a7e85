"""What every service stands on while it runs, whether or not there is a bus.

It answers whoever asks how it is, tells its supervisor that it turns, looks how late its loop is,
and ends when its member's address has gone.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from shared import last_words
from shared.clock import Clock
from shared.health import Health, process
from shared.health.server import answering, socket_of
from shared.log import Log
from shared.own_address import until_vanished
from shared.settings import Settings
from shared.supervision import Supervision
from shared.version import version

Meanwhile: TypeAlias = Callable[["Ground"], Awaitable[None]]
Fail: TypeAlias = Callable[[BaseException], None]  # ends the service

MEANWHILE_ENDS_WITHIN_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is there before the bus is."""

    settings: Settings
    clock: Clock
    log: Log
    health: Health
    stopping: asyncio.Event


@asynccontextmanager
async def standing(
    ground: Ground,
    program: str,
    meanwhile: Meanwhile | None,
    environ: Mapping[str, str],
    fail: Fail,
) -> AsyncIterator[None]:
    """Keep up what does not wait for the bus; `fail` hears of what cannot go on.

    Raises `MachineError` if it cannot even begin.
    """
    settings, clock, health = ground.settings, ground.clock, ground.health
    lag, supervision = process.Lag(), Supervision(environ)
    configuration = settings.cluster.configuration
    health.measure(lambda: process.measures(version(), configuration, health.checks(), lag.seen))
    place = socket_of(settings.run_directory, program)
    address = settings.cluster.members[settings.member].address
    async with answering(health, place, program, settings.health_at):
        last_words.forget(settings.run_directory, program)
        supervision.ready()  # before there is a bus: nobody's start waits for another's
        beside = None if meanwhile is None else _failing(meanwhile(ground), fail)
        watching = (
            _failing(supervision.keep(clock), fail),
            _failing(lag.watch(clock), fail),
            _failing(until_vanished(settings.member, address, clock), fail),
        )
        try:
            yield
        finally:
            supervision.stopping()
            for each in watching:
                each.cancel()
            await _ended(beside)


def _failing(work: Awaitable[None], fail: Fail) -> "asyncio.Future[None]":
    """Begin something whose failure is the service's."""

    def end(ended: "asyncio.Future[None]") -> None:
        error = None if ended.cancelled() else ended.exception()
        if error is not None:
            fail(error)

    begun = asyncio.ensure_future(work)
    begun.add_done_callback(end)
    return begun


async def _ended(beside: "asyncio.Future[None] | None") -> None:
    """Give what runs beside a service a moment to end by itself."""
    if beside is None:
        return
    await asyncio.wait({beside}, timeout=MEANWHILE_ENDS_WITHIN_S)
    beside.cancel()
    await asyncio.wait({beside}, timeout=MEANWHILE_ENDS_WITHIN_S)
