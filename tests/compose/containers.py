"""Acts on the composed cluster from outside: by the engine, by signals, on the engine's bridge.

What `services.sandbox.control` is to a sandbox, this is to containers, so that the same drills can
be played. A program is its container. What differs is who does it:

    send KILL    SIGKILL to the container's first process: the engine starts it again
    hold         what is killed next is killed by the engine, which then leaves it alone
    send STOP    the engine pauses the container: its cgroup is frozen
    do kill      the engine kills all containers of a member, the one that holds its network first
    link, cut    at the bridge's end of the container's cable
"""

import asyncio
import http
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import docker

from services.sandbox import cuts
from services.sandbox.control import first_line
from services.sandbox.cuts import Way
from services.sandbox.faults import TRIAL_KIND, Condition, Reach, Span, carrier, passes, set_link
from services.sandbox.namespaces import frames, opened
from services.sandbox.netlink import Netlink
from services.sandbox.network import WITNESS, Wire, packed
from services.sandbox.supervisor import Injection, Sight, Stage
from shared.clock import Clock
from shared.errors import MachineError
from shared.instant import MILLISECOND, SECOND, Duration
from tests.compose.cluster import CLIENT, LABEL, PROJECT, SERVICE_LABEL, Composed, Inspected

OF_NODES = {"traffic_switcher": "switcher", "health_probe": "probe"}  # programs called otherwise
OF_WITNESS = {"nats": "nats", "arbiter": "arbiter"}
MACHINE = "machine"  # the container that holds a member's network
LOOK_EVERY_US: Duration = 50 * MILLISECOND
ANSWER_WITHIN_S = 2.0
GROUP = Path(f"/sys/fs/cgroup/cpu/{PROJECT}")
SHARES = 20 * 1024  # an ordinary process has 1,024
PREFERRED, URGENT = -5, -15  # of priorities
SIGNAL_BASE = 128  # an exit code above says which signal it was
AT_ONCE = 16


def container_of(program: str) -> str:
    """Return the compose file's name of a program, which is MEMBER/PROGRAM."""
    member, name = program.split("/")
    if name == MACHINE:
        return member
    if member == WITNESS:
        return OF_WITNESS.get(name, f"{member}-{name}")
    return f"{member}-{OF_NODES.get(name, name)}"


def program_of(service: str, members: Iterable[str]) -> str | None:
    """Return the program of a container; None for one that belongs to no member."""
    if service in OF_WITNESS:
        return f"{WITNESS}/{service}"
    for member in members:
        if service == member:
            return f"{member}/{MACHINE}"
        if service.startswith(f"{member}-"):
            name = service.removeprefix(f"{member}-")
            return f"{member}/{next((x for x, y in OF_NODES.items() if y == name), name)}"
    return None


@dataclass(slots=True)
class Deaths:
    """How often a container has died, and how the last time."""

    count: int = 0
    exit_code: int | None = None


