"""Log lines: an event's name and its fields, as text for people or JSON for machines.

    12:03:04.017 info arbiter node-a plan_published epoch=7 serving=a,b because=b:silent

Writing never holds up who logs: a thread writes, from a bounded queue. When nobody reads our
standard error the queue fills and lines are dropped and counted; a pipe's reader must not be able
to stop a failover. (structlog was tried: its import costs every process 55 ms, 120 ms where `rich`
is installed, and it writes on the caller's thread.)
"""

import json
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

import orjson

from shared.clock import Clock
from shared.instant import MILLISECOND, SECOND, Duration, Instant

LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
LINES_MAX = 4_096  # some seconds of the worst storm we know; about 1 MB
FLUSH_WITHIN_US = SECOND // 2  # at exit; whoever does not read by then does not want to know
# A thread that wakes asks for the interpreter's lock, and a failover logs at each of its steps: so
# it wakes once for what is logged within this time.
GATHER_US: Duration = 20 * MILLISECOND
TEXT_MAX = 8_192  # of one field: a report of a configuration's mistakes fits

Render = Callable[[int, str, str, Mapping[str, object]], str]


class Log(Protocol):
    """What services write to; events are named in the past tense or as nouns."""

    def debug(self, event: str, /, **fields: object) -> None:
        """Write the rest: what only whoever searches a fault wants to see."""

    def info(self, event: str, /, **fields: object) -> None:
        """Write the story of traffic."""

    def warning(self, event: str, /, **fields: object) -> None:
        """Write what we coped with."""

    def error(self, event: str, /, **fields: object) -> None:
        """Write what someone must act on."""

    def bind(self, **fields: object) -> "Log":
        """Return a log whose every line carries these fields too."""


class Logger:
    """The log of a program."""

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        clock: Clock,
        level: str = "info",
        render: Render | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        self._write = write
        self._clock = clock
        self._level = level
        self._render = as_text if render is None else render
        self._fields = dict(fields or {})

    def debug(self, event: str, /, **fields: object) -> None:
        """Write at level debug."""
        self._say("debug", event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """Write at level info."""
        self._say("info", event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Write at level warning."""
        self._say("warning", event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """Write at level error."""
        self._say("error", event, fields)

    def bind(self, **fields: object) -> "Logger":
        """Return a log whose every line carries these fields too."""
        return Logger(
            self._write,
            clock=self._clock,
            level=self._level,
            render=self._render,
            fields={**self._fields, **fields},
        )

    def _say(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        if LEVELS[level] >= LEVELS[self._level]:
            self._write(self._render(self._clock.wall(), level, event, {**self._fields, **fields}))


def as_json(wall_us: int, level: str, event: str, fields: Mapping[str, object]) -> str:
    """Return a line of JSON: `time`, `level`, `event`, then the fields."""
    line = {"time": timestamp(wall_us), "level": level, "event": event, **fields}
    try:
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # halves of surrogate pairs, huge numbers: rare, and still a line
        return json.dumps(line, default=str)


def as_text(wall_us: int, level: str, event: str, fields: Mapping[str, object]) -> str:
    """Return a line for people; who speaks comes first and without its name."""
    rest = dict(fields)
    speaker = [str(rest.pop(name)) for name in ("program", "member") if rest.get(name)]
    words = [f"{name}={_word(value)}" for name, value in rest.items()]
    return " ".join([timestamp(wall_us)[11:23], level, *speaker, event, *words])


def timestamp(wall_us: int) -> str:
    """Return RFC 3339 in UTC, to the microsecond."""
    text = datetime.fromtimestamp(wall_us / SECOND, UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


def _word(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple | list | set | frozenset):
        return ",".join(_word(item) for item in value) or "-"
    text = str(value)[:TEXT_MAX]
    if text and text.isprintable() and not set(' "=') & set(text):
        return text
    return orjson.dumps(text.encode(errors="replace").decode()).decode()


class Writer:
    """Writes lines to a file descriptor from a thread of its own, or drops and counts them."""

    def __init__(self, write: Callable[[bytes], object], dropped: Callable[[int], str]) -> None:
        self._write_out = write
        self._words_for = dropped
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_MAX)
        self._leaving = threading.Event()
        self._ended = threading.Event()
        self.dropped = 0
        # A daemon: a reader that has gone to sleep must not keep the process from ending.
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, line: str) -> None:
        """Queue a line; never waits."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what is queued, for as long as somebody reads it."""
        self._leaving.set()
        try:
            self._lines.put(None, timeout=FLUSH_WITHIN_US / SECOND)
        except queue.Full:
            return
        self._ended.wait(FLUSH_WITHIN_US / SECOND)

    def _run(self) -> None:
        reported, is_last = 0, False
        while not is_last:
            lines, is_last = self._gathered()
            dropped = self.dropped
            if dropped > reported:
                lines.append(self._words_for(dropped - reported))
                reported = dropped
            try:
                for line in lines:  # each at once: one that is cut off by our end is the last
                    self._write_out(f"{line}\n".encode(errors="replace"))
            except (OSError, ValueError):
                break  # nobody will ever read again
        self._ended.set()

    def _gathered(self) -> tuple[list[str], bool]:
        """Wait for lines, and return them, and whether they are the last."""
        lines: list[str] = []
        line = self._lines.get()
        self._leaving.wait(GATHER_US / SECOND)
        while line is not None:
            lines.append(line)
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                return lines, False
        return lines, True


class Seldom:
    """Lets one line through per subject and period, so that a flood of bad input is no flood here.

    The number of subjects is bounded by the callers: they are kinds of trouble, not their texts.
    """

    def __init__(self, clock: Clock, every_us: Duration = 10 * SECOND) -> None:
        self._clock = clock
        self._every_us = every_us
        self._said_at: dict[str, Instant] = {}
        self._held_back: dict[str, int] = {}

    def due(self, kind: str) -> int | None:
        """Return how many lines were held back since the last one, or None: hold this one back."""
        now = self._clock.now()
        said_at = self._said_at.get(kind)
        if said_at is not None and now - said_at < self._every_us:
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return None
        self._said_at[kind] = now
        return self._held_back.pop(kind, 0)


class Libraries(logging.Handler):
    """Turns what libraries log into lines of ours."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a library's warning or error; its traceback only for whoever debugs."""
        say = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        say("library_said", library=record.name, text=record.getMessage())
        if record.exc_info and record.exc_info[1] is not None:
            formatter = logging.Formatter()
            self._log.debug("traceback", text=formatter.formatException(record.exc_info))
