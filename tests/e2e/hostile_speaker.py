"""Says everything on the bus that nobody should: run in a sandbox by `test_any_bytes`.

Speaks NATS by hand, because it must be able to send what our own bus refuses to.
"""

import json
import select
import socket
import sys
from collections.abc import Iterator
from random import Random

HEARD_FOR_S = 1.5
REPEATS = 3
NOISE = (
    b"",
    b"\x00\xff\xfe\x80",
    b"not json",
    b"[]",
    b"null",
    b"{}",
    b'{"specversion":"1.0"}',
    b"9" * 5_000,
    b"[" * 20_000,
    b'{"specversion":"1.0","type":"io.equipoise.command.failover.v1","data":{"plan":7}}',
    b"x" * 900_000,
)
SUBJECTS = (
    "command.node-a",
    "command.node-b",
    "command.*",
    "heartbeat.node-a",
    "heartbeat.nobody",
    "probe.node-a.node-b.shop",
    "picture.node-b",
    "applied.node-a",
    "measured.node-b",
    "refused.node-a",
    "drift.node-a",
    "operator.failover",
    "operator.nonsense",
    "recall.node-a",
    "situation",
    "incident.ZZZZZZ",
    "readiness",
    "leader",
    "no.such.subject.at.all",
)


class Speaker:
    """A client of the bus with no manners."""

    def __init__(self, address: str, port: int) -> None:
        self._connection = socket.create_connection((address, port), 5)
        self._buffer = b""
        self._line()
        self._connection.sendall(b'CONNECT {"verbose":false,"headers":true}\r\nPING\r\n')

    def hear(self, pattern: str, seconds: float) -> Iterator[tuple[str, bytes]]:
        """Yield what is said on matching subjects until nothing more comes or time is over."""
        self._connection.sendall(f"SUB {pattern} 1\r\n".encode())
        for _ in range(2_000):
            ready, _, _ = select.select([self._connection], [], [], seconds)
            if not ready and b"\r\n" not in self._buffer:
                return
            words = self._line().split()
            if words[:1] == [b"MSG"]:
                yield words[1].decode(), self._exactly(int(words[-1]) + 2)[:-2]
            elif words[:1] == [b"HMSG"]:
                whole = self._exactly(int(words[-1]) + 2)[:-2]
                yield words[1].decode(), whole[int(words[-2]) :]
            elif words[:1] == [b"PING"]:
                self._connection.sendall(b"PONG\r\n")

    def stop_hearing(self) -> None:
        """Hear no more."""
        self._connection.sendall(b"UNSUB 1\r\n")

    def say(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Publish any bytes on any subject."""
        head = f"PUB {subject} {reply} {len(payload)}\r\n".encode()
        self._connection.sendall(head + payload + b"\r\n")

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._more()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _more(self) -> None:
        self._connection.settimeout(5)
        chunk = self._connection.recv(65_536)
        if not chunk:
            raise SystemExit("the bus threw us out")
        self._buffer += chunk


def main(address: str, port: int, cluster: str, seed: int) -> None:
    """Listen, then say noise, another cluster's messages, and what was said, in any order."""
    speaker = Speaker(address, port)
    chance = Random(seed)
    prefix = f"equipoise.{cluster}"
    heard = []
    for subject, payload in speaker.hear(f"{prefix}.>", HEARD_FOR_S):
        heard.append((subject, payload))
        if len(heard) >= 1_000:
            break
    speaker.stop_hearing()
    assert heard, "nothing was said on the bus"
    for subject in SUBJECTS:
        for noise in NOISE:
            speaker.say(f"{prefix}.{subject}", noise, reply="nobody.hears")
    for subject, payload in heard:
        event = json.loads(payload)
        event["cluster"] = "another"
        speaker.say(subject, json.dumps(event).encode())
        speaker.say(subject, payload[: chance.randrange(len(payload))])
    # Beats and pictures of a moment ago are old news; commands of before are refused or the same.
    replay = [(subject, payload) for subject, payload in heard * REPEATS]
    chance.shuffle(replay)
    for subject, payload in replay:
        speaker.say(subject, payload)
    sys.stdout.write(f"{len(heard)}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
