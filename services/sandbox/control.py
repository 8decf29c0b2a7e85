"""The control socket: how tests, benchmarks and drills act on a sandbox from outside.

One JSON object a line, one in answer: {"do": VERB, …} → {"ok": true, …} or {"ok": false,
"error": TEXT}. Verbs:

    programs                            how all stand
    signal    program signal [everyone] send one (KILL, STOP, CONT, USR1, …): when exactly
    hold      program                   do not start it again
    release   program
    ready     within_us [programs]      wait until they are ready
    stage     program stage within_us   wait until one is at a stage
    run       member command within_us  run a command in a member's namespace: code and output
    get       address port path         ask an instance over HTTP from the bridge: its status

What is done to whole members at once is in `faults`: link, cut, heal, freeze, thaw, kill, revive,
condition, reach.
"""

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from services.sandbox.cuts import Way
from services.sandbox.faults import Condition, Faults, Reach, Span
from services.sandbox.network import Network, Wire
from services.sandbox.supervisor import Injection, Sight, Stage, Supervisor
from shared.errors import EquipoiseError, MachineError
from shared.instant import SECOND, Duration

SOCKET = "control.sock"
LINE_MAX = 1 << 20
OUTPUT_MAX = 1 << 18  # bytes of a command's output that are handed back
RUN_WITHIN_MAX_US: Duration = 120 * SECOND
GET_WITHIN_S = 2.0  # an instance that hangs is known by then

Answer = Mapping[str, object]
Wish = Mapping[str, Any]


