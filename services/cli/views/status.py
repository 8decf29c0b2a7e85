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
from shared.api import (
    InstanceView,
    NodeView,
    OverrideView,
    ServiceView,
    Status,
    TakeoverView,
    VipTakeoverView,
    VipView,
)

TROUBLES_MAX = 4  # lines of what is not as originally set; the rest is asked for with `why`
SCREEN = 24  # lines of the smallest terminal
NAMES_MAX = 8  # columns of the VIPs that a node holds; beyond that they are counted
LABEL = 15  # columns of the labels at the end


def status_lines(status: Status, look: Look) -> list[str]:
    """Return one screen that says what is going on."""
    blocks = [
        _first(status, look),
        _nodes(status, look),
        vip_lines(status["vips"], look),
        _services(status, look),
        _troubles(status, look),
        _readiness(status, look),
        _ends(status, look),
    ]
    return _on_one_screen([block for block in blocks if block])


def _on_one_screen(blocks: list[list[str]]) -> list[str]:
    """Return blocks with blank lines between them: the lower ones give way when room is short."""
    lines = sum(len(block) for block in blocks)
    gaps = max(0, min(len(blocks) - 1, SCREEN - lines))
    shown = blocks[0]
    for number, block in enumerate(blocks[1:]):
        shown = [*shown, *([""] if number < gaps else []), *block]
    return shown


def _first(status: Status, look: Look) -> list[str]:
    nodes = [node for node in status["nodes"] if node["role"] == "node"]
    up = sum(node["state"] == "up" for node in nodes)
    plan = status["plan"]
    number = f"plan {plan['epoch']}.{plan['sequence']} of " if plan else "arbiter "
    arbiter = f"{number}{status['arbiter']}" if status["arbiter"] else "arbiter ?"
    bus = "bus ✓" if status["knowledge"]["bus"] else look.amber("bus ✗")
    dark = any(vip["answers"] == "no" for vip in status["vips"])
    verdict = verdict_text(status["verdict"], status["headline"], look, dark=dark)
    parts = [
        f"{look.bold(status['cluster'])}  {verdict}",
        f"{up} of {len(nodes)} nodes",
        *_vips_held(status, look),
        arbiter if status["knowledge"]["fresh"] else look.dim(arbiter),
        bus,
    ]
    lines = _flowed(parts, look)
    stale = status["knowledge"]["text"]
    if stale:
        text = f"? stale: {stale}" if status["knowledge"]["age_us"] is not None else f"? {stale}"
        lines += [look.amber(line) for line in wrapped(text, look.width, indent="  ")]
    return lines


def _vips_held(status: Status, look: Look) -> list[str]:
    """Return how many VIPs answer; what is not known does not count."""
    vips = status["vips"]
    if not vips:
        return []
    held = sum(vip["state"] == "held" for vip in vips)
    text = f"{held} of {plural(len(vips), 'VIP')}"
    silent = any(vip["answers"] == "no" for vip in vips)
    return [look.red(text) if silent else text]


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
    head = ["NODE", "STATE", "SHARE", "WANTED", "HEARD", "BALANCER", "INSTALLED", "VERIFIED"]
    rows = [list(_node(node, look)) for node in status["nodes"]]
    if status["vips"]:
        head.append("VIPS")
        for row, node in zip(rows, status["nodes"], strict=True):
            row.append(_held(node, look))
    return table([head, *rows], look, right=(2, 3))


def _held(node: NodeView, look: Look) -> str:
    """Return the VIPs that a node holds: by name while that is short."""
    if node["role"] == "witness":
        return "-"
    if node["state"] == "unknown":
        return look.dim("?")
    names = " ".join(node["vips"])
    return (names or "-") if len(names) <= NAMES_MAX else f"{len(node['vips'])} VIPs"


def vip_lines(vips: list[VipView], look: Look) -> list[str]:
    """Return a table of VIPs: where each is, where it belongs, and whether it answers."""
    if not vips:
        return []
    head = ("VIP", "ADDRESS", "HELD BY", "HOME", "ANSWERS")
    rows = [
        (vip["name"], vip["address"], _holder(vip, look), vip["home"], _answers(vip, look))
        for vip in vips
    ]
    return table([head, *rows], look)


def _holder(vip: VipView, look: Look) -> str:
    """Return who holds a VIP; red is only what nobody holds."""
    holder = vip["holder"] or "nobody"
    match vip["state"]:
        case "held":
            return look.amber(f"▲ {holder}") if vip["away"] else look.good(f"✓ {holder}")
        case "taking":
            return look.amber(f"▲ {holder} takes it")
        case "waiting":
            return look.red(f"✗ nobody; {holder} waits")
        case "dark":
            return look.red("✗ nobody")
        case _:
            return look.dim(f"? was {holder}" if vip["was"] else "?")


