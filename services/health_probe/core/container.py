"""What an engine says of the container that an instance runs in, and what that is worth.

Rule 1: that a container does not run is conclusive, and as long as it does not, no answer makes its
instance healthy: the kernel still accepts connections for a paused process, and who answers
beside a dead one is somebody else.
Rule 2: that it runs is only a hint. It ends rule 1; whether the instance works, its probes say.
Rule 3: its own health check is worth what the configuration says. It has counted for itself, so
that it needs no `fall`; answers of the instance do not outweigh it.
Rule 4: where the engine cannot be asked nothing is known, and the probes alone decide, as if there
were no container. The image last seen stays true until a bad probe puts the instance in doubt.

        die, kill by SIGKILL, a look                 pause, a look
    RUNNING ------------------------> STOPPED   RUNNING -----------> PAUSED
       ^ <------- a look after start ----+         ^ <-- a look ----+       UNKNOWN: no engine
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from services.health_probe.core.signs import Outcome
from shared.cluster import Contained, Unhealthy
from shared.frozen import replace
from shared.messages.health import Grade, Sign

# What is asked of the stream of events. Health checks alone flood it with `exec_*` otherwise.
EVENTS = ("destroy", "die", "health_status", "kill", "oom", "pause", "start", "unpause")
ENDED = frozenset({"exited", "dead", "removing", "restarting", "created"})
SIGKILL = frozenset({"9", "SIGKILL", "KILL"})  # no other signal is certain to end a process
BY_SIGNAL = 128  # exit codes above it: ended by the signal of the rest
SIGNALS = {6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}
IMAGE_DIGITS = 12  # of a digest: as many as `docker images` shows, and chance never makes equal


class Phase(Enum):
    """Whether a container runs."""

    UNKNOWN = auto()
    RUNNING = auto()
    PAUSED = auto()
    STOPPED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What is known of one container."""

    phase: Phase = Phase.UNKNOWN
    detail: str = ""  # in words, where it does not run or its health check fails
    value: str = ""  # "exit code 137", "paused", "unhealthy"
    unhealthy: bool = False
    restarts: int | None = None  # by the engine, since the container was made; None: not seen
    image: str | None = None
    trouble: str = ""  # why nothing is known of it, if its engine answers


def heard(action: str, attributes: Mapping[str, Any], *, out_of_memory: bool) -> Container | None:
    """Return what an event says by itself; None: one has to look."""
    name = f"container {attributes.get('name', '')}"
    if action == "die":
        return _died(name, str(attributes.get("exitCode", "")), out_of_memory=out_of_memory)
    if action == "kill" and str(attributes.get("signal", "")) in SIGKILL:
        detail = f"{name} was killed by the engine (SIGKILL)"
        return Container(phase=Phase.STOPPED, detail=detail, value="killed")
    if action == "pause":
        return Container(phase=Phase.PAUSED, detail=f"{name} was paused", value="paused")
    return None


def leaves_open(action: str, found: Container | None) -> bool:
    """Whether one has to look after an event, too.

    Not after a kill: its death is told next, and a look in between still shows it running.
    """
    return action != "kill" or found is None


def seen(name: str, inspected: Mapping[str, Any]) -> Container:
    """Return what a look at a container shows; a status that we do not know shows nothing."""
    state, restarts = _section(inspected, "State"), inspected.get("RestartCount")
    status = state.get("Status")
    found = Container(
        restarts=restarts if isinstance(restarts, int) else None,
        image=_image(inspected.get("Image")),
    )
    if status == "paused":
        detail = f"container {name} is paused"
        return replace(found, phase=Phase.PAUSED, detail=detail, value="paused")
    if status in ENDED:
        return _seen_ended(name, found, str(status), state)
    if status != "running":
        return replace(found, trouble=f"container {name} has the unknown status {status!r}"[:200])
    if _section(state, "Health").get("Status") != "unhealthy":
        return replace(found, phase=Phase.RUNNING)
    streak = _section(state, "Health").get("FailingStreak", 0)
    detail = f"container {name} is unhealthy by its own check, {streak} times in a row"
    return replace(found, phase=Phase.RUNNING, detail=detail, value="unhealthy", unhealthy=True)


def missing(name: str) -> Container:
    """Return what it means that an engine has no such container."""
    return Container(trouble=f"there is no container named {name} here; start it, or mend its name")


def barred(name: str) -> Container:
    """Return what it means that nobody may ask about a container."""
    mend = f"add --container {name} to services.docker_gate"
    return Container(trouble=f"the gate lets nothing about container {name} through; {mend}")


def merged(before: Container, after: Container) -> Container:
    """Return what is known after hearing something that does not tell all."""
    return replace(
        after,
        restarts=before.restarts if after.restarts is None else after.restarts,
        image=before.image if after.image is None else after.image,
    )


def doubted(before: Container) -> Container:
    """Return the container of an instance that may be another one now."""
    return replace(before, image=None) if before.phase is Phase.UNKNOWN else before


def grade(container: Container, contained: Contained) -> Grade:
    """Return what the engine's word is worth against the instance."""
    if container.phase in (Phase.STOPPED, Phase.PAUSED):
        return Grade.CONCLUSIVE
    if not container.unhealthy or contained.unhealthy is Unhealthy.IGNORED:
        return Grade.NONE
    conclusive = contained.unhealthy is Unhealthy.CONCLUSIVE
    return Grade.CONCLUSIVE if conclusive else Grade.SUSPICIOUS


def outcome(container: Container) -> Outcome:
    """Return the engine's word as if a probe had met it."""
    sign = Sign.FAILING if container.phase is Phase.RUNNING else Sign.STOPPED
    again = f"; restarted {container.restarts} times by the engine" if container.restarts else ""
    return Outcome(sign, container.detail + again, container.value, 0)


def _died(name: str, code: str, *, out_of_memory: bool) -> Container:
    memory = " after it ran out of memory" if out_of_memory else ""
    detail = f"{name} died{memory}, {_exit(code)}"
    return Container(phase=Phase.STOPPED, detail=detail, value=f"exit code {code}")


def _seen_ended(name: str, found: Container, status: str, state: Mapping[str, Any]) -> Container:
    code = str(state.get("ExitCode", ""))
    memory = " after it ran out of memory" if state.get("OOMKilled") is True else ""
    detail = f"container {name} is {status}{memory}, {_exit(code)}"
    if status == "created":
        detail, code = f"container {name} was never started", "none"
    return replace(found, phase=Phase.STOPPED, detail=detail, value=f"exit code {code}")


def _exit(code: str) -> str:
    signal = int(code) - BY_SIGNAL if code.isdecimal() and len(code) <= len("255") else 0
    return f"exit code {code}" + (f" ({SIGNALS[signal]})" if signal in SIGNALS else "")


def _image(digest: object) -> str | None:
    """Return an image's digest for comparing and showing."""
    if not isinstance(digest, str):
        return None
    algorithm, _, digits = digest.partition(":")
    return f"image {algorithm}:{digits[:IMAGE_DIGITS]}" if digits else None


def _section(whole: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = whole.get(key)
    return part if isinstance(part, Mapping) else {}