class ControlServer:
    """Serves the control socket inside the sandbox."""

    def __init__(self, supervisor: Supervisor, network: Network, faults: Faults) -> None:
        self._supervisor = supervisor
        self._network = network
        self._verbs: Mapping[str, Callable[[Wish], Awaitable[Answer]]] = {
            "programs": self._programs,
            "signal": self._signal,
            "hold": self._hold,
            "release": self._release,
            "ready": self._ready,
            "stage": self._stage,
            "run": self._run,
            "get": self._get,
            **faults.verbs(),
        }

    async def listen(self, path: Path) -> asyncio.Server:
        """Begin to serve; the socket has its name only once connections are accepted."""
        new = path.with_name(path.name + ".new")
        server = await asyncio.start_unix_server(self._serve, new, limit=LINE_MAX)
        new.rename(path)
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError):  # who left, or sent a line without end
            while line := await reader.readline():
                answer = await self.answer(line)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def answer(self, line: bytes) -> Answer:
        """Do what one line says."""
        try:
            wish = json.loads(line)
            return {"ok": True, **await self._verbs[wish["do"]](wish)}
        except (EquipoiseError, OSError) as problem:
            return {"ok": False, "error": str(problem)}
        except (ValueError, KeyError, TypeError, IndexError) as problem:
            return {"ok": False, "error": f"not understood: {type(problem).__name__}: {problem}"}

    async def _programs(self, wish: Wish) -> Answer:
        del wish
        return {"programs": [asdict(sight) for sight in self._supervisor.sights()]}

    async def _signal(self, wish: Wish) -> Answer:
        number = signal.Signals[f"SIG{wish['signal']}"]
        everyone = bool(wish.get("everyone", False))
        return asdict(self._supervisor.send(wish["program"], number, everyone=everyone))

    async def _hold(self, wish: Wish) -> Answer:
        self._supervisor.hold(wish["program"])
        return {}

    async def _release(self, wish: Wish) -> Answer:
        self._supervisor.release(wish["program"])
        return {}

    async def _ready(self, wish: Wish) -> Answer:
        await self._supervisor.until_ready(int(wish["within_us"]), wish.get("programs", ()))
        return {}

    async def _stage(self, wish: Wish) -> Answer:
        stage = Stage(wish["stage"])
        await self._supervisor.until_stage(wish["program"], stage, int(wish["within_us"]))
        return {}

    async def _run(self, wish: Wish) -> Answer:
        within_us = min(int(wish["within_us"]), RUN_WITHIN_MAX_US)
        process = await asyncio.create_subprocess_exec(
            *self._network.entering(wish["member"], wish["command"]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(within_us / SECOND):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise MachineError(f"{wish['command']} took over {within_us / SECOND:g} s") from None
        return {
            "code": process.returncode,
            "out": out[:OUTPUT_MAX].decode(errors="replace"),
            "err": err[:OUTPUT_MAX].decode(errors="replace"),
        }

    async def _get(self, wish: Wish) -> Answer:
        address, port = wish["address"], int(wish["port"])
        try:
            async with asyncio.timeout(GET_WITHIN_S):
                first = await first_line(address, port, wish["path"])
        except TimeoutError:
            raise MachineError(f"{address}:{port} took over {GET_WITHIN_S:g} s") from None
        return {"status": int(first.split()[1])}


async def first_line(address: str, port: int, path: str) -> bytes:
    """Ask over HTTP; return how the answer begins."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nhost: drill\r\n\r\n".encode())
        return await reader.readline()
    finally:
        writer.close()


def _asked(verb: str, wish: Wish) -> bytes:
    return json.dumps({"do": verb, **wish}).encode() + b"\n"


def _answered(line: bytes) -> Mapping[str, Any]:
    """Read an answer; a refusal is a MachineError, and so is none."""
    if not line:
        raise MachineError("the sandbox has ended")
    answer: dict[str, Any] = json.loads(line)
    if not answer.pop("ok"):
        raise MachineError(answer["error"])
    return answer


def _sights(answer: Mapping[str, Any]) -> dict[str, Sight]:
    sights = (Sight(**{**fields, "stage": Stage(fields["stage"])}) for fields in answer["programs"])
    return {sight.name: sight for sight in sights}


class ControlClient:
    """The other end of the control socket, for programs that do several things at a time."""

    wires: Sequence[Wire] = tuple(Wire)  # a member may be on each of them

    def __init__(
        self, path: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._path = path
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()  # answers come in the order of the questions

    @classmethod
    async def connect(cls, path: Path) -> Self:
        """Reach a sandbox."""
        return cls(path, *await asyncio.open_unix_connection(path, limit=LINE_MAX))

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def ask(self, verb: str, **wish: object) -> Mapping[str, Any]:
        """Say one thing and return the answer; a refusal is a MachineError."""
        async with self._turn:
            try:
                self._writer.write(_asked(verb, wish))
                return _answered(await self._reader.readline())
            except ConnectionError:
                raise MachineError("the sandbox has ended") from None

    async def programs(self) -> dict[str, Sight]:
        """Return how all programs stand, by name."""
        return _sights(await self.ask("programs"))

    async def send(self, program: str, name: str, *, everyone: bool = False) -> Injection:
        """Send a signal, such as `KILL`; with `everyone` to the program's children as well."""
        answer = await self.ask("signal", program=program, signal=name, everyone=everyone)
        return Injection(**answer)

    async def until_ready(self, within_us: Duration, programs: Sequence[str] = ()) -> None:
        """Wait until programs (all, if none is named) are ready."""
        await self.ask("ready", within_us=within_us, programs=list(programs))

    async def hold(self, program: str) -> None:
        """Do not start a program again once it has died."""
        await self.ask("hold", program=program)

    async def release(self, program: str) -> None:
        """Start a held program again."""
        await self.ask("release", program=program)

    async def processes(self, program: str) -> frozenset[str]:
        """Return the process of a program, and its children's."""
        pid = (await self.programs())[program].pid
        member = program.partition("/")[0]
        command = ["cat", f"/proc/{pid}/task/{pid}/children"]
        answer = await self.ask("run", member=member, command=command, within_us=5 * SECOND)
        return frozenset([str(pid), *str(answer["out"]).split()])

    async def beside(
        self, member: str, command: Sequence[str], within_us: Duration
    ) -> tuple[int, str]:
        """Run a command in a member's namespace, on a line of its own: others may ask meanwhile.

        Return its code and its complaints.
        """
        other = await self.connect(self._path)
        try:
            wish = {"member": member, "command": list(command), "within_us": within_us}
            answer = await other.ask("run", **wish)
        finally:
            other.close()
        return answer["code"], answer["err"]

    async def link(self, member: str, *, up: bool, wires: Sequence[Wire] = ()) -> Span:
        """Take a member's cables away (all, if no network is named), or put them back."""
        return Span(**await self.ask("link", member=member, up=up, wires=list(wires)))

    async def cut(
        self, member: str, way: Way, wires: Sequence[Wire] = (), *, one_in: int = 1
    ) -> Span:
        """Drop silently what comes into a member, goes out of it, or both; or one frame in many."""
        wish = {"member": member, "way": way, "wires": list(wires), "one_in": one_in}
        return Span(**await self.ask("cut", **wish))

    async def do(self, verb: str, member: str) -> Span:
        """Heal, freeze, thaw, kill or revive a whole member."""
        return Span(**await self.ask(verb, member=member))

    async def condition(self, member: str) -> Condition:
        """Return how a member is, by the kernel's word."""
        return Condition(**await self.ask("condition", member=member))

    async def reach(self, member: str, other: str, wire: Wire) -> Reach:
        """Send a frame there and back."""
        return Reach(**await self.ask("reach", member=member, other=other, wire=wire))

    async def status_of(self, address: str, port: int, path: str) -> int | None:
        """Ask an instance over HTTP; None when it does not answer."""
        try:
            answer = await self.ask("get", address=address, port=port, path=path)
        except MachineError:
            return None
        return int(answer["status"])


class Control:
    """The other end of the control socket, for programs that wait for each answer."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        del kind, problem, where
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._answers.close()
        self._socket.close()

    def ask(self, verb: str, **wish: object) -> Mapping[str, Any]:
        """Say one thing and return the answer; a refusal is a MachineError."""
        self._socket.sendall(_asked(verb, wish))
        return _answered(self._answers.readline())

    def programs(self) -> dict[str, Sight]:
        """Return how all programs stand, by name."""
        return _sights(self.ask("programs"))

    def send(self, program: str, name: str, *, everyone: bool = False) -> Injection:
        """Send a signal, such as `KILL`; with `everyone` to the program's children as well."""
        answer = self.ask("signal", program=program, signal=name, everyone=everyone)
        return Injection(**answer)

    def hold(self, program: str) -> None:
        """Do not start a program again once it has died."""
        self.ask("hold", program=program)

    def release(self, program: str) -> None:
        """Start a held program again."""
        self.ask("release", program=program)

    def until_ready(self, within_us: Duration, programs: Sequence[str] = ()) -> None:
        """Wait until programs (all, if none is named) are ready."""
        self.ask("ready", within_us=within_us, programs=list(programs))

    def until_stage(self, program: str, stage: Stage, within_us: Duration) -> None:
        """Wait until a program is at a stage."""
        self.ask("stage", program=program, stage=stage, within_us=within_us)

    def run(
        self, member: str, command: Sequence[str], within_us: Duration = 10 * SECOND
    ) -> tuple[int, str, str]:
        """Run a command in a member's namespace; return its code, output and complaints."""
        answer = self.ask("run", member=member, command=list(command), within_us=within_us)
        return answer["code"], answer["out"], answer["err"]
