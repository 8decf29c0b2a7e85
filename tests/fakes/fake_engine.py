"""A Docker engine that has containers and no processes: its HTTP interface over a Unix socket.

It passes the same tests as the real one (tests/integration/docker). Like the real one it takes the
beginning of a name in a filter of events, tells a container's environment, and obeys a POST.
"""

import json
import queue
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

SECRET = "POSTGRES_PASSWORD=tops3cret"
IMAGE = "sha256:" + "c0ffee" * 10 + "cafe"
END = None  # what ends a stream


@dataclass
class FakeContainer:
    """What a look shows."""

    name: str
    image: str = IMAGE
    status: str = "running"
    exit_code: int = 0
    health: str = ""
    restarts: int = 0
    out_of_memory: bool = False

    def inspected(self) -> dict[str, Any]:
        health = {"Health": {"Status": self.health, "FailingStreak": 3, "Log": []}}
        return {
            "Id": f"{self.name.encode().hex():0<64}"[:64],
            "Name": f"/{self.name}",
            "Image": self.image,
            "RestartCount": self.restarts,
            "Config": {"Env": [SECRET], "Image": "shop:1"},
            "HostConfig": {"Binds": ["/etc:/etc"]},
            "State": {
                "Status": self.status,
                "Running": self.status in ("running", "paused", "restarting"),
                "ExitCode": self.exit_code,
                "OOMKilled": self.out_of_memory,
                "Error": "",
                **(health if self.health else {}),
            },
        }


@dataclass
class FakeEngine:
    """An engine whose containers do as they are told."""

    path: Path
    containers: dict[str, FakeContainer] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    streams: "list[tuple[queue.Queue[dict[str, Any] | None], dict[str, list[str]]]]" = field(
        default_factory=list
    )
    hangs: threading.Event = field(default_factory=threading.Event)  # set: no look is answered

    # -- what happens to containers ----------------------------------------------------------------

    def run(self, name: str, image: str = IMAGE) -> None:
        self.containers[name] = FakeContainer(name, image)
        self.tell(name, "start")

    def start(self, name: str) -> None:
        self.containers[name].status = "running"
        self.tell(name, "start")

    def die(self, name: str, code: int, *, out_of_memory: bool = False) -> None:
        if out_of_memory:
            self.tell(name, "oom")
        container = self.containers[name]
        container.status, container.exit_code = "exited", code
        container.out_of_memory = out_of_memory
        self.tell(name, "die", exitCode=str(code))

    def kill(self, name: str) -> None:
        self.tell(name, "kill", signal="9")
        self.die(name, 137)

    def pause(self, name: str) -> None:
        self.containers[name].status = "paused"
        self.tell(name, "pause")

    def unpause(self, name: str) -> None:
        self.containers[name].status = "running"
        self.tell(name, "unpause")

    def be_healthy(self, name: str, *, healthy: bool) -> None:
        word = "healthy" if healthy else "unhealthy"
        self.containers[name].health = word
        self.tell(name, f"health_status: {word}")

    def remove(self, name: str) -> None:
        del self.containers[name]

    def end_streams(self) -> None:
        """Let go of everybody who listens, as an engine does that is restarted."""
        for stream, _ in self.streams:
            stream.put(END)
        self.streams.clear()

    def tell(self, name: str, action: str, **attributes: str) -> None:
        event = {
            "Type": "container",
            "Action": action,
            "Actor": {
                "ID": name,
                "Attributes": {"name": name, "com.example.secret": "label", **attributes},
            },
            "timeNano": 1,
        }
        for stream, filters in tuple(self.streams):
            names, actions = filters.get("container", [""]), filters.get("event", [""])
            if name.startswith(tuple(names)) and action.startswith(tuple(actions)):
                stream.put(event)


@contextmanager
def fake_engine(path: Path) -> Iterator[FakeEngine]:
    """Answer on a socket until the end of the block."""
    engine = FakeEngine(path)
    path.unlink(missing_ok=True)
    server = _Server(str(path), _Conversation)
    server.engine = engine
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield engine
    finally:
        engine.hangs.clear()
        server.shutdown()
        engine.end_streams()
        server.server_close()
        path.unlink(missing_ok=True)
        thread.join()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    engine: FakeEngine


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass

    def do_GET(self) -> None:
        engine, url = self.server.engine, urlsplit(self.path)
        engine.asked.append(("GET", self.path))
        path = unquote(url.path)
        path = path[path.index("/", 1) :] if path.startswith("/v1.") else path
        if path == "/_ping":
            self._say(200, b"OK")
        elif path == "/version":
            version = {"Version": "0", "ApiVersion": "1.45", "MinAPIVersion": "1.24", "Os": "linux"}
            self._say(200, json.dumps(version).encode())
        elif path == "/events":
            self._stream(json.loads(parse_qs(url.query).get("filters", ["{}"])[0]))
        elif path.startswith("/containers/") and path.endswith("/json"):
            self._look(path.removeprefix("/containers/").removesuffix("/json"))
        else:
            self._say(200, json.dumps({"what": "everything else that an engine tells"}).encode())

    def do_POST(self) -> None:
        self.server.engine.asked.append(("POST", self.path))
        self._say(204, b"")

    do_PUT = do_DELETE = do_HEAD = do_POST  # noqa: N815 - the library's names

    def _look(self, name: str) -> None:
        engine = self.server.engine
        while engine.hangs.is_set():
            if not engine.hangs.wait(0) or self.wfile.closed:
                return
            threading.Event().wait(0.05)
        container = engine.containers.get(name)
        if container is None:
            self._say(404, json.dumps({"message": f"No such container: {name}"}).encode())
        else:
            self._say(200, json.dumps(container.inspected()).encode())

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, filters: dict[str, list[str]]) -> None:
        events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        self.server.engine.streams.append((events, filters))
        try:
            while (event := events.get()) is not END:
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass
        self.close_connection = True
