"""A HAProxy that only speaks its command lines: no traffic, and every kind of wrong answer.

It passes the tests of the driver that the real one passes (tests/integration/traffic_switcher),
and does on demand what the real one never does on demand: answer nonsense, endlessly, slowly, or
not at all.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType

STATE_COLUMNS = "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight"
STAT_COLUMNS = "pxname,svname,scur,stot,econ,eresp,req_tot,hrsp_5xx,mode"
MAINTENANCE, BY_FILE, DRAIN = 0x01, 0x04, 0x08
SERVER = re.compile(r"^\s+server (\S+) \S+( check)?(?: weight (\d+))?( disabled| backup)?$")
WEIGHT_MAX = 256

_starts = count(100)


@dataclass
class Server:
    """One server of one backend."""

    weight: int
    admin: int


class FakeHaproxy:
    """Reads haproxy.cfg, opens both sockets, and keeps admin states and weights."""

    def __init__(self, run_directory: Path) -> None:
        self._directory = run_directory
        self._servers: dict[tuple[str, str], Server] = {}
        self._modes: dict[str, str] = {}
        self._description = ""
        self._listeners: list[asyncio.Server] = []
        self.process = 0
        self.said: list[str] = []  # every line that it heard
        self.answers: Callable[[str], bytes] | None = None  # instead of the right ones
        self.endless = False
        self.silent = False

    async def start(self) -> None:
        """Start it (again)."""
        self.load()
        for name, serve in (("haproxy.sock", self._worker), ("haproxy-master.sock", self._master)):
            path = self._directory / name
            path.unlink(missing_ok=True)
            self._listeners.append(await asyncio.start_unix_server(serve, path))

    async def stop(self) -> None:
        """End it; the sockets stay, as after a kill."""
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def load(self) -> None:
        """Begin anew with the file."""
        self.process = next(_starts)
        self._servers, backend = {}, ""
        for line in (self._directory / "haproxy.cfg").read_text().splitlines():
            if found := re.match(r"^    description '(.*)'$", line):
                self._description = found[1]
            elif line.startswith(("backend ", "frontend ")):
                backend = line.split()[1]
            elif line.startswith("    mode "):
                self._modes[backend] = line.split()[1]
            elif server := SERVER.match(line):
                admin = MAINTENANCE | BY_FILE if server[4] == " disabled" else 0
                self._servers[backend, server[1]] = Server(int(server[3] or 1), admin)

    def ask(self, line: str) -> str:
        """Say something to its command line, as somebody else would."""
        return self._answer(line)

    async def __aenter__(self) -> "FakeHaproxy":
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # -- the command lines -----------------------------------------------------------------

    async def _worker(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = (await reader.readline()).decode()
            self.said.append(line)
            while self.silent:
                await asyncio.wait([asyncio.ensure_future(reader.read())])
                return
            answer = self._answer(line).encode() if self.answers is None else self.answers(line)
            writer.write(answer)
            while self.endless:
                writer.write(answer)
                await writer.drain()
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _master(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readline()) == b"reload\n":
            self.load()
            writer.write(b"Success=1\n--\n\n")
        await reader.read()
        writer.close()

    def _answer(self, line: str) -> str:
        return "".join(self._command(c.strip()) + "\n" for c in line.strip().split(";"))

    def _command(self, command: str) -> str:
        words = command.split()
        match words:
            case ["set", "severity-output", _]:
                return ""
            case ["set", "server", name, "weight", weight]:
                return self._with(name, lambda server: self._weigh(server, int(weight)))
            case ["set", "server", name, "state", state]:
                return self._with(name, lambda server: self._admit(server, state))
            case ["shutdown", "sessions", "server", name]:
                return self._with(name, lambda _: "")
            case ["show", "servers", "state"]:
                return self._show_state()
            case ["show", "info"]:
                return f"Name: HAProxy\nPid: {self.process}\ndescription: {self._description}\n"
            case ["show", "stat"]:
                return self._show_stat()
            case _:
                return f"[6]: Unknown command: '{words[0]}'\n"

    def _with(self, name: str, change: Callable[[Server], str]) -> str:
        backend, _, server = name.partition("/")
        if backend not in self._modes:
            return "[3]: No such backend.\n"
        if (backend, server) not in self._servers:
            return "[3]: No such server.\n"
        return change(self._servers[backend, server])

    def _weigh(self, server: Server, weight: int) -> str:
        if not 0 <= weight <= WEIGHT_MAX:
            return "[3]: Absolute weight can only be between 0 and 256 inclusive.\n"
        server.weight = weight
        return ""

    def _admit(self, server: Server, state: str) -> str:
        kept = server.admin & BY_FILE
        bits = {"ready": 0, "drain": DRAIN, "maint": MAINTENANCE}
        if state not in bits:
            return "[3]: 'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n"
        server.admin = kept | bits[state]
        return ""

    def _show_state(self) -> str:
        lines = [
            f"1 {backend} 1 {name} 127.0.0.1 {0 if server.admin & MAINTENANCE else 2}"
            f" {server.admin} {server.weight}"
            for (backend, name), server in self._servers.items()
        ]
        return "\n".join(("1", f"# {STATE_COLUMNS}", *lines)) + "\n"

    def _show_stat(self) -> str:
        rows = [
            f"{backend},{name},0,0,0,0,0,0,{mode}"
            for backend, mode in self._modes.items()
            for name in ("FRONTEND", *(n for b, n in self._servers if b == backend), "BACKEND")
        ]
        return "\n".join((f"# {STAT_COLUMNS}", *rows)) + "\n"