def _answers(vip: VipView, look: Look) -> str:
    ago = "" if vip["answered_us"] is None else f"{length(vip['answered_us'])} ago"
    return (
        truth_text(vip["answers"], ago, look, no="dark")
        if vip["answers"] != "no"
        else (look.red("✗ dark"))
    )


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
        return look.amber(f"▲ {length(silent)}")
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
    texts = [*status["alarms"], *_vips_unlike_home(status), *_unlike_home(status)]
    texts += _unwell(status)
    lines = []
    for text in texts[:TROUBLES_MAX]:
        lines += wrapped(text, look.width, indent="  ", first=look.amber("▲") + " ")
    if len(texts) > TROUBLES_MAX:
        lines.append(f"  and {len(texts) - TROUBLES_MAX} more: equipoise why NODE|SERVICE")
    return lines


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


def _vips_unlike_home(status: Status) -> Iterator[str]:
    """Yield why VIPs are not held at home; what is so for one reason is said once."""
    alike: dict[str, list[str]] = {}
    for vip in status["vips"]:
        if vip["state"] == "unknown" or (vip["state"] == "held" and not vip["away"]):
            continue
        since = "" if vip["since_us"] is None else f" for {length(vip['since_us'])}"
        words = {
            "held": f"away from {vip['home']}, on {vip['holder']}{since}",
            "taking": f"being taken by {vip['holder']}{since}",
            "waiting": f"held by nobody yet{since}, to go to {vip['holder']}",
        }
        why = f": {vip['reason']}" if vip["reason"] else ""
        waits = f"; waits for: {vip['waiting_for']}" if vip["waiting_for"] else ""
        text = words.get(vip["state"], f"dark{since}")
        alike.setdefault(f"{text}{why}{waits}", []).append(vip["name"])
    for text, names in alike.items():
        yield f"{'VIP' if len(names) == 1 else 'VIPs'} {', '.join(names)} {text}"


def _unwell(status: Status) -> Iterator[str]:
    for node in status["nodes"]:
        waits = f"; its return waits for: {node['waiting_for']}" if node["waiting_for"] else ""
        if node["state"] in ("suspect", "dead") and (node["reason"] or waits):
            why = f": {node['reason']}" if node["reason"] else ""
            yield f"{node['name']} is {node['state']}{why}{waits}"
        elif waits and node["state"] != "unknown":
            yield f"{node['name']} is {node['state']}{waits}"
        if node["balancer"] == "no":
            yield f"load balancer of {node['name']}: {node['balancer_text']}"


def _readiness(status: Status, look: Look) -> list[str]:
    """Return which failures could be taken, a line a node, and which could not, a line each."""
    if not status["readiness"] and not status["vip_readiness"]:
        return [look.dim("? which failures could be taken is not known")]
    lines = []
    nodes = [node["name"] for node in status["nodes"] if node["role"] == "node"]
    alike: dict[tuple[object, ...], list[TakeoverView]] = {}
    for item in [*status["readiness"], *map(_as_takeover, status["vip_readiness"])]:
        reason = "" if item["ready"] else item["reason"]
        key = (item["node"], item["ready"], tuple(item["to"]), reason)
        alike.setdefault(key, []).append(item)
    for items in alike.values():
        ready = items[0]["ready"]
        text = _can(items) if ready else _cannot(items, nodes)
        first = f"{look.good('✓') if ready else look.amber('▲')} "
        lines += wrapped(text, look.width, indent="  ", first=first)
    return lines


def _as_takeover(item: VipTakeoverView) -> TakeoverView:
    """Return a VIP's takeover in the form of a service's, to be said in one sentence with it."""
    return TakeoverView(
        service=f"VIP {item['vip']}",
        node=item["holder"],
        to=item["to"],
        ready=item["ready"],
        reason=item["reason"],
        load_percent=None,
        sentence=item["sentence"],
    )


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
    lines: list[str] = []
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
    return f"{'' if lines else 'Overrides':<{LABEL}}"


def _none_or_unknown(status: Status) -> str:
    return "none" if status["knowledge"]["age_us"] is not None else "?"


def override_text(item: OverrideView) -> str:
    """Return an override with its owner, its reason and its end."""
    target = target_text(item["service"], item["node"])
    if item["vip"] is not None:
        target = f"{item['vip']} off {item['node']}" if item["node"] else item["vip"]
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
