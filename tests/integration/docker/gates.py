"""The gate as a process of its own, before an engine; and what hostile people say to it."""

import socket as sockets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.docker.grounds import NAME, OTHER, WITHIN_S


@contextmanager
def gate(engine: Path, socket: Path, *names: str) -> Iterator[Path]:
    """Start a gate that is ready; it ends with the block, by SIGTERM, and cleanly."""
    named = [word for name in names or (NAME,) for word in ("--container", name)]
    places = ["--engine", str(engine), "--socket", str(socket)]
    with subprocess.Popen(
        [sys.executable, "-m", "services.docker_gate", *places, *named], stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert b"ready" in process.stderr.readline()
        try:
            yield socket
        finally:
            process.terminate()
            assert process.wait(20) == 0, process.stderr.read()


def said(place: Path, words: bytes) -> bytes:
    """Return all that comes back for some bytes."""
    with sockets.socket(sockets.AF_UNIX) as client:
        client.settimeout(WITHIN_S)
        client.connect(str(place))
        client.sendall(words)
        answer = b""
        try:
            while part := client.recv(65_536):
                answer += part
        except ConnectionResetError:
            pass  # it did not read what came after
        return answer


def get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: docker\r\n\r\n".encode()


HOSTILE = {
    "a kill": b"POST /v1.45/containers/%s/kill HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "another container": get(f"/containers/{OTHER}/json"),
    "its logs": b"GET /containers/%s/logs?stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "its files": b"GET /containers/%s/archive?path=/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a program in it": b"POST /containers/%s/exec HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    "a way around": b"GET /containers/%s/../x/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "an encoded way around": b"GET /containers/%s/%%2e%%2e/x/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "a whole address": b"GET http://docker/containers/%s/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "an upgrade": b"GET /containers/%s/json HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n"
    b"Connection: upgrade\r\n\r\n",
    "a body that hides a request": b"GET /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\n"
    b"POST /containers/%s/kill HTTP/1.1\r\nHost: x\r\n\r\n",
    "two lengths": b"GET /_ping HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 9\r\n\r\n"
    b"POST /containers/%s/kill HTTP/1.1\r\n\r\n",
    "length and chunks": b"GET /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nPOST /containers/%s/kill HTTP/1.1\r\n\r\n",
    "a header in the target": b"GET /_ping\r\nX: y HTTP/1.1\r\nHost: x\r\n\r\n",
    "a null byte": b"GET /containers/%s\0/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "endless headers": b"GET /_ping HTTP/1.1\r\nX: " + b"x" * 100_000,
    "doubled slashes": b"GET //containers/%s//json HTTP/1.1\r\nHost: x\r\n\r\n",
    "an encoded slash": b"GET /containers%%2f%s/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "a version that is none": b"GET /v1.45/../containers/%s/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "two versions": b"GET /v1.45/v1.45/containers/%s/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "every container": get("/v1.45/containers/json?all=1"),
    "a new container": b"POST /v1.45/containers/create HTTP/1.1\r\nHost: x\r\n"
    b'Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{"Image":"x"}',
    "a start": b"POST /containers/%s/start HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "a stop": b"POST /containers/%s/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "its end": b"DELETE /v1.24/containers/%s?force=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "its terminal": b"POST /containers/%s/attach?stream=1&stdin=1 HTTP/1.1\r\nHost: x\r\n"
    b"Upgrade: tcp\r\nConnection: Upgrade\r\n\r\n",
    "a smuggled chunk": b"POST /_ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\n\r\nPOST /containers/%s/kill HTTP/1.1\r\nHost: x\r\n\r\n",
}
REFUSALS = (b"", b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 405", b"HTTP/1.1 431")


def hostile(what: str) -> bytes:
    """Return hostile words about the container that is watched."""
    return HOSTILE[what].replace(b"%s", NAME.encode()).replace(b"%%", b"%")
