"""`equipoise status`: the verdict in words first, what to do last, two nodes in 80 x 24."""

from collections.abc import Iterator

from services.cli.lengths import clock_time, length
from services.cli.look import Look, visible, wrapped
from services.cli.tables import table
from services.cli.views.words import (
    incident_state,
    instance_text,
    node_text,
    plural,
    target_text,
    truth_text,
    verdict_text,
)
from shared.api import InstanceView, NodeView, OverrideView, ServiceView, Status, TakeoverView

TROUBLES_MAX = 4  # lines of what is not as originally set; the rest is asked for with `why`
LABEL = 15  # columns of the labels at the end


def status_lines(status: Status, look: Look) -> list[str]:
    """Return one screen that says what is going on."""
    return [
        *_first(status, look),
        "",
        *_nodes(status, look),
        "",
        *_services(status, look),
        *_troubles(status, look),
        "",
        *_readiness(status, look),
        *_ends(status, look),
    ]


def _first(status: Status, look: Look) -> list[str]:
    nodes = [node for node in status["nodes"] if node["role"] == "node"]
    up = sum(node["state"] == "up" for node in nodes)
    plan = status["plan"]
    number = f" (plan {plan['epoch']}.{plan['sequence']})" if plan else ""
    arbiter = f"arbiter {status['arbiter']}{number}" if status["arbiter"] else "arbiter ?"
    bus = "bus ✓" if status["knowledge"]["bus"] else look.amber("bus ✗")
    verdict = verdict_text(status["verdict"], status["headline"], look)
    parts = [
        f"{look.bold(status['cluster'])}  {verdict}",
        f"{up}/{len(nodes)} nodes",
        arbiter if status["knowledge"]["fresh"] else look.dim(arbiter),
        bus,
    ]
    lines = _flowed(parts, look)
    stale = status["knowledge"]["text"]
    if stale:
        text = f"? stale: {stale}" if status["knowledge"]["age_us"] is not None else f"? {stale}"
        lines += [look.amber(line) for line in wrapped(text, look.width, indent="  ")]
    return lines


def _flowed(parts: list[str], look: Look) -> list[str]:
    """Return parts side by side, in as few lines as fit."""
    lines, line = [], parts[0]
    for part in parts[1:]:
        if visible(line) + 3 + visible(part) > look.width:
            lines.append(line)
            line = f"  {part}"
        else:
            line = f"{line}   {part}"
    return [*lines, line]


def _nodes(status: Status, look: Look) -> list[str]:
    head = ("NODE", "STATE", "SHARE", "WANTED", "HEARTBEAT", "BALANCER", "INSTALLED", "VERIFIED")
    rows = [_node(node, look) for node in status["nodes"]]
    return table([head, *rows], look, right=(2, 3))


def _node(node: NodeView, look: Look) -> tuple[str, ...]:
    plan = node["installed_plan"]
    number = f"{plan['epoch']}.{plan['sequence']}" if plan else ""
    verified = node["verified_us"]
    ago = "" if verified is None else f"{length(verified)} ago"
    return (
        node["name"],
        node_text(node["state"], node["was"], look),
        _percent(node, node["share_percent"]),
        _percent(node, node["wanted_percent"]),
        _heartbeat(node, look),
        truth_text(node["balancer"], "", look),
        truth_text(node["installed"], number, look, no="differs"),
        truth_text(node["verified"], ago, look, no="failed"),
    )


def _percent(node: NodeView, percent: int | None) -> str:
    if node["role"] == "witness":
        return "-"
    return "?" if percent is None else f"{percent}%"


def _heartbeat(node: NodeView, look: Look) -> str:
    """Return how long ago the console heard it; of who is not up, the silence that counts."""
    silent, heard = node["silent_us"], node["heard_us"]
    if node["state"] in ("suspect", "dead") and silent is not None:
        return look.amber(f"silent {length(silent)}")
    if heard is None:
        return look.dim("?")
    return length(heard) if node["state"] != "unknown" else look.dim(f"{length(heard)} here")


def _services(status: Status, look: Look) -> list[str]:
    nodes = [node["name"] for node in status["nodes"] if node["role"] == "node"]
    head = ("SERVICE", "MODE", *(node.upper() for node in nodes), "LOAD", "FAILED")
    rows = [_service(service, look) for service in status["services"]]
    lines = table([head, *rows], look, right=(len(head) - 2,))
    if max(visible(line) for line in lines) <= look.width:
        return lines
    return _tall(status, look)


def _tall(status: Status, look: Look) -> list[str]:
    """Return a line an instance, where a column a node is too wide."""
    rows = [("SERVICE", "MODE", "NODE", "STATE")]
    for service in status["services"]:
        for instance in service["instances"]:
            text = instance_text(instance["state"], _instance(instance), look)
            rows.append((service["name"], service["mode"], instance["node"], text))
    return table(rows, look)


def _service(service: ServiceView, look: Look) -> tuple[str, ...]:
    cells = [instance_text(item["state"], _instance(item), look) for item in service["instances"]]
    rate, failed = service["requests_per_s"], service["failed"]
    lost = "?" if failed is None else f"{failed} in {length(service['failed_within_us'])}"
    return (
        service["name"],
        service["mode"],
        *cells,
        "?" if rate is None else f"{rate:.0f}/s",
        look.amber(lost) if failed else lost,
    )


