"""Cuts of the sandbox's cables: frames that go into a member or come out of it are dropped.

All of them, or, on a cable that only loses some, one of so many by chance.

The rules stand at the bridges' ends of the cables (netdev hooks), in a table of our own, so that
all protocols stop, ARP too, nothing in the member's namespace shows it, and carrier stays. One
table a port, with a chain for each way that is cut; its counters prove that something was dropped.
"""

import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from enum import StrEnum

from services.sandbox import netlink
from services.sandbox.netlink import NETLINK_NETFILTER, Netlink, attribute, nested, text
from shared.errors import MachineError

NFPROTO_NETDEV = 5
SUBSYSTEM = 10 << 8
BATCH_BEGIN, BATCH_END = 0x10, 0x11
NEWTABLE, DELTABLE, NEWCHAIN, NEWRULE, GETRULE = 0, 2, 3, 6, 7
TABLE_NAME = 1
CHAIN_TABLE, CHAIN_NAME, CHAIN_HOOK, CHAIN_TYPE = 1, 3, 4, 7
HOOK_NUMBER, HOOK_PRIORITY, HOOK_DEVICE = 1, 2, 3
RULE_TABLE, RULE_CHAIN, RULE_EXPRESSIONS = 1, 2, 4
LIST_ELEMENT, EXPRESSION_NAME, EXPRESSION_DATA = 1, 1, 2
COUNTER_BYTES, COUNTER_PACKETS = 1, 2
CHANCE_REGISTER, CHANCE_MODULUS, CHANCE_TYPE = 1, 2, 3
BY_CHANCE = struct.pack(">I", 1)  # and not in turn
COMPARED_REGISTER, COMPARED_HOW, COMPARED_WITH = 1, 2, 3
EQUAL = bytes(4)
REGISTER = struct.pack(">I", 1)  # the first that takes sixteen bytes
DATA_VALUE = 1
IMMEDIATE_REGISTER, IMMEDIATE_DATA = 1, 2
DATA_VERDICT, VERDICT_CODE = 2, 1
DROP = struct.pack(">i", 0)
FIRST = struct.pack(">i", -500)  # before any other rule
GENERAL = struct.Struct(">BBH")  # nfgenmsg


class Way(StrEnum):
    """Which frames of a cable are dropped, as the member sees it."""

    BOTH = "both"
    IN = "in"  # it hears nothing, and is heard
    OUT = "out"  # it hears, and nobody hears it


# At the bridge's end, what goes into the member leaves (egress is hook 1), what comes arrives.
HOOKS = {Way.IN: 1, Way.OUT: 0}


def ways(way: Way) -> tuple[Way, ...]:
    """Return the simple ways that a cut is made of."""
    return (Way.IN, Way.OUT) if way is Way.BOTH else (way,)


def table(port: str) -> str:
    """Return the name of a port's table."""
    return f"sandbox-{port}"


def cut(port: str, way: Way, one_in: int = 1) -> None:
    """Drop one frame in so many from now on; a cut that the port had before is replaced."""
    if one_in < 1:
        raise MachineError(f"one frame in {one_in} cannot be dropped: 1 drops all, 20 is 5 %")
    heal(port)
    parts = [(NEWTABLE, text(TABLE_NAME, table(port)))]
    for one in ways(way):
        parts += [(NEWCHAIN, _chain(port, one)), (NEWRULE, _rule(port, one, one_in))]
    _commit(parts)


def heal(port: str) -> None:
    """Let everything through again; nothing happens where nothing is cut."""
    with suppress(FileNotFoundError):
        _commit([(DELTABLE, text(TABLE_NAME, table(port)))])


