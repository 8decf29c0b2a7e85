"""HAProxy's command line: what we say, and what its answers mean.

One exchange is one line of commands separated by `;`. With `severity-output number` a command that
did what it should answers with an empty line, and every complaint begins with `[n]: `; so each
command's answer can be told from the next, and the reading at the end of the line is of the moment
after the changes (docs/decisions/0010).
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.traffic_switcher.core.haproxy_file import NOBODY
from services.traffic_switcher.core.installed import Gate, Installation, Instance, Target
from services.traffic_switcher.core.steps import Change, Step
from shared.errors import SwitchError
from shared.messages.traffic import InstanceLoad, ServiceLoad

LINE_MAX = 8_192  # half of HAProxy's buffer for a command line (tune.bufsize)
SAID_MAX = 200  # of an answer, in an error
DIGITS_MAX = 18  # of a counter; more is none of HAProxy's, and no message could carry it

# Bits of srv_admin_state (HAProxy's server-t.h). 0x04 only says that the file had `disabled`.
MAINTENANCE = 0x01 | 0x02 | 0x20  # by command or file; inherited from a tracked server; no address
DRAINING = 0x08 | 0x10  # by command; inherited
RUNNING = 2  # srv_op_state: 0 stopped, 1 starting, 2 running, 3 stopping

PREFIX = "set severity-output number"
STATE = ("show servers state", "show info")
COUNTERS = (*STATE, "show stat")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One line of commands: changes first, then what is read back."""

    changes: tuple[str, ...]
    readings: tuple[str, ...]

    @property
    def line(self) -> str:
        """The line as it is sent."""
        return ";".join((PREFIX, *self.changes, *self.readings)) + "\n"


def exchanges(steps: Sequence[Step], *, counters: bool = False) -> tuple[Exchange, ...]:
    """Return the exchanges that take the steps and read back; more than one only if too long."""
    readings = COUNTERS if counters else STATE
    groups: list[list[str]] = [[]]
    for command in (command for step in steps for command in _commands(step)):
        if groups[-1] and sum(len(c) + 1 for c in (*groups[-1], command)) > LINE_MAX:
            groups.append([])
        groups[-1].append(command)
    return tuple(Exchange(tuple(group), readings) for group in groups)


def _commands(step: Step) -> tuple[str, ...]:
    server = "/".join(step.target)
    match step.change:
        case Change.WEIGH:
            return (f"set server {server} weight {step.weight}",)
        case Change.OPEN:
            return (f"set server {server} state ready",)
        case Change.DRAIN:
            return (f"set server {server} state drain",)
        case Change.CLOSE:
            # Where HAProxy itself may mark a server down, `on-marked-down shutdown-sessions` ends
            # its sessions with the maintenance, and safe requests are being repeated already:
            # ending sessions once more would end the repeats (seen: two GETs of 40,000).
            close = f"set server {server} state maint"
            end = f"shutdown sessions server {server}"
            return (close, end) if step.ends_sessions else (close,)


def read(answer: str, exchange: Exchange, *, current: str) -> Installation:
    """Return what an exchange read back; `current` is the mark of the configuration we wrote."""
    rest = _accepted(answer, exchange)
    blocks = [block.strip("\n") for block in re.split(r"\n\s*\n", rest) if block.strip()]
    if len(blocks) != len(exchange.readings):
        raise _nonsense(exchange.readings[0], rest)
    instances = _instances(blocks[0])
    facts = dict(line.split(": ", 1) for line in blocks[1].splitlines() if ": " in line)
    if not _is_number(facts.get("Pid", "")):
        raise _nonsense("show info", blocks[1])
    loads = _loads(blocks[2], instances) if len(blocks) > len(STATE) else {}
    return Installation(
        # A pid alone would do on a machine, but in a container it is the same at every start.
        process=f"{facts['Pid']}@{facts.get('Start_time_sec', '')}",
        outdated=facts.get("description", "") != current,
        instances=instances,
        loads=loads,
    )


