"""A real observer, and real sockets that misbehave."""

import asyncio
import resource
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from services.health_probe.core.answers import TIMEOUT_MIN
from shared.cluster import Identity
from shared.instant import MILLISECOND, SECOND
from shared.messages.facts import IncidentOpened
from shared.messages.health import Evidence, Grade, Sign, Verdict
from shared.telemetry import Attribute, Link, Telemetry
from shared.trace import SpanKind
from tests.integration.health_probe.instances import (
    Behaviour,
    Instance,
    Process,
    answers,
    closes,
    drips,
    hangs,
    never_stops,
    resets,
    says,
)
from tests.integration.health_probe.observation import (
    CLOCK,
    Observation,
    cluster_of,
    one_service,
)
from tests.unit.health_probe.observed import EVERY, service
from tests.unit.health_probe.test_traces import incident

# Time-outs of loaded machines: the tests are about what is seen, not about how fast.
PATIENT = 400 * MILLISECOND


def healthy(said: Evidence) -> bool:
    return said.verdict is Verdict.HEALTHY and said.grade is Grade.NONE


def conclusive(said: Evidence) -> bool:
    return said.grade is Grade.CONCLUSIVE


def unhealthy(said: Evidence) -> bool:
    return said.verdict is Verdict.UNHEALTHY and said.grade is not Grade.NONE


@pytest.mark.parametrize(
    ("behaviour", "sign", "detail"),
    [
        (answers("500 Oops"), Sign.STATUS, "HTTP 500, expected 200-299"),
        (hangs, Sign.TIMEOUT, "no answer within 400 ms"),
        (drips, Sign.TIMEOUT, "no answer within 400 ms"),
        (never_stops, Sign.GARBAGE, "headers are longer"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), Sign.GARBAGE, "not HTTP"),
        (says(b"\x16\x03\x01" * 5_000, then_waits=True), Sign.GARBAGE, "not HTTP"),
        (says(b"HTTP/1.1 200 OK\r\nServer: gone"), Sign.GARBAGE, "ended within"),
        (says(b"HTTP/1.1 OK\r\n\r\n"), Sign.GARBAGE, "no status"),
        (resets, Sign.RESET, "reset"),
        (says(b""), Sign.RESET, "closed without an answer"),
    ],
)
def test_what_is_wrong_is_said_and_never_conclusive(
    behaviour: Behaviour, sign: Sign, detail: str
) -> None:
    async def main() -> None:
        async with Instance(answers()) as instance:
            watched = one_service(instance.port, timeout_us=PATIENT)
            async with Observation(watched) as observation:
                await observation.until(healthy)
                instance.behaviour = behaviour
                since = len(observation.said)
                _, said = await observation.until(unhealthy, since=since)
                assert (said.sign, said.grade) == (sign, Grade.SUSPICIOUS)
                assert detail in said.detail
                assert said.threshold == "fall 2 of 2"
                assert all(each.grade is not Grade.CONCLUSIVE for _, each in observation.said)
                instance.behaviour = answers()
                since = len(observation.said)
                await observation.until(healthy, since=since)

    asyncio.run(main())


def test_a_body_that_never_ends_is_not_read() -> None:
    written: list[int] = []

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        if b"keep-alive" in request:
            return
        written.append(0)
        index = len(written) - 1
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            written[index] += 65_536

    async def main() -> None:
        async with Instance(endless) as instance:
            watched = one_service(instance.port, timeout_us=SECOND)
            async with Observation(watched) as observation:
                await observation.until(healthy)
                assert not [said for said in await observation.lasts(10 * EVERY) if unhealthy(said)]

    asyncio.run(main())
    # What we read, and what the kernel's buffers took meanwhile.
    assert max(written) < 20_000_000


def test_an_instance_that_nobody_started_is_unhealthy_at_once() -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            async with Observation(one_service(unused.getsockname()[1])) as observation:
                _, said = await observation.until(lambda _: True)
                assert (said.verdict, said.grade) == (Verdict.UNHEALTHY, Grade.CONCLUSIVE)
                assert said.detail == "connection refused"

    asyncio.run(main())


def test_a_server_that_closes_idle_connections_at_once_is_not_accused() -> None:
    async def main() -> None:
        async with Instance(answers_and_closes) as instance:
            watched = one_service(instance.port, timeout_us=PATIENT)
            async with Observation(watched) as observation:
                await observation.until(healthy)
                assert await observation.lasts(3 * SECOND) == []

    asyncio.run(main())


async def answers_and_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.0 200 OK\r\n\r\nfine")


def test_a_tcp_service_is_judged_by_its_connections() -> None:
    async def main() -> None:
        async with Instance(hangs) as instance:
            watched = one_service(instance.port, path=None, timeout_us=PATIENT)
            async with Observation(watched) as observation:
                _, said = await observation.until(healthy)
                assert said.detail == "connected"
                instance.behaviour = closes
                _, said = await observation.until(unhealthy)
                assert said.sign is Sign.RESET

    asyncio.run(main())


def test_a_full_backlog_is_silence() -> None:
    async def main() -> None:
        with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for client in (first, second):
                client.settimeout(0)
                client.connect_ex(listener.getsockname())
            port = listener.getsockname()[1]
            watched = one_service(port, path=None, timeout_us=PATIENT)
            async with Observation(watched) as observation:
                _, said = await observation.until(unhealthy)
                assert (said.sign, said.detail) == (Sign.TIMEOUT, "no connection within 400 ms")

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/health", None])
def test_a_killed_process_is_known_by_its_connection(path: str | None) -> None:
    async def main() -> None:
        with Process() as process:
            # So seldom that a regular probe cannot be what notices.
            every_us = 5 * SECOND
            watched = one_service(
                process.port, path=path, timeout_us=PATIENT, rise=1, every_us=every_us
            )
            async with Observation(watched) as observation:
                await observation.until(healthy)
                await observation.until_true(lambda: established(process.port) == 1)
                killed_at = CLOCK.now()
                process.signal(signal.SIGKILL)
                said_at, said = await observation.until(conclusive)
                assert said_at - killed_at < every_us // 2
                assert said.first_age_us <= said_at - killed_at

    asyncio.run(main())


