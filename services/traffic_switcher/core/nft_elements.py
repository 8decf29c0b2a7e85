"""What the guard says to the kernel of elements, and is answered: messages of nfnetlink.

libnftables says the same, but reads all tables and sets before each transaction, and text takes it
longer to read than the kernel takes to obey. Sources: linux/netlink.h, linux/netfilter/nfnetlink.h
and linux/netfilter/nf_tables.h, whose names the constants have, and net/netfilter/nfnetlink.c.

1. A transaction is a batch in one datagram: begin, changes, end. The kernel takes all of it or
   nothing.
2. Only its last change asks for an acknowledgement. The kernel answers when it is done with the
   whole batch: first, why it could not be committed; then, in their order, what changes it
   refused, and that acknowledgement. So the first answer of all is the verdict.
3. An element of a set with a time-out is refreshed by adding it again on new kernels only;
   deleted and added in one transaction it is on all. Deleting what is not there fails the whole
   transaction, so it is added before.
4. The permit is deleted last: the kernels that judge expiry at each message judge it when all
   else is done.
5. Time-outs are whole milliseconds, rounded down: nothing may live longer than it was meant to.
"""

import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from ipaddress import ip_address

from services.traffic_switcher.core.nft_words import TABLE, TICK_US
from shared.errors import SwitchError
from shared.instant import MILLISECOND, Duration

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP, NLM_F_CREATE = 0x1, 0x4, 0x10, 0x300, 0x400
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 16, 17
NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_NEWSETELEM, NFT_MSG_GETSETELEM, NFT_MSG_DELSETELEM, NFT_MSG_GETGEN = (
    NFNL_SUBSYS_NFTABLES << 8 | number for number in (12, 13, 14, 16)
)
NFTA_GEN_ID = 1
NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS = 1, 2, 3
NFTA_LIST_ELEM = 1
NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_TIMEOUT, NFTA_SET_ELEM_EXPIRATION = 1, 4, 5
NFTA_DATA_VALUE = 1
NLA_F_NESTED = 0x8000
KIND = 0x3FFF  # of an attribute, without its marks
PROTOCOLS = {"": 0, "inet": 1, "arp": 3, "netdev": 5}  # NFPROTO_UNSPEC, _INET, _ARP, _NETDEV

# length, type, flags, sequence, port; family, version, resource (in the network's order)
_HEADERS = struct.Struct("=IHHIIBB2s")
_HEADER = struct.Struct("=IHH")
_FLAGS = struct.Struct("=H")
_ERROR = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")
_LONG = struct.Struct(">Q")
_AT_FLAGS, _AT_ERROR = 6, 16
KEPT_MAX = 512  # changes, of 100 octets: more than there are for 80 VIPs


@dataclass(frozen=True, slots=True)
class Sets:
    """The sets, by family of the table, in which a VIP of one version of IP stands."""

    lease: tuple[tuple[str, str], ...]
    drain: tuple[str, str]


_SETS = {
    4: Sets((("inet", "lease4"), ("arp", "lease4"), ("netdev", "lease4")), ("inet", "drain4")),
    6: Sets((("inet", "lease6"), ("inet", "aimed6"), ("netdev", "aimed6")), ("inet", "drain6")),
}


# -- transactions ----------------------------------------------------------------------------


def permit(token: int, life_us: Duration) -> bytes:
    """Add an element that lives for a short time."""
    return _batch([_added("inet", "permit", _mark(token), life_us)])


def renew(
    token: int, rests: Mapping[str, Duration], ended: Iterable[str], *, egress: bool
) -> bytes:
    """Open the guard for these, use the permit up, and end the draining of `ended`."""
    changes = [
        change
        for address, rest_us in sorted(rests.items())
        for family, name in _leased(address, egress=egress)
        for change in _anew(family, name, _key(address), rest_us)
    ]
    for address in sorted(ended):
        changes += _gone(*_sets(address).drain, _key(address))
    changes.append(_change(NFT_MSG_DELSETELEM, "inet", "permit", _mark(token)))
    return _batch(changes)


