"""`equipoise explain`: a failure from its first sign to the restoration, step by step."""

from services.cli.lengths import aligned, clock_time, day, length
from services.cli.look import Look, visible, wrapped
from services.cli.tables import bar, table
from services.cli.views.words import incident_state, plural, rule_text, target_text
from shared.api import EvidenceView, IncidentView, PhaseView, TakingView

LABEL = 10
BAR = 36  # columns of the bars: with names, times and a few words they fit in 80


def explain_lines(incident: IncidentView, look: Look) -> list[str]:
    """Return everything that is known of one incident."""
    return [
        *_first(incident, look),
        "",
        *_said("What", incident["sentence"], look),
        *_why(incident, look),
        *_said("Cost", _cost(incident), look),
        *_said("Not done", incident["not_done"] or "nothing was held back", look),
        "",
        *_phases(incident, look),
        "",
        *_return(incident, look),
        *_moves(incident, look),
        *_rules(incident, look),
        *_said("Faster?", incident["faster"], look),
        *_trace(incident, look),
        *_said("Events", f"equipoise events --incident {incident['id']}", look),
    ]


def _first(incident: IncidentView, look: Look) -> list[str]:
    """Return what failed where and when, and how far it has come."""
    began = f"{day(incident['began'])} {clock_time(incident['began'])} UTC"
    planned = f" (planned by {incident['owner']})" if incident["planned"] else ""
    target = target_text(incident["service"], incident["node"])
    title = look.bold(f"Incident {incident['id']}")
    lines = [f"{title}   {target}: {incident['cause']}{planned}"]
    parts = [incident_state(incident, look), f"began {began}"]
    if incident["phases"]:
        whole = aligned([phase["duration_us"] for phase in incident["phases"]])[-1]
        parts.append(f"switched in {whole}")
    return [*lines, "   ".join(parts)]


def _said(label: str, text: str, look: Look) -> list[str]:
    """Return a labelled paragraph, or nothing if there is nothing to say."""
    if not text:
        return []
    return wrapped(text, look.width, indent=" " * LABEL, first=f"{label:<{LABEL}}")


def _trace(incident: IncidentView, look: Look) -> list[str]:
    """Return where the trace is seen; in one line, however long it is, to be clicked or copied."""
    url = incident["trace_url"]
    shown = look.link(url) if url else incident["trace_id"]
    return [f"{'Trace':<{LABEL}}{shown}"] if shown else []


def _why(incident: IncidentView, look: Look) -> list[str]:
    if not incident["evidence"]:
        asked = f"{incident['owner']} asked for it" if incident["planned"] else "not recorded"
        return _said("Why", asked, look)
    lines: list[str] = []
    for item in incident["evidence"]:
        lines += _said("" if lines else "Why", _evidence(item), look)
    return lines


def _evidence(item: EvidenceView) -> str:
    held = f"threshold: {item['threshold']}" if item["threshold"] else ""
    figures = "; ".join(part for part in (item["value"], held) if part)
    measured = f" ({figures})" if figures else ""
    before = f"first seen by {item['observer']} {length(item['age_us'])} before the decision"
    return f"{item['grade']}: {item['what']}{measured}, {before}"


def _cost(incident: IncidentView) -> str:
    requests = plural(incident["requests"], "request")
    if incident["requests"] == 0:
        text = "no request came in that time"
    else:
        text = f"{incident['failed']} of {requests} failed, by the load balancers' own counters"
    if any(move["waited_us"] for move in incident["moves"]):
        return f"{text}; what did not arrive while a VIP was dark is not counted"
    return text


