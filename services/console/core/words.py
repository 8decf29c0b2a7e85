"""The words that all answers share: rules, lengths of time, points in time."""

from collections.abc import Mapping
from datetime import UTC, datetime

from shared.api import Number, RuleView
from shared.instant import HOUR, MILLISECOND, MINUTE, SECOND, Duration
from shared.messages.facts import Takeover, VipTakeover
from shared.rules import Admission, Rule

DAY: Duration = 24 * HOUR
TEXT_MAX = 400  # characters of one sentence; five lines of a terminal, and a bound on memory


def rule_text(rule: Rule) -> str:
    """Return a rule as people read it: `weight 50`, or why there is none."""
    if rule.admission is Admission.SERVING:
        return f"weight {rule.weight}"
    return rule.admission.value


def rule_view(rule: Rule) -> RuleView:
    """Return a rule as JSON."""
    return RuleView(admission=rule.admission.value, weight=rule.weight)


def rules_view(rules: Mapping[str, Rule]) -> dict[str, RuleView]:
    """Return one service's rules as JSON."""
    return {node: rule_view(rule) for node, rule in sorted(rules.items())}


def percent(rules: Mapping[str, Rule], node: str) -> int:
    """Return a node's part of a service's requests by weight."""
    total = sum(rule.weight for rule in rules.values())
    return round(100 * rules[node].weight / total) if total else 0


def number(epoch: int, sequence: int) -> Number:
    """Return a plan's number as JSON."""
    return Number(epoch=epoch, sequence=sequence)


def number_text(epoch: int, sequence: int) -> str:
    """Return a plan's number as people read it."""
    return f"{epoch}.{sequence}"


def length(duration_us: Duration) -> str:
    """Return a length of time in the units that matter."""
    for limit, text in (
        (10 * MILLISECOND, f"{duration_us / MILLISECOND:.1f} ms"),
        (SECOND, f"{duration_us // MILLISECOND} ms"),
        (MINUTE, f"{duration_us // SECOND} s"),
        (HOUR, f"{duration_us // MINUTE} min"),
        (2 * DAY, f"{duration_us // HOUR} h {duration_us % HOUR // MINUTE:02} min"),
    ):
        if duration_us < limit:
            return text
    return f"{duration_us // DAY} days"


def moment(wall_us: int) -> str:
    """Return a point in time as RFC 3339, to the microsecond; what no calendar has is its edge."""
    try:
        at = datetime.fromtimestamp(wall_us // SECOND, UTC)
    except (OverflowError, ValueError, OSError):
        at, wall_us = datetime.fromtimestamp(0, UTC), 0
    return f"{at:%Y-%m-%dT%H:%M:%S}.{wall_us % SECOND:06}Z"


def wall_of(time: str) -> int | None:
    """Return microseconds since 1970 of a text in RFC 3339, or None."""
    try:
        at = datetime.fromisoformat(time)
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    whole = at - epoch
    return (whole.days * 86_400 + whole.seconds) * SECOND + whole.microseconds


def short(text: str) -> str:
    """Return a text within bounds and without anything that a terminal would obey."""
    clean = "".join(letter if letter.isprintable() else " " for letter in text[: TEXT_MAX + 1])
    return clean if len(clean) <= TEXT_MAX else clean[: TEXT_MAX - 1] + "…"


def because(reason: str) -> str:
    """Return a reason so that it can follow a comma."""
    return reason if reason.startswith("because ") else f"because {reason}"


def takeover_text(takeover: Takeover, nodes: Mapping[str, object]) -> str:
    """Return a sentence of readiness: what would happen if one node failed."""
    others = [node for node in sorted(nodes) if node != takeover.node]
    takers = ", ".join(takeover.to)
    if takeover.ready:
        load = "" if takeover.load_percent is None else f" (at {takeover.load_percent} % of limit)"
        return f"if {takeover.node} fails, {takers} can take {takeover.service}{load}"
    who = takers or (others[0] if len(others) == 1 else "no other node")
    can = "can" if who == "no other node" else "cannot"
    why = because(takeover.reason)
    return f"if {takeover.node} fails, {who} {can} take {takeover.service}, {why}"


def vip_takeover_text(takeover: VipTakeover) -> str:
    """Return what would become of a VIP if its holder failed now."""
    takers = ", ".join(takeover.to)
    lost = f"if {takeover.holder} fails"
    if takeover.ready:
        return f"{lost}, {takers} can take the VIP {takeover.vip}"
    who, can = (takers, "cannot") if takers else ("no other node", "can")
    return f"{lost}, {who} {can} take the VIP {takeover.vip}, {because(takeover.reason)}"


_UNITS: dict[str, Duration] = {
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "min": MINUTE,
    "h": HOUR,
    "d": DAY,
}
AGE_DIGITS_MAX = 9  # thirty years in seconds


def age_of(text: str) -> Duration | None:
    """Return a length of time written as `90s`, `10m`, `1h` or `2d`; None if it is none."""
    digits = text.rstrip("dhimns")
    unit = _UNITS.get(text[len(digits) :])
    if unit is None or not digits.isascii() or not digits.isdigit():
        return None
    return int(digits) * unit if len(digits) <= AGE_DIGITS_MAX else None