def close(addresses: Iterable[str], *, drain_us: Duration = 0, egress: bool) -> bytes:
    """Close the guard of these, at once; serve their open connections for `drain_us`."""
    changes: list[bytes] = []
    for address in sorted(addresses):
        for family, name in _leased(address, egress=egress):
            changes += _gone(family, name, _key(address))
        changes += _anew(*_sets(address).drain, _key(address), drain_us)
    return _batch(changes)


def _leased(address: str, *, egress: bool) -> Iterator[tuple[str, str]]:
    return ((family, name) for family, name in _sets(address).lease if egress or family != "netdev")


@lru_cache(maxsize=KEPT_MAX)
def _sets(address: str) -> Sets:
    return _SETS[ip_address(address).version]


@lru_cache(maxsize=KEPT_MAX)
def _key(address: str) -> bytes:
    return ip_address(address).packed


def _mark(token: int) -> bytes:
    return token.to_bytes(4, sys.byteorder)  # the kernel keeps marks in its own order


# -- questions -------------------------------------------------------------------------------


def ask_generation() -> bytes:
    """Ask for the number of the kernel's rule set: it rises with every change, whoever made it."""
    return _message(NFT_MSG_GETGEN, NLM_F_REQUEST, "")


def ask_leases(addresses: Iterable[str]) -> tuple[bytes, ...]:
    """Ask for the elements of the sets in which these are leased; one question each."""
    places = sorted({_sets(address).lease[0] for address in addresses})
    asks = NLM_F_REQUEST | NLM_F_DUMP
    return tuple(
        _message(NFT_MSG_GETSETELEM, asks, family, _place(name)) for family, name in places
    )


# -- answers ---------------------------------------------------------------------------------


def refusal(answer: bytes) -> int | None:
    """Return the error that an answer tells, 0 for "done"; None: it tells something else."""
    _, kind, _ = _HEADER.unpack_from(answer)
    if kind not in (NLMSG_ERROR, NLMSG_DONE):
        return None
    (code,) = _ERROR.unpack_from(answer, _AT_ERROR)
    return -int(code)


def generation(answer: bytes) -> int:
    """Return the number of the rule set."""
    _, kind, _ = _HEADER.unpack_from(answer)
    found = {} if kind == NLMSG_ERROR else dict(_attributes(answer[_HEADERS.size :]))
    if NFTA_GEN_ID not in found:
        raise SwitchError("the kernel does not say its rules' number: no right to ask?")
    return int.from_bytes(found[NFTA_GEN_ID], "big")


@dataclass(frozen=True, slots=True)
class Listing:
    """What was heard of the elements of a set."""

    rests: Mapping[str, Duration] = field(default_factory=dict)  # what is left of each address
    interrupted: bool = False  # the rules have changed meanwhile: it may lack something
    ended: int | None = None  # the error that it ended by, 0 none; None: more is to come


def heard(listing: Listing, answer: bytes) -> Listing:
    """Return a listing with what a datagram adds to it."""
    rests, interrupted = dict(listing.rests), listing.interrupted
    for message in _messages(answer):
        _, _, flags = _HEADER.unpack_from(message)
        interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
        ended = refusal(message)
        if ended is not None:
            return Listing(rests, interrupted, ended)
        rests |= _rests(message)
    return Listing(rests, interrupted)


def _messages(answer: bytes) -> Iterator[bytes]:
    at = 0
    while at + _HEADER.size <= len(answer):
        length, _, _ = _HEADER.unpack_from(answer, at)
        yield answer[at : at + length]
        at += max(_HEADERS.size, length + -length % 4)