def dropped(port: str) -> dict[Way, int]:
    """Return how many frames each way of a cut has dropped so far; nothing where none is cut."""
    wanted = text(RULE_TABLE, table(port))
    with closing(Netlink(NETLINK_NETFILTER)) as kernel:
        rules = kernel.dump(SUBSYSTEM | GETRULE, GENERAL.pack(NFPROTO_NETDEV, 0, 0) + wanted)
    found: dict[Way, int] = {}
    for rule in rules:
        fields = dict(netlink.attributes(rule.content[GENERAL.size :]))
        if fields[RULE_TABLE] == f"{table(port)}\0".encode():
            chain = fields[RULE_CHAIN].rstrip(b"\0").decode()
            found[Way(chain)] = sum(_counted(fields[RULE_EXPRESSIONS]))
    return found


def _counted(expressions: bytes) -> Iterator[int]:
    for _, element in netlink.attributes(expressions):
        fields = dict(netlink.attributes(element))
        if fields.get(EXPRESSION_NAME) == b"counter\0":
            data = dict(netlink.attributes(fields[EXPRESSION_DATA]))
            yield int.from_bytes(data[COUNTER_PACKETS], "big")


def _chain(port: str, way: Way) -> bytes:
    hook = nested(
        CHAIN_HOOK,
        attribute(HOOK_NUMBER, struct.pack(">I", HOOKS[way])),
        attribute(HOOK_PRIORITY, FIRST),
        text(HOOK_DEVICE, port),
    )
    names = text(CHAIN_TABLE, table(port)) + text(CHAIN_NAME, way.value)
    return names + hook + text(CHAIN_TYPE, "filter")


def _rule(port: str, way: Way, one_in: int) -> bytes:
    counter = _expression(
        "counter", attribute(COUNTER_BYTES, bytes(8)), attribute(COUNTER_PACKETS, bytes(8))
    )
    verdict = _expression(
        "immediate",
        attribute(IMMEDIATE_REGISTER, bytes(4)),
        nested(IMMEDIATE_DATA, nested(DATA_VERDICT, attribute(VERDICT_CODE, DROP))),
    )
    chance = _one_in(one_in) if one_in > 1 else ()
    expressions = nested(RULE_EXPRESSIONS, *chance, counter, verdict)
    return text(RULE_TABLE, table(port)) + text(RULE_CHAIN, way.value) + expressions


def _one_in(many: int) -> tuple[bytes, bytes]:
    """Return what lets a rule go on for one frame in so many: a number by chance, and it is 0."""
    drawn = _expression(
        "numgen",
        attribute(CHANCE_REGISTER, REGISTER),
        attribute(CHANCE_MODULUS, struct.pack(">I", many)),
        attribute(CHANCE_TYPE, BY_CHANCE),
    )
    compared = _expression(
        "cmp",
        attribute(COMPARED_REGISTER, REGISTER),
        attribute(COMPARED_HOW, EQUAL),
        nested(COMPARED_WITH, attribute(DATA_VALUE, bytes(4))),
    )
    return drawn, compared


def _expression(name: str, *fields: bytes) -> bytes:
    return nested(LIST_ELEMENT, text(EXPRESSION_NAME, name), nested(EXPRESSION_DATA, *fields))


def _commit(parts: list[tuple[int, bytes]]) -> None:
    """Hand the kernel a transaction: all of it happens, or nothing does."""
    batch = GENERAL.pack(0, 0, SUBSYSTEM >> 8)
    flags = netlink.NLM_F_REQUEST | netlink.NLM_F_ACK | netlink.NLM_F_CREATE
    sent = [netlink.message(BATCH_BEGIN, netlink.NLM_F_REQUEST, 0, batch)]
    sent += [
        netlink.message(SUBSYSTEM | kind, flags, number, GENERAL.pack(NFPROTO_NETDEV, 0, 0) + body)
        for number, (kind, body) in enumerate(parts, start=1)
    ]
    sent.append(netlink.message(BATCH_END, netlink.NLM_F_REQUEST, 0, batch))
    with closing(Netlink(NETLINK_NETFILTER)) as kernel:
        kernel.change(*sent, acks=len(parts))
