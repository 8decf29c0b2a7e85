"""Real requests through the load balancer of this machine."""

import asyncio
from collections.abc import Sequence

from services.traffic_switcher.core.state import Outcome
from services.traffic_switcher.core.verification import (
    HEAD_MAX,
    Heard,
    is_answer,
    is_complete,
    judge,
    listens_for,
    request,
)
from shared.clock import Clock
from shared.cluster import Protocol, Service
from shared.instant import MILLISECOND, SECOND, Duration
from shared.rules import Rules

# To HAProxy on this machine; a full backlog of its own would be a finding.
CONNECTED_WITHIN_US: Duration = 500 * MILLISECOND


class LocalRequests:
    """Asks for services at the address of this node, or at a VIP, as its clients do."""

    def __init__(self, address: str, token: str, clock: Clock) -> None:
        self._address = address
        self._token = token
        self._clock = clock

    async def verify(self, services: Sequence[Service], rules: Rules) -> tuple[Outcome, ...]:
        """Send one request to each of the services, all at once, and judge the answers."""
        heard = await asyncio.gather(*(self._ask(self._address, each) for each in services))
        pairs = zip(services, heard, strict=True)
        return tuple(judge(service, rules[service.name], answer) for service, answer in pairs)

    async def through(self, vip: str, services: Sequence[Service]) -> str:
        """Return "" as soon as one of the services is answered at a VIP, else why none is.

        Any answer will do: guard, address and load balancer are proven by it; what instances
        answer is for `verify`.
        """
        asked = [asyncio.ensure_future(self._ask(vip, each)) for each in services]
        why = f"no service is reached at {vip}"
        try:
            for first in asyncio.as_completed(asked):
                heard = await first
                if is_answer(heard):
                    return ""
                why = heard.fault or "closed at once without a byte"
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return why

    async def _ask(self, address: str, service: Service) -> Heard:
        began_at = self._clock.now()
        content, fault = bytearray(), ""
        is_open = True
        try:
            async with asyncio.timeout((CONNECTED_WITHIN_US + listens_for(service)) / SECOND):
                reader, writer = await asyncio.open_connection(address, service.listen)
                try:
                    writer.write(request(service, self._token))
                    is_open = await _listen(reader, service, content)
                finally:
                    writer.transport.abort()  # nothing is left to say; never waits
        except TimeoutError:
            fault = "no answer in time"
        except OSError as error:
            fault = f"no connection: {error.strerror or error}"
        return Heard(bytes(content), is_open, fault, self._clock.now() - began_at)


async def _listen(reader: asyncio.StreamReader, service: Service, content: bytearray) -> bool:
    """Read what is needed; return whether the other side had not closed when we stopped."""
    try:
        async with asyncio.timeout(listens_for(service) / SECOND):
            while not is_complete(service, bytes(content)):
                chunk = await reader.read(HEAD_MAX)
                if not chunk:
                    return False
                content += chunk
    except TimeoutError:
        if service.protocol is Protocol.HTTP:
            raise
    return True
