"""A small service that does what a test of the runtime asks: `python -m … MODE`."""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from shared.bus import Received
from shared.cluster import Cluster, FailbackMode, HeartbeatSettings, Node, Policy
from shared.errors import BusError, ConfigError, MachineError, SwitchError
from shared.ground import Ground
from shared.instant import MILLISECOND, SECOND
from shared.log import LINES_MAX
from shared.messages.health import Heartbeat
from shared.runtime import Base, run
from shared.settings import Settings

FLOOD = 3 * LINES_MAX
RESULT = Path(os.environ.get("RESULT", "/dev/null"))  # what a flood says by that it is done


def load(path: Path, environ: Mapping[str, str]) -> Settings:
    """Return settings out of the environment alone."""
    if environ["MODE"] == "misconfigured":
        raise ConfigError("invalid configuration:\n  - one\n  - two")
    if environ["MODE"] == "broken-loader":
        raise KeyError("nobody expected this")
    cluster = Cluster(
        name="pair",
        nodes={"a": Node(name="a", address="127.0.0.1")},
        witness=None,
        services={},
        heartbeat=HeartbeatSettings(every_us=50 * MILLISECOND, port=1),
        policy=Policy(
            failback=FailbackMode.AUTOMATIC,
            after_us=SECOND,
            forget_us=SECOND,
            ramp_us=SECOND,
            drain_us=SECOND,
            moves_max=1,
            moves_window_us=SECOND,
            override_max_us=SECOND,
        ),
        bus_servers=(environ["BUS"],),
        configuration="k",
    )
    return Settings(
        cluster=cluster,
        member="a",
        key=b"",
        run_directory=Path(environ["RUN"]),
        state_directory=path,
        otlp_endpoint=None,
        trace_ui=None,
        log_format=environ.get("FORMAT", "json"),
        log_level=environ.get("LEVEL", "info"),
        warnings=("two nodes share an address",) if environ["MODE"] == "warned" else (),
    )


async def serve(base: Base) -> None:
    base.ready(traced="opentelemetry" in sys.modules)
    await base.stopping.wait()


async def hang(base: Base) -> None:
    base.ready()
    await asyncio.Event().wait()


async def fail_an_assertion(base: Base) -> None:
    base.ready()
    number = len(base.boot_id)
    assert number < 0, "a boot id cannot be long"


async def fail_in_a_callback(base: Base) -> None:
    def callback() -> None:
        raise AssertionError("in a callback")

    asyncio.get_running_loop().call_soon(callback)
    await serve(base)


async def fail_in_a_handler(base: Base) -> None:
    def handler(received: Received) -> None:
        raise LookupError(received.subject)

    await base.bus.subscribe("heartbeat.*", handler)
    await base.bus.publish(Heartbeat(node="a", boot_id="b", sequence=1, configuration="k"))
    await serve(base)


async def miss_something(base: Base) -> None:
    _ = base
    raise MachineError("nft is missing; `apt-get install nftables` brings it")


async def lose_in_a_group(base: Base) -> None:
    async def lose() -> None:
        raise BusError("the bus closed the connection")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(lose())
        tasks.create_task(serve(base))


async def fail_in_a_group(base: Base) -> None:
    async def refuse() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise SwitchError("refused")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(refuse())
        await base.clock.sleep(0)
        raise LookupError("the bug beside it")


async def end(base: Base) -> None:
    base.ready()


async def cancel_itself(base: Base) -> None:
    _ = base
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.Event().wait()


async def let_a_library_speak(base: Base) -> None:
    logging.getLogger("some.library").warning("it is %s", "late")
    await serve(base)


async def flood(base: Base) -> None:
    """Log more than anybody reads, and say by a file that it is done."""
    base.ready()
    for number in range(FLOOD):
        base.log.info("flood", number=number, padding="x" * 200)
        await base.clock.sleep(0)
    RESULT.open("w").close()  # noqa: ASYNC230 - a test's own signal
    await base.stopping.wait()


async def fail_beside(ground: Ground) -> None:
    _ = ground
    raise SwitchError("the socket is in use")


MODES: dict[str, Callable[[Any], Awaitable[None]]] = {
    "serve": serve,
    "warned": serve,
    "hang": hang,
    "end": end,
    "assertion": fail_an_assertion,
    "callback": fail_in_a_callback,
    "handler": fail_in_a_handler,
    "missing": miss_something,
    "group-bus": lose_in_a_group,
    "group-bug": fail_in_a_group,
    "cancelled": cancel_itself,
    "library": let_a_library_speak,
    "flood": flood,
    "beside": serve,
    "misconfigured": serve,
    "broken-loader": serve,
}

if __name__ == "__main__":
    mode = os.environ["MODE"]
    run("test", MODES[mode], meanwhile=fail_beside if mode == "beside" else None, load=load)
