"""What heartbeats and probes say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.instant import Duration


class Verdict(StrEnum):
    """What an observer concludes about an instance, rise and fall applied."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"  # too little seen yet; never treated as off


class Grade(StrEnum):
    """How much one piece of bad evidence is worth."""

    NONE = "none"  # nothing bad
    SUSPICIOUS = "suspicious"  # time-out, wrong status, garbage: counts after `fall` in a row
    CONCLUSIVE = "conclusive"  # refused or reset and refused again: counts at once


class Sign(StrEnum):
    """What a probe met."""

    OK = "ok"
    REFUSED = "refused"
    RESET = "reset"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    STATUS = "status"
    GARBAGE = "garbage"
    STOPPED = "stopped"  # its container does not run: it died, or is paused
    FAILING = "failing"  # its container's own health check fails
    SILENT = "silent"  # no probe, but a member that is not heard any more
    NOTHING = "nothing"  # not probed yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A member is alive, and whom it hears directly."""

    node: str
    boot_id: str  # random per process start: (boot_id, sequence) orders a member's beats
    sequence: int
    configuration: str  # hash of the configuration in force there
    hears_us: Mapping[str, Duration] = field(
        default_factory=dict
    )  # age of each peer's last UDP beat
    rejected: Mapping[str, int] = field(
        default_factory=dict
    )  # forged, replayed, foreign, malformed
    late_us: Duration = 0  # the longest its own loop was late since the last beat


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """A member's newest beat, once a second: for who shows who is there, and judges nobody."""

    beat: Heartbeat


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one observer knows about one instance; ages are counted back from the sending."""

    observer: str
    boot_id: str
    sequence: int  # rises with every change the observer says, over all instances
    node: str
    service: str
    verdict: Verdict
    grade: Grade
    sign: Sign
    detail: str  # in words: "connection refused", "HTTP 500, expected 200-299"
    value: str  # what was measured: "0.3 ms", "500"
    threshold: str  # what it was held against: "fall 2 of 2", "within 50 ms"
    streak: int  # probes in a row that agree with the sign
    first_age_us: Duration  # since the first bad sign of this run (0 when healthy)
    age_us: Duration  # since the newest probe ended
    answer_us: Duration  # the instance's normal answer time (0 unknown)
    timeout_us: Duration  # the time-out in force
    late_us: Duration  # how late the observer's own loop was
    abstains: bool  # the observer was late and does not vouch for this
    identity: str | None = None  # what `identity` found (None not known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All that one observer knows, said every second so that nothing lost stays lost."""

    observer: str
    boot_id: str
    sequence: int
    evidence: tuple[Evidence, ...]