def _phases(incident: IncidentView, look: Look) -> list[str]:
    phases = incident["phases"]
    if not phases:
        return ["no phase is over yet"]
    times = aligned([phase["duration_us"] for phase in phases])
    total = sum(phase["duration_us"] for phase in phases)
    rows, begin = [], 0
    for phase, time in zip(phases, times, strict=False):
        end = begin + phase["duration_us"]
        rows.append((phase["name"], bar(begin, end, total, BAR, look), time))
        begin = end
    rows.append(("total", " " * BAR, times[-1]))
    head = ("", look.dim("0" + times[-1].rjust(BAR - 1)), "")
    lines = table([head, *rows], Look(), right=(2,))
    details = [*(_detail(phase, incident) for phase in phases), ""]
    return [lines[0], *_detailed(lines[1:], details, look)]


def _detail(phase: PhaseView, incident: IncidentView) -> str:
    """Return what a phase's time went to; of the switch, what each node needed."""
    if phase["detail"] or phase["name"] not in ("switch", "verify"):
        return phase["detail"]
    key = "install" if phase["name"] == "switch" else "verify"
    parts = []
    if key == "install":
        parts += [_taking(taking) for taking in incident["takings"]]
    for item in incident["installs"]:
        spent = item["verify_us"] if key == "verify" else item["persist_us"] + item["install_us"]
        parts.append(f"{item['node']} {length(spent)}")
    return " · ".join(parts)


def _taking(taking: TakingView) -> str:
    guard, address = length(taking["guard_us"]), length(taking["address_us"])
    return f"{taking['vip']} on {taking['node']}: guard {guard}, address {address}"


def _moves(incident: IncidentView, look: Look) -> list[str]:
    """Return where VIPs went, a line each, and how long a lease was waited for."""
    lines: list[str] = []
    for move in incident["moves"]:
        text = f"{move['vip']} {move['address']}: {move['before']} → {move['after']}"
        if move["waited_us"]:
            text += f", after {length(move['waited_us'])} for the lease of {move['before']} to end"
        lines += _said("" if lines else "VIPs", text, look)
    return lines


def _detailed(lines: list[str], details: list[str], look: Look) -> list[str]:
    """Put each detail beside its bar, or below it where there is no room."""
    told = []
    for line, detail in zip(lines, details, strict=True):
        if not detail:
            told.append(line)
        elif visible(line) + 2 + visible(detail) <= look.width:
            told.append(f"{line}  {look.dim(detail)}")
        else:
            indent = " " * LABEL
            told += [line, *(look.dim(part) for part in wrapped(detail, look.width, indent=indent))]
    return told


def _return(incident: IncidentView, look: Look) -> list[str]:
    phases = incident["recovery"]
    if not phases:
        text = incident["waiting_for"] or (
            "not begun" if incident["state"] != "closed" else "nothing had to return"
        )
        return _said("Return", text, look)
    *times, total = aligned([phase["duration_us"] for phase in phases])
    steps = " · ".join(f"{phase['name']} {time}" for phase, time in zip(phases, times, strict=True))
    whole = f" = {total}"
    waits = f"; waits for: {incident['waiting_for']}" if incident["waiting_for"] else ""
    return _said("Return", f"{steps}{whole}{waits}", look)


def _rules(incident: IncidentView, look: Look) -> list[str]:
    before, after = incident["before"], incident["after"]
    changed = [
        f"{node} {rule_text(before[node])} → {rule_text(after[node])}"
        for node in before
        if node in after and before[node] != after[node]
    ]
    lines = _said("Rules", " · ".join(changed), look)
    return [*lines, *_said("Restored", _restored(incident), look)]


def _restored(incident: IncidentView) -> str:
    relapses = incident["relapses"]
    again = f", after {plural(relapses, 'relapse')}" if relapses else ""
    digest = incident["original_digest"]
    match incident["restored"]:
        case "yes":
            nodes = ", ".join(incident["installed"])
            return f"exactly{again}: {nodes} read back with the original digest {digest}"
        case "unknown":
            return "not known"
        case _ if incident["installed"]:
            read = ", ".join(f"{node} {seen}" for node, seen in incident["installed"].items())
            return f"no{again}: {read}; the original is {digest}"
        case _:
            return f"not yet{again}"
