"""The kernel and the clock as a process reaches them: it can be struck around each call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from shared.instant import Duration, Instant
from tests.simulation.leases.kernel import Kernel
from tests.simulation.leases.processes import Process

COMMIT = "commit"  # the point between what is computed and the kernel's taking it


@contextmanager
def step(process: Process) -> Iterator[None]:
    """Let a process stand still, or end, before something happens and before it knows of it."""
    process.point()
    yield
    process.point()


class SteppedClock:
    """The machine's clock (`shared.clock.Clock`)."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now(self) -> Instant:
        """Read it."""
        self._process.point()
        now = self._process.now
        self._process.point()
        return now

    def wall(self) -> int:
        """Return the time of day."""
        return self._process.world.wall_us

    async def sleep(self, duration_us: Duration) -> None:
        """Nothing that is tried here waits."""
        raise NotImplementedError


class SteppedGuard:
    """The node's kernel (`services.traffic_switcher.adapters.ports.Guard`)."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._kernel: Kernel = process.machine.kernel

    def stand(self) -> None:
        """Close everything."""
        with step(self._process):
            self._kernel.stand()

    def permit(self, token: int) -> None:
        """Commit a permit."""
        with step(self._process):
            self._kernel.permit(token)

    def renew(self, token: int, rests: Mapping[str, Duration]) -> bool:
        """Commit leases, if the permit stands."""
        self._process.point(COMMIT)
        is_done = self._kernel.renew(token, rests)
        if not is_done:
            self._process.note("is refused by the kernel: its permit had run out")
            self._process.world.record.counts["permits refused"] += 1
        self._process.point()
        return is_done

    def close(self, address: str, *, drain_us: Duration = 0) -> None:
        """Close one."""
        with step(self._process):
            self._kernel.close(address, drain_us=drain_us)

    def hand_over(self, address: str, *, to: str, for_us: Duration) -> None:  # noqa: ARG002
        """Pass on what belongs to no connection begun here."""
        with step(self._process):
            self._kernel.ask()

    def keep(self, address: str) -> None:  # noqa: ARG002
        """End that."""
        with step(self._process):
            self._kernel.ask()

    @property
    def lacks(self) -> str:
        """What this kernel cannot guard: nothing."""
        return ""

    def shows(self) -> Mapping[str, Duration]:
        """Return what is left of every running lease."""
        self._process.point()
        shown = self._kernel.shows()
        self._process.point()
        return shown