def _rests(answer: bytes) -> Mapping[str, Duration]:
    listed = dict(_attributes(answer[_HEADERS.size :])).get(NFTA_SET_ELEM_LIST_ELEMENTS, b"")
    found = {}
    for _, element in _attributes(listed):
        facts = dict(_attributes(element))
        ((_, key),) = _attributes(facts[NFTA_SET_ELEM_KEY])
        address = str(ip_address(key))
        if NFTA_SET_ELEM_EXPIRATION not in facts:
            raise SwitchError(
                f"the kernel lists {address!r}, a lease that does not expire:"
                " somebody else changed our tables"
            )
        (left_ms,) = _LONG.unpack(facts[NFTA_SET_ELEM_EXPIRATION])
        found[address] = left_ms * MILLISECOND
    return found


def _attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(content):
        length, kind = _ATTRIBUTE.unpack_from(content, at)
        yield kind & KIND, content[at + _ATTRIBUTE.size : at + length]
        at += max(_ATTRIBUTE.size, length + -length % 4)


# -- making messages -------------------------------------------------------------------------


def _batch(changes: list[bytes]) -> bytes:
    """Make one transaction of these, whose last is acknowledged."""
    last = changes.pop()
    asks = _FLAGS.pack(_FLAGS.unpack_from(last, _AT_FLAGS)[0] | NLM_F_ACK)
    asking = last[:_AT_FLAGS] + asks + last[_AT_FLAGS + _FLAGS.size :]
    return b"".join((_edge(NFNL_MSG_BATCH_BEGIN), *changes, asking, _edge(NFNL_MSG_BATCH_END)))


@cache
def _edge(kind: int) -> bytes:
    return _message(kind, NLM_F_REQUEST, "", resource=NFNL_SUBSYS_NFTABLES)


def _anew(family: str, name: str, key: bytes, life_us: Duration) -> list[bytes]:
    """Delete an element, be it there or not, and add it for so long, if there is anything left."""
    changes = _gone(family, name, key)
    if life_us >= TICK_US:
        changes.append(_added(family, name, key, life_us))
    return changes


def _gone(family: str, name: str, key: bytes) -> list[bytes]:
    return [
        _kept(NFT_MSG_NEWSETELEM, family, name, key),
        _kept(NFT_MSG_DELSETELEM, family, name, key),
    ]


def _added(family: str, name: str, key: bytes, life_us: Duration) -> bytes:
    life = _attribute(NFTA_SET_ELEM_TIMEOUT, _LONG.pack(life_us // MILLISECOND))
    return _change(NFT_MSG_NEWSETELEM, family, name, key, life)


@lru_cache(maxsize=KEPT_MAX)
def _kept(kind: int, family: str, name: str, key: bytes) -> bytes:
    return _change(kind, family, name, key)


def _change(kind: int, family: str, name: str, key: bytes, more: bytes = b"") -> bytes:
    value = _attribute(NFTA_DATA_VALUE, key)
    element = _attribute(NFTA_SET_ELEM_KEY | NLA_F_NESTED, value) + more
    listed = _attribute(NFTA_LIST_ELEM | NLA_F_NESTED, element)
    content = _place(name) + _attribute(NFTA_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED, listed)
    creates = NLM_F_CREATE if kind == NFT_MSG_NEWSETELEM else 0
    return _message(kind, NLM_F_REQUEST | creates, family, content)


@lru_cache(maxsize=KEPT_MAX)
def _place(name: str) -> bytes:
    return _attribute(NFTA_SET_ELEM_LIST_TABLE, TABLE.encode() + b"\0") + _attribute(
        NFTA_SET_ELEM_LIST_SET, name.encode() + b"\0"
    )


def _attribute(kind: int, value: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def _message(kind: int, flags: int, family: str, content: bytes = b"", resource: int = 0) -> bytes:
    size = _HEADERS.size + len(content)
    headers = (size, kind, flags, 0, 0, PROTOCOLS[family], 0, resource.to_bytes(2, "big"))
    return _HEADERS.pack(*headers) + content
