"""Docker's engine of this node: its events, and a look at each container that they are about.

The `docker` package waits where it is called, so it lives in two threads of its own; the loop that
probes never waits for an engine. One thread listens: what conclusive events say is reported as soon
as they come. The other looks: after events, after every connection (what happened while
nobody listened is lost otherwise), and every ten seconds even so. A look reports what is true now.
Neither thread asks for more than to read, and the engine's trouble is reported, never raised.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound

from services.health_probe.core import container
from services.health_probe.core.container import Container
from services.health_probe.core.events import ContainerSeen, EngineSeen, Target

ANSWER_WITHIN_S = 2  # a look takes milliseconds; an engine that needs longer knows nothing of now
RECONNECT_S = 1.0
LOOK_EVERY_S = 10.0  # what no event told, and whether the engine still answers
TROUBLE_MAX = 300  # characters of an error: the library repeats itself
LISTENING, LOOKING = "listening", "looking"

Report = Callable[[ContainerSeen | EngineSeen], None]


class Engine:
    """Reports, in the loop it is made in, what an engine says of the containers watched."""

    def __init__(
        self, place: Path, watched: Mapping[str, Collection[Target]], report: Report
    ) -> None:
        self._place = place
        self._watched = watched
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._due: set[str] = set()
        self._troubles: dict[str, str] = {}
        self._told: str | None = None
        self._stopped = False
        self._stream: Any = None
        self._threads: tuple[threading.Thread, ...] = tuple(
            threading.Thread(target=work, name=f"docker-{name}", daemon=True)
            for name, work in ((LISTENING, self._listen), (LOOKING, self._look))
        )
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Report nothing more; what waits for the engine is broken off."""
        with self._changed:
            self._stopped = True
            stream = self._stream
            self._changed.notify_all()
        if stream is not None:
            _break_off(stream)

    def join(self, within_s: float) -> bool:
        """Wait for the threads to end; whether they did."""
        for thread in self._threads:
            thread.join(within_s)
        return not any(thread.is_alive() for thread in self._threads)

    # -- listening ---------------------------------------------------------------------------------

    def _listen(self) -> None:
        while not self._stopped:
            try:
                with self._connected() as client:
                    self._hear_all(client)
                trouble = f"the Docker engine at {self._place} ended its stream of events"
            except (DockerException, OSError, ValueError) as error:
                trouble = self._words(error)
            self._tell(LISTENING, trouble)
            self._wait(RECONNECT_S)

    def _hear_all(self, client: Any) -> None:  # noqa: ANN401 - the library has no types
        """Hear events until the stream ends."""
        filters = {
            "type": ["container"],
            "container": sorted(self._watched),
            "event": list(container.EVENTS),
        }
        stream = client.events(filters=filters, decode=True)
        out_of_memory: set[str] = set()
        with self._changed:
            self._stream = stream
            stopped = self._stopped  # from here on, who stops us breaks the stream off
        try:
            if stopped:
                return
            self._tell(LISTENING, "")
            self._want(self._watched)
            for event in stream:
                self._hear(event, out_of_memory)
        finally:
            with self._changed:
                self._stream = None
            _break_off(stream)

    def _hear(self, event: Mapping[str, Any], out_of_memory: set[str]) -> None:
        """Report what an event says by itself, and have the container looked at."""
        attributes = event.get("Actor", {}).get("Attributes", {})
        name, action = attributes.get("name"), str(event.get("Action", ""))
        if name not in self._watched:  # the engine's filter also lets longer names through
            return
        if action == "oom":
            out_of_memory.add(name)
        elif action == "start":
            out_of_memory.discard(name)
        found = container.heard(action, attributes, out_of_memory=name in out_of_memory)
        if found is not None:
            self._seen(name, found)
        if container.leaves_open(action, found):
            self._want((name,))

    # -- looking -----------------------------------------------------------------------------------

    def _look(self) -> None:
        while not self._stopped:
            try:
                with self._connected() as client:
                    self._look_again_and_again(client)
            except (DockerException, OSError, ValueError) as error:
                self._tell(LOOKING, self._words(error))
                self._wait(RECONNECT_S)

    def _look_again_and_again(self, client: Any) -> None:  # noqa: ANN401
        self._want(self._watched)
        while not self._stopped:
            for name in self._next():
                self._seen(name, _inspected(client, name))
            self._tell(LOOKING, "")

    def _next(self) -> tuple[str, ...]:
        """Wait until a container is to be looked at."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._due) or self._stopped, LOOK_EVERY_S)
            due = () if self._stopped else tuple(sorted(self._due or self._watched))
            self._due.clear()
        return due

    def _want(self, names: Collection[str]) -> None:
        with self._changed:
            self._due.update(names)
            self._changed.notify_all()

    # -- both --------------------------------------------------------------------------------------

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Speak with the engine in the newest version of its interface that both know."""
        # Asked beforehand: the library forgets to close a connection that it could not make.
        with socket.socket(socket.AF_UNIX) as trial:
            trial.settimeout(ANSWER_WITHIN_S)
            trial.connect(str(self._place))
        client = docker.APIClient(
            base_url=f"unix://{self._place}", version="auto", timeout=ANSWER_WITHIN_S
        )
        with closing(client):
            yield client

    def _seen(self, name: str, found: Container) -> None:
        for target in sorted(self._watched[name]):
            self._say(ContainerSeen(target, found))

    def _tell(self, what: str, trouble: str) -> None:
        """Report the engine's trouble when it changes; while there is some, nothing is known."""
        with self._changed:
            self._troubles[what] = trouble
            trouble = next((text for text in self._troubles.values() if text), "")
            both = len(self._troubles) == len(self._threads)  # all is well when both say so
            if trouble == self._told or not (trouble or both):
                return
            self._told = trouble
        self._say(EngineSeen(trouble))
        if trouble:
            for name in sorted(self._watched):
                self._seen(name, Container())

    def _say(self, event: ContainerSeen | EngineSeen) -> None:
        if not self._stopped:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._hand_over, event)

    def _hand_over(self, event: ContainerSeen | EngineSeen) -> None:
        if not self._stopped:
            self._report(event)

    def _wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, seconds)

    def _words(self, error: Exception) -> str:
        """Say what is in the way, and how to mend it."""
        place, text = self._place, " ".join(str(error).split())[:TROUBLE_MAX]
        if not place.exists():
            return (
                f"there is no socket {place} to ask the Docker engine by; start"
                " services.docker_gate, or remove 'docker' from the configuration"
            )
        if "Permission denied" in text:
            return f"this program may not use the socket {place}; give it the socket's group"
        return f"the Docker engine cannot be asked at {place}: {text}"


def _inspected(client: Any, name: str) -> Container:  # noqa: ANN401
    try:
        found = client.inspect_container(name)
    except NotFound:
        return container.missing(name)
    except APIError as error:
        if error.status_code == HTTPStatus.FORBIDDEN:
            return container.barred(name)
        raise
    return container.seen(name, found) if isinstance(found, dict) else container.missing(name)


def _break_off(stream: Any) -> None:  # noqa: ANN401
    """Close a stream of events, whoever waits for it."""
    with suppress(OSError, AttributeError):  # it ended meanwhile, and has no socket any more
        stream.close()
