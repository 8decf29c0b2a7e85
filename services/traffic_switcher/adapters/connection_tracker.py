"""The kernel's connection tracker: entries that lead an address elsewhere, deleted.

The kernel keeps a translated connection on the path that it began with, whatever the rules say
since. Others keep no path: they are left alone, since to forget one that has just begun would
make its next segment look like a stranger's. Without the tracker's module there is nothing to
forget.
"""

import asyncio
import errno
import os
import socket
from pathlib import Path

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import AsyncNFCTSocket, NFCTAttrTuple

from services.traffic_switcher.core.places import is_six
from shared.errors import SwitchError
from shared.instant import SECOND, Duration

# Each entry takes about 0.2 ms of this process, which has leases to renew meanwhile: 12,000 of them
# were seen to cost it its addresses. Where there are more than these, old paths end by themselves.
ENTRIES_MAX = 500
COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
FORGOTTEN_WITHIN_US: Duration = 5 * SECOND
NOT_THERE = (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL)


async def forget(address: str) -> None:
    """Delete every entry that begins at an address, or leads to it, and is translated."""
    if (count := _count()) > ENTRIES_MAX:
        mend = f"if old paths matter: conntrack -D -d {address}"
        raise _failed(address, f"the tracker has {count} entries; {mend}")
    # The kernel walks its whole table (13 ms for an empty one of 262,144 buckets) within one call,
    # which must not hold up the loop that renews leases.
    await asyncio.to_thread(_forget_here, address)


def _count() -> int:
    """Return how many connections the tracker follows here."""
    try:
        return int(COUNT.read_text())
    except (OSError, ValueError):
        return 0  # without its module it follows none


def _forget_here(address: str) -> None:
    # pyroute2 does not run on uvloop.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(_forget_all(address))


async def _forget_all(address: str) -> None:
    family = socket.AF_INET6 if is_six(address) else socket.AF_INET
    wanted = (
        NFCTAttrTuple(family=family, daddr=address),
        NFCTAttrTuple(family=family, saddr=address),
    )
    tracker: AsyncNFCTSocket | None = None
    try:
        async with asyncio.timeout(FORGOTTEN_WITHIN_US / SECOND):
            tracker = AsyncNFCTSocket(nfgen_family=family)
            for begun in wanted:
                await _forget_begun(tracker, family, begun)
    except NetlinkError as error:
        if error.code not in NOT_THERE:
            raise _failed(address, os.strerror(error.code)) from error
    except TimeoutError:
        text = f"more entries than {FORGOTTEN_WITHIN_US // SECOND} s suffice for"
        raise _failed(address, text) from None
    except OSError as error:
        if error.errno not in NOT_THERE:
            raise _failed(address, str(error.strerror)) from error
    finally:
        if tracker is not None:
            tracker.close()


async def _forget_begun(tracker: AsyncNFCTSocket, family: int, begun: NFCTAttrTuple) -> None:
    # Older kernels do not know the filter and tell all: so each is compared once more.
    found = [entry async for entry in await tracker.dump(tuple_orig=begun)]
    for entry in found:
        there = NFCTAttrTuple.from_netlink(family, entry.get_attr("CTA_TUPLE_ORIG"))
        back = NFCTAttrTuple.from_netlink(family, entry.get_attr("CTA_TUPLE_REPLY"))
        is_wanted = (begun.daddr or there.daddr) == there.daddr
        is_wanted = is_wanted and (begun.saddr or there.saddr) == there.saddr
        if is_wanted and (back.saddr, back.daddr) != (there.daddr, there.saddr):
            try:
                await tracker.entry("del", tuple_orig=there)
            except NetlinkError as error:
                if error.code != errno.ENOENT:  # it ended meanwhile
                    raise


def _failed(address: str, why: str) -> SwitchError:
    return SwitchError(f"connections of {address} cannot be forgotten: {why}")