def _accepted(answer: str, exchange: Exchange) -> str:
    """Return what follows the answers to the changes, each of which must be empty."""
    rest = answer
    for command in (PREFIX, *exchange.changes):
        if not rest.startswith("\n"):
            said = rest.split("\n\n", 1)[0]
            raise SwitchError(f'refused "{command}": {_quoted(said)}')
        rest = rest[1:]
    return rest


def _instances(block: str) -> dict[Target, Instance]:
    columns = ("be_name", "srv_name", "srv_op_state", "srv_admin_state", "srv_uweight")
    rows = _table(block, "show servers state", columns, skip="1", delimiter=" ")
    found: dict[Target, Instance] = {}
    for row in rows:
        name = row["srv_name"]
        if name == NOBODY:
            continue
        admin, weight = _number(row, "srv_admin_state"), _number(row, "srv_uweight")
        gate = Gate.OPEN
        if admin & DRAINING:
            gate = Gate.DRAINING
        if admin & MAINTENANCE:
            gate = Gate.CLOSED
        is_up = _number(row, "srv_op_state") == RUNNING
        found[row["be_name"], name] = Instance(gate, weight, up=is_up)
    return found


def _loads(block: str, instances: Mapping[Target, Instance]) -> dict[str, ServiceLoad]:
    rows = {
        (row["pxname"], row["svname"]): row
        for row in _table(block, "show stat", ("pxname", "svname"))
    }
    of_services: dict[str, dict[str, Instance]] = {}
    for (service, node), instance in sorted(instances.items()):
        of_services.setdefault(service, {})[node] = instance
    found: dict[str, ServiceLoad] = {}
    for service, of_service in of_services.items():
        front, back = rows.get((service, "FRONTEND")), rows.get((service, "BACKEND"))
        if front is None or back is None:
            raise _nonsense("show stat", block)
        is_http = front.get("mode") == "http"
        found[service] = ServiceLoad(
            requests=_count(front, "req_tot" if is_http else "stot"),
            failed=_count(front, "hrsp_5xx") if is_http else _count(back, "econ"),
            instances={
                node: _load(rows[service, node], is_http=is_http, up=instance.up)
                for node, instance in of_service.items()
                if (service, node) in rows
            },
        )
    return found


def _load(row: Mapping[str, str], *, is_http: bool, up: bool) -> InstanceLoad:
    errors = _count(row, "econ") + _count(row, "eresp") + _count(row, "hrsp_5xx")
    return InstanceLoad(
        requests=_count(row, "req_tot" if is_http else "stot"),
        errors=errors,
        sessions=_count(row, "scur"),
        up=up,
    )


def _table(
    block: str, command: str, columns: Sequence[str], *, skip: str = "", delimiter: str = ","
) -> Iterator[Mapping[str, str]]:
    """Yield the rows of a table whose first line is `# ` and the columns' names."""
    lines = block.splitlines()
    if skip and lines[0] == skip:
        lines = lines[1:]
    names = lines[0][2:].split(delimiter) if lines and lines[0].startswith("# ") else []
    if not {*columns} <= {*names}:
        raise _nonsense(command, block)
    try:
        rows = list(csv.reader(lines[1:], delimiter=delimiter, quoting=csv.QUOTE_NONE))
    except csv.Error as error:
        raise _nonsense(command, block) from error
    for values in rows:
        if len(values) != len(names):
            raise _nonsense(command, block)
        yield dict(zip(names, values, strict=True))


def _number(row: Mapping[str, str], name: str) -> int:
    value = row[name]
    if not _is_number(value):
        raise _nonsense("show servers state", f"{name} {value}")
    return int(value)


def _count(row: Mapping[str, str], name: str) -> int:
    """Return a counter; one that does not exist for a kind of row is empty."""
    value = row.get(name, "")
    return int(value) if _is_number(value) else 0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX


def _nonsense(command: str, said: str) -> SwitchError:
    return SwitchError(f'answered "{command}" with {_quoted(said)}, which is not such an answer')


def _quoted(said: str) -> str:
    text = " ".join(re.sub(r"^\[\d\]: ", "", said.strip()).split())
    return repr(text[:SAID_MAX] + ("…" if len(text) > SAID_MAX else "")) if text else "nothing"