def established(port: int) -> int:
    """Count the connections to a port of loopback that are open, seen from the client's end."""
    remote = f"0100007F:{port:04X}"
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines())
    return sum(fields[2] == remote and fields[3] == "01" for fields in lines)


def test_a_frozen_process_is_suspicious_within_its_time_and_comes_back() -> None:
    async def main() -> None:
        with Process() as process:
            async with Observation(one_service(process.port)) as observation:
                await observation.until(healthy)
                await observation.until_true(lambda: established(process.port) > 0)
                since = len(observation.said)
                process.signal(signal.SIGSTOP)
                _, said = await observation.until(unhealthy, since=since)
                assert (said.grade, said.sign) == (Grade.SUSPICIOUS, Sign.TIMEOUT)
                assert said.timeout_us >= TIMEOUT_MIN
                # One and a half time-outs by design; twice that for a busy machine.
                assert said.late_us > 0 or said.first_age_us < 3 * said.timeout_us
                since = len(observation.said)
                process.signal(signal.SIGCONT)
                await observation.until(healthy, since=since)

    asyncio.run(main())


def test_a_server_of_one_connection_is_not_blocked_by_ours() -> None:
    async def main() -> None:
        with Process("HTTPServer") as process:
            async with Observation(one_service(process.port)) as observation:
                await observation.until(healthy)
                said = await observation.lasts(5 * SECOND)
                assert not [each for each in said if each.verdict is not Verdict.HEALTHY]

    asyncio.run(main())


def test_a_restarted_instance_is_healthy_again_and_its_identity_is_read_anew() -> None:
    async def main() -> None:
        async with Instance(answers(body=b" 1.0\n")) as instance:
            identity = Identity(path="/version", header=None, every_us=30 * SECOND)
            watched = cluster_of(service(port=instance.port, identity=identity))
            async with Observation(watched) as observation:
                await observation.until(lambda said: said.identity == "1.0")
                instance.behaviour = answers("503 Wait")
                _, said = await observation.until(unhealthy)
                assert said.identity is None
                instance.behaviour = answers(body=b"1.1")
                await observation.until(lambda said: said.identity == "1.1")

    asyncio.run(main())


def test_an_identity_may_be_a_header() -> None:
    async def main() -> None:
        async with Instance(answers(headers="X-Build: 77\r\n")) as instance:
            identity = Identity(path="/", header="x-build", every_us=30 * SECOND)
            watched = cluster_of(service(port=instance.port, identity=identity))
            async with Observation(watched) as observation:
                await observation.until(lambda said: said.identity == "77")

    asyncio.run(main())


def test_the_whole_is_said_every_second() -> None:
    async def main() -> None:
        async with Instance(answers()) as instance:
            watched = cluster_of(service(port=instance.port), nodes=("a", "b"))
            async with Observation(watched) as observation:
                await observation.until_true(lambda: len(observation.pictures) >= 2)
                picture = observation.pictures[-1]
                assert [said.node for said in picture.evidence] == ["a", "b"]
                assert picture.sequence >= max(said.sequence for said in picture.evidence)

    asyncio.run(main())


def test_no_descriptors_left_is_no_evidence() -> None:
    async def main() -> None:
        async with Instance(answers()) as instance:
            watched = one_service(instance.port, timeout_us=PATIENT)
            async with Observation(watched) as observation:
                await observation.until(healthy)
                since = len(observation.said)
                soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
                try:
                    _, said = await observation.until(lambda said: said.abstains, since=since)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                assert (said.verdict, said.grade) == (Verdict.HEALTHY, Grade.NONE)
                assert said.detail == "could not probe from here: Too many open files"
                await observation.until(lambda said: not said.abstains, since=since + 1)

    asyncio.run(main())


def test_an_incident_that_names_our_evidence_gets_our_span() -> None:
    class Recording(Telemetry):
        enabled = True

        def __init__(self) -> None:
            self.spans: list[tuple[str, str | None, int]] = []

        def record(
            self,
            *,
            name: str,
            incident: str,
            begin_wall_us: int,
            end_wall_us: int,
            parent: str | None,
            key: str,
            attributes: Mapping[str, Attribute],
            kind: SpanKind = SpanKind.INTERNAL,
            links: Sequence[Link] = (),
            failure: str = "",
        ) -> None:
            _ = incident, key, attributes, links
            assert kind is SpanKind.CLIENT
            assert failure
            self.spans.append((name, parent, end_wall_us - begin_wall_us))

    async def main() -> None:
        telemetry = Recording()
        async with (
            Instance(answers("500 Oops")) as instance,
            Observation(one_service(instance.port), telemetry) as observation,
        ):
            _, said = await observation.until(unhealthy)
            heard = incident(said, boot_id="00" * 8)
            await observation.bus.publish(IncidentOpened(incident=heard.incident))
            await observation.until_true(lambda: telemetry.spans != [])
            ((name, parent, took_us),) = telemetry.spans
            assert (name, parent) == ("probe shop/a", "detect")
            assert took_us == said.first_age_us

    asyncio.run(main())
