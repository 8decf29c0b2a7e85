"""Whether this machine still has its member's address.

In a container that shares another's network, that other one's restart leaves us in a network of
nobody: nothing can be sent or heard there for ever, and every lookup seems to work. Who had the
address and has it no more ends, so that its supervisor starts it in the network that is there now.

The kernel's own tables are read, for 0.1 ms a second: binding a socket to the address proves
nothing where foreign addresses may be bound (`ip_nonlocal_bind`).
"""

import ipaddress
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from shared.clock import Clock
from shared.errors import MachineError
from shared.instant import SECOND, Duration

LOOK_EVERY_US: Duration = SECOND
# Somebody who flushes an interface and puts its addresses back takes less.
GONE_FOR_US: Duration = 3 * SECOND
OF_VERSION = {4: Path("/proc/self/net/fib_trie"), 6: Path("/proc/self/net/if_inet6")}


def has(address: str, table: str) -> bool:
    """Whether the kernel's table of its own addresses has this one."""
    parsed = ipaddress.ip_address(address)
    if parsed.version == 6:  # noqa: PLR2004 - there are two versions
        return any(line.startswith(f"{int(parsed):032x} ") for line in table.splitlines())
    lines = [line.strip() for line in table.splitlines()]
    return any(
        line == f"|-- {address}" and below == "/32 host LOCAL" for line, below in pairwise(lines)
    )


def table_for(address: str) -> str:
    """Return the kernel's table that would have an address; "" where it shows none."""
    try:
        return OF_VERSION[ipaddress.ip_address(address).version].read_text()
    except OSError:
        return ""


async def until_vanished(
    member: str, address: str, clock: Clock, table: Callable[[str], str] = table_for
) -> None:
    """Wait, and raise `MachineError` when an address that was here has been gone for a while.

    Who never had it is left alone: a machine may still be starting.
    """
    missed_us: Duration | None = None
    while True:
        if has(address, table(address)):
            missed_us = 0
        elif missed_us is not None:
            missed_us += LOOK_EVERY_US
            if missed_us >= GONE_FOR_US:
                raise MachineError(
                    f"the address {address} of {member} has gone from this machine's interfaces:"
                    " without it nobody hears us. Put it back; in a container, the network that"
                    " this one shared is gone, and its restart finds the new one"
                )
        await clock.sleep(LOOK_EVERY_US)
