"""What people are told of drills: lines of text out of events and results, all pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.sandbox.audit import Summary
from services.sandbox.drills.report import (
    LEASE,
    PHASES,
    DrillResult,
    Report,
    longest,
    milliseconds,
)
from shared.api import Event, IncidentView
from shared.instant import Duration

UP, AMBER, RED, DIM, BOLD = "38;5;39", "38;5;178", "1;38;5;203", "2", "1"
# A state is a sign and a word; colour only helps.
SIGNS = {"good": ("✓", UP), "plain": ("·", ""), "attention": ("▲", AMBER), "bad": ("✗", RED)}
TEXT_MIN = 30  # characters of an event's text, however narrow the place is
MARGIN = " " * 18  # what is not an event stands under the events' texts


def painted(style: str, text: str, *, colour: bool) -> str:
    """Return a text in a colour, where there are any."""
    return f"\x1b[{style}m{text}\x1b[0m" if colour and style else text


@dataclass(slots=True)
class Choice:
    """Which events are worth a line: each thing once, however often it is said.

    A return by a ramp is ten plans, each installed and verified on every node: only the first and
    the last of them are told.
    """

    _plans: set[str] = field(default_factory=set)
    _texts: set[str] = field(default_factory=set)
    _can_be_taken: bool = True

    def tells(self, event: Event) -> bool:
        """Return whether an event is worth a line."""
        match event["type"].removeprefix("io.equipoise."):
            case "command.failback.v1" if " ramps: " in event["text"]:
                return False
            case "command.failover.v1" | "command.failback.v1" | "command.restore.v1":
                self._plans.add(event["id"].removeprefix("plan/"))
                return True
            case "traffic.applied.v1":
                return (
                    event["id"].split("/")[2:3] != [] and event["id"].split("/")[2] in self._plans
                )
            case "readiness.v1":
                changed = self._can_be_taken != (event["level"] == "good")
                self._can_be_taken = event["level"] == "good"
                return changed
            case _:
                return self._news(f"{event['member']} {event['type']} {event['text']}")

    def _news(self, text: str) -> bool:
        if text in self._texts:
            return False
        self._texts.add(text)
        return True

    def begin(self) -> None:
        """Begin with another drill: the same things are news again."""
        self._texts.clear()
        self._plans.clear()


def since(duration_us: Duration) -> str:
    """Return how long after the fault something happened."""
    return f"{f'+{milliseconds(duration_us):,.1f} ms':>14}"


def event_line(event: Event, after_us: Duration, *, colour: bool, width: int | None = None) -> str:
    """Return the line of one event; where lines have a width, what does not fit is left out."""
    sign, style = SIGNS[event["level"]]
    who = f"{event['member']} {event['program'].replace('-', '_')}"
    head = f"{since(after_us)}  {who:<24}"
    text = event["text"]
    if width is not None and len(head) + 3 + len(text) > width:
        text = text[: max(width - len(head) - 4, TEXT_MIN)] + "…"
    return f"{painted(DIM, head, colour=colour)} {painted(style, sign, colour=colour)} {text}"


def act_line(words: str, at: str = "", *, colour: bool) -> str:
    """Return the line of what is done to the cluster."""
    text = painted(BOLD, f"▶ {words}", colour=colour)
    return f"{at}  {text}" if at else text


def felt_line(felt: Summary) -> str:
    """Return what clients felt of a fault until it was handled."""
    return f"clients since the fault: {_requests(felt.sent, felt.failed)}, {_slowest(felt)}"


def _requests(sent: int, failed: int) -> str:
    return f"{sent} requests, {failed} failed"


def _slowest(felt: Summary) -> str:
    return f"slowest answer {milliseconds(felt.slowest_us):.0f} ms"


def handled_line(incident: IncidentView) -> str:
    """Return how long Equipoise took, by its own count."""
    phases = " · ".join(
        f"{phase['name']} {milliseconds(phase['duration_us']):.1f}" for phase in incident["phases"]
    )
    return f"handled in {milliseconds(incident['duration_us']):.1f} ms ({phases})"


def verdict_line(play: DrillResult, *, colour: bool) -> str:
    """Return how a drill ended, in a line."""
    sign, style = ("✓", UP) if play["ok"] else ("✗", RED)
    requests = play["requests"]
    text = (
        f"{play['drill']}: {_requests(requests['sent'], requests['failed'])}"
        f"{_of_them_unsafe(requests['unsafe_failed'])}, "
        f"slowest {requests['slowest_ms']:.0f} ms, outage {play['outage_ms']:.0f} ms, "
        f"{_of_vips(play)}{_of_healing(play)}"
        f"{'restored exactly' if play['restored'] else 'NOT restored'}"
    )
    return f"{painted(style, sign, colour=colour)} {text}"


def _of_vips(play: DrillResult) -> str:
    """Say what observers saw of the virtual IPs; nothing where nothing was seen."""
    parts = [
        f"{vip} answered elsewhere after {moved:.0f} ms"
        for vip, moved in (play["vip_moved_ms"] or {}).items()
    ]
    if dark := longest(play["vip_dark_ms"]):
        parts.append(f"VIPs dark {dark:.0f} ms")
    if (overlap := play["vip_overlap_ms"]) is not None:
        parts.append(f"VIP overlap {overlap:.0f} ms")
    return "".join(f"{part}, " for part in parts)


def _of_healing(play: DrillResult) -> str:
    """Say what the way back cost; nothing where it cost nothing."""
    part = play["after_heal"]
    if part is None or not (part["failed"] or part["vip_dark_ms"]):
        return ""
    dark = "" if part["vip_dark_ms"] is None else f"{part['vip_dark_ms']:.0f} ms dark, "
    return f"of that {dark}{part['failed']} failed after it was healed, "


def steps_lines(play: DrillResult) -> list[str]:
    """Return what each part of a drill of several parts cost, a line each."""
    width = max((len(step["program"]) for step in play["steps"]), default=0)
    return [
        f"{MARGIN}{step['program']:<{width}}  as before after {step['length_ms']:>6.0f} ms, "
        f"VIPs dark {_number(step['vip_dark_ms'])} ms, {_requests(step['sent'], step['failed'])}"
        for step in play["steps"]
    ]


def _of_them_unsafe(count: int) -> str:
    return f" ({count} POST, never repeated)" if count else ""


def play_line(play: DrillResult, number: int, of: int, *, colour: bool) -> str:
    """Return one of many plays in a line."""
    sign, style = ("✓", UP) if play["ok"] else ("✗", RED)
    requests = play["requests"]
    found = "".join(f"; {text}" for text in play["findings"])
    return (
        f"{painted(style, sign, colour=colour)} {play['drill']:<24}{number:>4}/{of}  "
        f"{play['target']:<14} noticed {_ms(play['noticed_ms'])}  "
        f"switched {_ms(play['switched_ms'])}  "
        f"failed {requests['safe_failed']}+{requests['unsafe_failed']}  "
        f"slowest {requests['slowest_ms']:>5.0f} ms{found}"
    )


def _ms(value: float | None) -> str:
    return f"{'-' if value is None else f'{value:.1f}':>7} ms"


COLUMNS = (PHASES[0], LEASE, *PHASES[1:])
HEADING = (
    "drill",
    "target",
    "noticed",
    "switched",
    *COLUMNS,
    "requests",
    "failed",
    "slowest",
    "outage",
    "dark",
    "overlap",
    "restored",
)


def summary_table(report: Report, *, colour: bool) -> list[str]:
    """Return all plays as a table (in milliseconds), and what was found wrong."""
    rows = [HEADING, *(_row(play) for play in report["drills"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADING))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)  # noqa: PLR2004 - names, then figures
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines[0] = painted(DIM, lines[0], colour=colour)
    caption = "In milliseconds; noticed and switched count from the fault:"
    return [caption, *lines, *_sums(report), *_findings(report, colour=colour)]


def _row(play: DrillResult) -> tuple[str, ...]:
    requests, phases = play["requests"], play["phases_ms"] or {}
    return (
        play["drill"],
        play["target"],
        _number(play["noticed_ms"]),
        _number(play["switched_ms"]),
        *(_number(phases.get(name)) for name in COLUMNS),
        str(requests["sent"]),
        f"{requests['failed']}",
        _number(requests["slowest_ms"]),
        _number(play["outage_ms"]),
        _number(longest(play["vip_dark_ms"])),
        _number(play["vip_overlap_ms"]),
        "exactly" if play["restored"] else "NO",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _sums(report: Report) -> list[str]:
    lines = []
    for sums in report["repeated"]:
        lines += ["", f"{sums['drill']}: {sums['ok']} of {sums['played']} well"]
        for what, found in sums["figures"].items():
            if found is not None:
                p99 = "" if found["p99"] is None else f", p99 {found['p99']:.1f}"
                lines.append(
                    f"  {what:<14} n={found['n']}: min {found['min']:.1f}, "
                    f"median {found['p50']:.1f}{p99}, max {found['max']:.1f}"
                )
    return lines


def _findings(report: Report, *, colour: bool) -> list[str]:
    found = [
        f"{play['drill']} of {play['target']}: {text}"
        for play in report["drills"]
        for text in play["findings"]
    ]
    cross = painted(RED, "✗", colour=colour)
    return [f"{cross} {text}" for text in (*found, *report["findings"])]


def next_steps(command: str, last: str | None, service: str, journal: Path) -> Sequence[str]:
    """Return what to try on a cluster that goes on running, and with an instance's journal."""
    node = journal.parent.name
    tries = [
        (f"{command} status -w", "what is going on, live"),
        (f"{command} events -f", "what happens, a line for each change"),
        (f"{command} explain {last or 'last'}", "why it moved, and what it cost"),
        (f"{command} rules", "what every load balancer was told, and does"),
        (f"{command} why {service}/{node}", "why an instance is in its state"),
        (f"pkill -9 -f {journal}", f"kill {service} on {node} yourself"),
        (f"{command} failover {node} --reason 'let us see' --yes", "move a node's load away"),
        (f"{command} failback {node} --reason 'seen' --yes", "and bring it home"),
    ]
    width = max(len(what) for what, _ in tries)
    return [f"  {what:<{width}}  # {why}" for what, why in tries]
