"""What people ask for, and what they are answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.instant import Duration
from shared.rules import Rule


class Verb(StrEnum):
    """What a person can ask of the arbiter; also the last part of the subject."""

    FAILOVER = "failover"
    FAILBACK = "failback"
    MAINTENANCE_START = "maintenance-start"
    MAINTENANCE_END = "maintenance-end"
    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRequest:
    """A person's wish, with owner and reason; `dry_run` asks only what would happen."""

    verb: Verb
    node: str | None
    service: str | None
    owner: str
    reason: str
    for_us: Duration | None = None
    dry_run: bool = False
    force: bool = False  # a person insists where we refuse for safety
    expects: tuple[int, int] | None = None  # the plan the person saw: refused if it has changed
    vip: str | None = None
    to: str | None = None  # failover of a VIP: to this node; None: the arbiter chooses


class Answer(StrEnum):
    """How a request ended."""

    ACCEPTED = "accepted"
    WRONG = "wrong"  # unknown node or service, missing reason, nothing to undo
    CHANGED = "changed"  # the plan is not the one that was seen
    UNSAFE = "unsafe"  # refused for safety; `force` insists
    NOT_LEADING = "not-leading"  # this arbiter does not speak yet


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorAnswer:
    """What became of it: the plan before and after, in the words of the rules."""

    answer: Answer
    text: str
    incident: str | None = None
    epoch: int = 0
    sequence: int = 0
    before: Mapping[str, Mapping[str, Rule]] = field(default_factory=dict)
    after: Mapping[str, Mapping[str, Rule]] = field(default_factory=dict)
    undo: str = ""
    warnings: tuple[str, ...] = ()  # sentences: "node-a would carry 140 % of its limit"
    vips_before: Mapping[str, str] = field(default_factory=dict)  # VIP -> holder
    vips_after: Mapping[str, str] = field(default_factory=dict)
