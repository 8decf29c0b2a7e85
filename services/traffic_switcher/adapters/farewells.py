"""Has HAProxy tell the clients of a VIP that drains to leave: by its Runtime API, read back."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

from services.traffic_switcher.adapters.haproxy_socket import HaproxySocket
from services.traffic_switcher.core import farewell_words
from services.traffic_switcher.core.haproxy_file import farewells
from shared.clock import Clock
from shared.cluster import Cluster
from shared.errors import SwitchError
from shared.instant import MILLISECOND, SECOND, Duration

# What is so is looked at so often: HAProxy may have begun anew, or somebody may have changed it.
LOOK_EVERY_US: Duration = SECOND
AGAIN_US: Duration = 100 * MILLISECOND  # after a failure: a reload takes 20 ms


class HaproxyFarewells:
    """One node's HAProxy; what a switcher before us left there is taken back, too."""

    def __init__(self, cluster: Cluster, path: Path, clock: Clock) -> None:
        self._lists = {
            number: frozenset(cluster.vips[vip].address for vip in cluster.services[name].vips)
            for name, number in farewells(cluster).items()
        }
        self._socket = HaproxySocket(path)
        self._clock = clock
        self._leaving: frozenset[str] = frozenset()
        self._woken = asyncio.Event()

    def bid(self, addresses: Iterable[str]) -> None:
        """Say of which VIPs, from now on; of no others."""
        leaving = frozenset(addresses)
        if leaving != self._leaving:
            self._leaving = leaving
            self._woken.set()

    async def run(self, changed: Callable[[str], None]) -> None:
        """See to it for ever; call back with why it cannot be done while it matters, or ""."""
        if not self._lists:
            return
        while True:
            self._woken.clear()
            why = await self._try()
            changed(why if self._leaving else "")
            with suppress(TimeoutError):
                async with asyncio.timeout((AGAIN_US if why else LOOK_EVERY_US) / SECOND):
                    await self._woken.wait()

    async def _try(self) -> str:
        try:
            await self._see_to_it()
        except SwitchError as error:
            return str(error)
        return ""

    async def _see_to_it(self) -> None:
        wanted = {number: of & self._leaving for number, of in self._lists.items()}
        found = await self._ask(farewell_words.question(wanted), wanted)
        if found == wanted:
            return
        wrong = {number: of for number, of in wanted.items() if found[number] != of}
        if await self._ask(farewell_words.order(wrong), wrong) != wrong:
            raise self._socket.error("did not take the list of who is to leave")

    async def _ask(self, line: str, lists: Collection[int]) -> farewell_words.Lists:
        answer = await self._socket.ask(line)
        assert answer is not None
        try:
            return farewell_words.read(answer, lists)
        except SwitchError as error:
            raise self._socket.error(str(error)) from error
