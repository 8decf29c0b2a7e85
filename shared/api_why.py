"""What a console answers to why: as `shared.api`, whose rules hold here too."""

from typing import Literal, TypedDict

from shared.api import (
    IncidentBrief,
    InstanceWord,
    Knowledge,
    Level,
    OverrideView,
    VipView,
)


class Fact(TypedDict):
    """One reason in an answer to why: what, how much, and who says so."""

    what: str
    value: str
    threshold: str
    source: str
    age_us: int | None
    level: Level


class WhyInstance(TypedDict):
    """One instance within an answer to why."""

    service: str
    node: str
    state: InstanceWord
    sentence: str
    wanted: str | None
    original: str
    installed: dict[str, str]
    waiting_for: str
    facts: list[Fact]


class Why(TypedDict):
    """Why something is in its state: `equipoise why`."""

    target: str
    kind: Literal["node", "service", "instance", "vip"]
    knowledge: Knowledge
    state: str
    sentence: str
    facts: list[Fact]
    instances: list[WhyInstance]
    readiness: list[str]
    overrides: list[OverrideView]
    incidents: list[IncidentBrief]
    vips: list[VipView]