def _instance(instance: InstanceView) -> str:
    """Return what is wanted of an instance, and its answer time; or its state, where not home."""
    state, admission = instance["state"], instance["admission"]
    part = f"{instance['percent']}%" if admission == "serving" else admission or ""
    if state == "unknown":
        return f"was {part}" if part else ""
    if state not in ("home", "ramping"):
        return f"{state} {part}" if admission == "serving" else state
    answer = instance["answer_us"]
    return part if answer is None else f"{part} {length(answer)}"


def _troubles(status: Status, look: Look) -> list[str]:
    """Return what is not as originally set, and every alarm."""
    texts = [*status["alarms"], *_unlike_home(status), *_unwell(status)]
    lines = []
    for text in texts[:TROUBLES_MAX]:
        lines += wrapped(text, look.width, indent="  ", first=look.amber("▲") + " ")
    if len(texts) > TROUBLES_MAX:
        lines.append(f"  and {len(texts) - TROUBLES_MAX} more: equipoise why NODE|SERVICE")
    return ["", *lines] if lines else []


def _unlike_home(status: Status) -> Iterator[str]:
    """Yield what is not as originally set; what is so for one reason is said once."""
    alike: dict[str, list[str]] = {}
    for service in status["services"]:
        for item in service["instances"]:
            if item["state"] in ("home", "unknown"):
                continue
            since = "" if item["since_us"] is None else f" for {length(item['since_us'])}"
            why = f": {item['reason']}" if item["reason"] else ""
            waits = f"; waits for: {item['waiting_for']}" if item["waiting_for"] else ""
            target = f"{service['name']}/{item['node']}"
            alike.setdefault(f"{item['state']}{since}{why}{waits}", []).append(target)
    for text, targets in alike.items():
        yield f"{', '.join(targets)} {text}"


def _unwell(status: Status) -> Iterator[str]:
    for node in status["nodes"]:
        if node["state"] in ("suspect", "dead") and node["reason"]:
            yield f"{node['name']} is {node['state']}: {node['reason']}"
        if node["balancer"] == "no":
            yield f"load balancer of {node['name']}: {node['balancer_text']}"


def _readiness(status: Status, look: Look) -> list[str]:
    """Return which failures could be taken, a line a node, and which could not, a line each."""
    if not status["readiness"]:
        return [look.dim("? which failures could be taken is not known")]
    lines = []
    nodes = [node["name"] for node in status["nodes"] if node["role"] == "node"]
    alike: dict[tuple[object, ...], list[TakeoverView]] = {}
    for item in status["readiness"]:
        reason = "" if item["ready"] else item["reason"]
        key = (item["node"], item["ready"], tuple(item["to"]), reason)
        alike.setdefault(key, []).append(item)
    for items in alike.values():
        ready = items[0]["ready"]
        text = _can(items) if ready else _cannot(items, nodes)
        first = f"{look.good('✓') if ready else look.amber('▲')} "
        lines += wrapped(text, look.width, indent="  ", first=first)
    return lines


def _can(items: list[TakeoverView]) -> str:
    loads = [item["load_percent"] for item in items if item["load_percent"] is not None]
    load = f" (at up to {max(loads)} % of limit)" if loads else ""
    takers = ", ".join(items[0]["to"])
    return f"if {items[0]['node']} fails, {takers} can take {_services_of(items)}{load}"


def _cannot(items: list[TakeoverView], nodes: list[str]) -> str:
    first = items[0]
    others = [node for node in nodes if node != first["node"]]
    who = ", ".join(first["to"]) or (others[0] if len(others) == 1 else "no other node")
    can = "can" if who == "no other node" else "cannot"
    services = _services_of(items)
    return f"if {first['node']} fails, {who} {can} take {services}, because {first['reason']}"


def _services_of(items: list[TakeoverView]) -> str:
    return ", ".join(item["service"] for item in items)


def _ends(status: Status, look: Look) -> list[str]:
    lines = [""]
    for item in status["overrides"]:
        lines += wrapped(override_text(item), look.width, indent=" " * LABEL, first=_label(lines))
    if not status["overrides"]:
        lines.append(f"{'Overrides':<{LABEL}}{_none_or_unknown(status)}")
    lines += _incidents(status, look)
    for number, text in enumerate(status["next"]):
        first = f"{'Next' if number == 0 else '':<{LABEL}}"
        lines += wrapped(text, look.width, indent=" " * LABEL, first=first)
    return lines


def _label(lines: list[str]) -> str:
    return f"{'Overrides' if lines == [''] else '':<{LABEL}}"


def _none_or_unknown(status: Status) -> str:
    return "none" if status["knowledge"]["age_us"] is not None else "?"


def override_text(item: OverrideView) -> str:
    """Return an override with its owner, its reason and its end."""
    target = target_text(item["service"], item["node"])
    until = f"until {clock_time(item['until'])[:5]} UTC (in {length(item['left_us'])})"
    return f'{item["kind"]} {target} {until}, {item["owner"]}: "{item["reason"]}"'


def _incidents(status: Status, look: Look) -> list[str]:
    last = status["last_incident"]
    if last is None:
        known = status["knowledge"]["history"]
        text = "none is remembered" if known else "? (the past has not been read yet)"
        return [f"{'Last incident':<{LABEL}}{text}"]
    more = [item for item in status["incidents"] if item["id"] != last["id"]]
    others = f"; {plural(len(more), 'other')} open" if more else ""
    text = (
        f"{last['id']} {incident_state(last, look)}, {length(last['age_us'])} ago: "
        f"{last['sentence']}; {last['failed']} of {last['requests']} requests failed{others}"
    )
    return wrapped(text, look.width, indent=" " * LABEL, first=f"{'Last incident':<{LABEL}}")