@dataclass(eq=False, slots=True, kw_only=True)
class Containers:
    """The composed cluster's programs and members."""

    composed: Composed
    clock: Clock
    started: Callable[[str], None]  # told of each container that the engine has started
    wires: Sequence[Wire] = (Wire.CLUSTER,)
    _deaths: dict[str, Deaths] = field(default_factory=dict)
    _held: set[str] = field(default_factory=set)
    _events: "docker.types.daemon.CancellableStream | None" = None
    _cut: dict[str, str] = field(default_factory=dict)  # the ports that were cut, by member

    def watch(self) -> None:
        """Follow what the engine tells of containers, from now on."""
        labels = {"label": f"{LABEL}={PROJECT}", "type": "container", "event": ["die", "start"]}
        other = docker.APIClient(
            base_url=self.composed.environ.get("DOCKER_HOST"), version="auto", timeout=None
        )
        self._events = other.events(decode=True, filters=labels)
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        assert self._events is not None
        for event in self._events:
            attributes = event["Actor"]["Attributes"]
            service = attributes[SERVICE_LABEL]
            if event["Action"] == "die":
                code = int(attributes["exitCode"])
                deaths = self._deaths.setdefault(service, Deaths())
                deaths.exit_code = SIGNAL_BASE - code if code > SIGNAL_BASE else code
                deaths.count += 1
            else:
                with suppress(OSError, docker.errors.APIError, KeyError):  # it has died already
                    self.started(service)

    def close(self) -> None:
        """Follow no more."""
        if self._events is not None:
            self._events.close()
        for port in self._cut.values():
            cuts.heal(port)

    # ---- what is there

    @property
    def _members(self) -> tuple[str, ...]:
        return (*self.composed.cluster.nodes, WITNESS)

    def _inspected(self) -> dict[str, Inspected]:
        """Return what the engine knows of every program's container, by program."""
        return {
            program: self.composed.engine.inspect_container(found)
            for service, found in self.composed.containers().items()
            if (program := program_of(service, self._members)) is not None
        }

    def _of_member(self, member: str) -> list[str]:
        """Return the containers of a member, the one that holds its network first."""
        services = [
            service
            for service in self.composed.containers()
            if (program_of(service, self._members) or "").startswith(f"{member}/")
        ]
        return sorted(services, key=lambda service: (service != member, service))

    async def programs(self) -> Mapping[str, Sight]:
        """Return how all programs stand, by name."""
        return {program: self._sight(program, x) for program, x in self._inspected().items()}

    def _sight(self, program: str, inspected: Inspected) -> Sight:
        service, state = container_of(program), inspected["State"]
        deaths = self._deaths.get(service, Deaths())
        if not state["Running"]:
            stage = Stage.HELD if service in self._held else Stage.STOPPED
        else:
            stage = Stage.READY if _is_well(state) else Stage.STARTING
        return Sight(
            name=program,
            stage=stage,
            pid=state["Pid"] or None,
            restarts=deaths.count,
            exit_code=deaths.exit_code,
            log="",
        )

    async def processes(self, program: str) -> frozenset[str]:
        """Return the processes of a program, by id."""
        pid = self.composed.pid(container_of(program))
        return frozenset(str(each) for each, _ in _within(pid))

    async def until_ready(self, within_us: Duration, programs: Sequence[str] = ()) -> None:
        """Wait until programs (all, if none is named) are ready; else raise `MachineError`."""
        give_up_at = self.clock.now() + within_us
        while True:
            missing = await self._not_ready(programs)
            if not missing:
                return
            if self.clock.now() >= give_up_at:
                raise MachineError(
                    f"{', '.join(missing)} are not ready after {within_us / SECOND:g} s"
                )
            await self.clock.sleep(LOOK_EVERY_US)

    async def _not_ready(self, programs: Sequence[str]) -> list[str]:
        sights = await self.programs()
        return [
            program
            for program in programs or sights
            if sights[program].stage is not Stage.READY or not await self._answers(program)
        ]

    async def _answers(self, program: str) -> bool:
        """Whether one that the engine cannot ask how it is works."""
        member, name = program.split("/")
        if name in self.composed.cluster.services:
            address = self.composed.cluster.nodes[member].address
            service = self.composed.cluster.services[name]
            status = await self.status_of(address, service.port, service.probe.path or "/")
            return status == http.HTTPStatus.OK
        if name == "haproxy":
            try:
                _, writer = await asyncio.open_unix_connection(
                    self.composed.folder / member / "haproxy-master.sock"
                )
            except OSError:
                return False
            writer.close()
        return True

    # ---- what is done to programs

    async def send(self, program: str, name: str, *, everyone: bool = False) -> Injection:
        """Send a signal; a container that ends takes all of its processes with it."""
        del everyone
        service = container_of(program)
        found = self.composed.containers()[service]
        pid = self.composed.pid(service)
        begin_at = self.clock.now()
        match name:
            case "STOP":
                self.composed.engine.pause(found)
            case "CONT":
                self.composed.engine.unpause(found)
            case "KILL" if service in self._held:
                self.composed.engine.kill(found)
            case _:
                os.kill(pid, signal.Signals[f"SIG{name}"])
        return Injection(program=program, pid=pid, begin_at=begin_at, end_at=self.clock.now())

    async def hold(self, program: str) -> None:
        """Let it be killed by the engine, which does not start again what it killed itself."""
        self._held.add(container_of(program))

    async def release(self, program: str) -> None:
        """Start what was killed."""
        service = container_of(program)
        self._held.discard(service)
        self.composed.engine.start(self.composed.containers()[service])

    async def beside(
        self, member: str, command: Sequence[str], within_us: Duration
    ) -> tuple[int, str]:
        """Run a command of this machine in a member's network."""
        nsenter = shutil.which("nsenter")
        assert nsenter is not None
        pid = self.composed.pid(CLIENT if member == CLIENT else member)
        process = await asyncio.create_subprocess_exec(
            *(nsenter, f"--net=/proc/{pid}/ns/net", "--", *command),
            cwd=Path(__file__).parents[2],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(within_us / SECOND):
                _, complaint = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise MachineError(f"{command} took over {within_us / SECOND:g} s") from None
        return process.returncode or 0, complaint.decode(errors="replace")

    # ---- what is done to members

    async def do(self, verb: str, member: str) -> Span:
        """Heal, freeze, thaw, kill or revive a whole member."""
        services = self._of_member(member)
        ids = self.composed.containers()
        engine = self.composed.engine
        begin_at = self.clock.now()
        match verb:
            case "heal":
                if (port := self._cut.pop(member, None)) is not None:
                    cuts.heal(port)
            case "freeze":
                _all_at_once(engine.pause, [ids[service] for service in services])
            case "thaw":
                _all_at_once(engine.unpause, [ids[service] for service in services])
            case "kill":
                engine.kill(ids[services[0]])
                _all_at_once(engine.kill, [ids[service] for service in services[1:]])
            case "revive":
                engine.start(ids[services[0]])  # without it there is no network to be in
                # In another order than the file's, and one by one, as nobody's machine starts all
                # at once: this one is also the other nodes'.
                for service in reversed(services[1:]):
                    engine.start(ids[service])
            case _:
                raise AssertionError(verb)
        return Span(begin_at=begin_at, end_at=self.clock.now())

    async def link(self, member: str, *, up: bool, wires: Sequence[Wire] = ()) -> Span:
        """Take a member's cable away, or put it back."""
        del wires
        port = outside(self.composed.pid(member))
        begin_at = self.clock.now()
        set_link(port, up=up)
        return Span(begin_at=begin_at, end_at=self.clock.now())

    async def cut(self, member: str, way: Way, wires: Sequence[Wire] = ()) -> Span:
        """Drop silently what comes into a member, goes out of it, or both."""
        del wires
        port = outside(self.composed.pid(member))
        begin_at = self.clock.now()
        cuts.cut(port, way)
        self._cut[member] = port
        return Span(begin_at=begin_at, end_at=self.clock.now())

    async def condition(self, member: str) -> Condition:
        """Return how a member is, by the kernel's word."""
        pid = self.composed.pid(member)
        links = opened(pid, lambda: carrier(Netlink(socket.NETLINK_ROUTE))) if pid else {}
        carriers = [has for name, has in links.items() if name != "lo"]
        dropped = cuts.dropped(self._cut[member]) if member in self._cut else {}
        processes = {
            str(each): state
            for service in self._of_member(member)
            if (first := self.composed.pid(service))
            for each, state in _within(first)
        }
        return Condition(
            carrier={Wire.CLUSTER.value: bool(carriers) and all(carriers)},
            dropped={Wire.CLUSTER.value: {x.value: count for x, count in dropped.items()}},
            processes=processes,
        )

    async def reach(self, member: str, other: str, wire: Wire) -> Reach:
        """Send a frame there and back."""
        del wire
        pids = [self.composed.pid(each) for each in (member, other)]
        insides = [inside(pid) if pid else None for pid in pids]
        if None in insides:
            return Reach(there=False, back=False)
        with ExitStack() as stack:
            here, there = (
                stack.enter_context(closing(frames(pid, str(name), TRIAL_KIND)))
                for pid, name in zip(pids, insides, strict=True)
            )
            one, two = (packed(hardware_of(pid)) for pid in pids)
            return Reach(
                there=await passes(here, one, there, two, self.clock),
                back=await passes(there, two, here, one, self.clock),
            )

    async def status_of(self, address: str, port: int, path: str) -> int | None:
        """Ask an instance over HTTP; None when it does not answer."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return int((await first_line(address, port, path)).split()[1])
        except (OSError, TimeoutError, IndexError, ValueError):
            return None


def _is_well(state: Inspected) -> bool:
    """Whether a container works, as far as the engine can say."""
    health = state.get("Health", {}).get("Status", "healthy")
    return not state["Paused"] and health == "healthy"


def _all_at_once(act: Callable[[str], object], ids: Sequence[str]) -> None:
    """Do something to several containers, as nearly at the same time as the engine does."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(act, each) for each in ids]:
            done.result()


def _within(pid: int) -> Iterable[tuple[int, str]]:
    """Return the processes of a container, by its first, and their states; "T": it is frozen."""
    with suppress(OSError):
        space = Path(f"/proc/{pid}/ns/pid").readlink()
        frozen = _is_frozen(pid)
        for path in Path("/proc").iterdir():
            with suppress(OSError):
                if path.name.isdigit() and (path / "ns/pid").readlink() == space:
                    state = (path / "stat").read_text().rpartition(") ")[2][:1]
                    if state not in "ZX":
                        yield int(path.name), "T" if frozen else state


def prefer(pid: int, nice: int) -> None:
    """Let a container's processes run before others, where we may.

    With control groups of version 1, all containers of an engine together get no more of a
    processor than one ordinary process. A group of our own has more.
    """
    with suppress(OSError):
        GROUP.mkdir(exist_ok=True)
        (GROUP / "cpu.shares").write_text(str(SHARES))
    # The first one first: what it starts from then on inherits it.
    within = [] if Path(f"/proc/{pid}/ns/pid").samefile("/proc/self/ns/pid") else _within(pid)
    for process in (pid, *(found for found, _ in within)):
        with suppress(OSError):  # it has ended, or there is no such group
            (GROUP / "cgroup.procs").write_text(str(process))
        with suppress(OSError):
            for task in Path(f"/proc/{process}/task").iterdir():
                os.setpriority(os.PRIO_PROCESS, int(task.name), nice)


def prefer_none() -> None:
    """Take our group away; it must be empty."""
    with suppress(OSError):
        GROUP.rmdir()


def _is_frozen(pid: int) -> bool:
    """Whether the kernel has frozen a process's cgroup, of either version."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, place = line.split(":", 2)
        root, file, sign = (
            ("/sys/fs/cgroup", "cgroup.events", "frozen 1")
            if not controllers
            else (f"/sys/fs/cgroup/{controllers}", "freezer.state", "FROZEN")
        )
        with suppress(OSError):
            if sign in Path(f"{root}{place}/{file}").read_text():
                return True
    return False


def inside(pid: int) -> str | None:
    """Return the interface of a container's network; None where it has none."""
    names = Path(f"/proc/{pid}/root/sys/class/net")
    with suppress(OSError):
        return next((each.name for each in sorted(names.iterdir()) if each.name != "lo"), None)
    return None


def outside(pid: int) -> str:
    """Return the bridge's end of a container's cable."""
    name = inside(pid)
    if name is None:
        raise MachineError(f"process {pid} has no network")
    index = Path(f"/proc/{pid}/root/sys/class/net/{name}/iflink").read_text()
    return socket.if_indextoname(int(index))


def hardware_of(pid: int) -> str:
    """Return the hardware address of a container."""
    return Path(f"/proc/{pid}/root/sys/class/net/{inside(pid)}/address").read_text().strip()
