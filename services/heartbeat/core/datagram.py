"""A beat as bytes between two members, and back.

    offset  bytes  what
         0      4  "EQB" and the format's version
         4      8  the cluster: the first bytes of the SHA-256 of its name
        12      8  boot id of the sender: random per start
        20      8  sequence
        28    1+n  the sender's name
             1+n  the receiver's name: a beat for one member is worth nothing to another
               1  number of echoes
            16 x  echoes: a boot id of the receiver, and the highest sequence heard of it
              32  HMAC-SHA256 with the cluster's key over all that stands before

Rule 1: nothing but size, version and cluster is read before the signature is verified, so that
bytes of a stranger reach no parser. Rule 2: reading never raises; what cannot be used is a
`Rejection`, which is counted.
"""

import hashlib
import hmac
import struct
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

MAGIC = b"EQB\x01"
SIGNATURE_SIZE = 32
NAME_MAX = 63  # a DNS label; names of members are no longer
ECHOES_MAX = 5  # the boot that is believed, and four that claim to follow it
HEADER = struct.Struct(">4s8s8sQ")
ECHO = struct.Struct(">8sQ")
SIZE_MIN = HEADER.size + 1 + 1 + 1 + SIGNATURE_SIZE
SIZE_MAX = SIZE_MIN + 2 * NAME_MAX + ECHOES_MAX * ECHO.size  # 269: far below any MTU


class Rejection(StrEnum):
    """Why a datagram was ignored; the words under which the beats report the counts."""

    OVERSIZE = "oversize"
    MALFORMED = "malformed"
    FOREIGN = "foreign"  # of another cluster
    FORGED = "forged"  # not signed with the cluster's key
    MISDIRECTED = "misdirected"  # meant for another member
    OWN = "own"  # our own, thrown back at us
    STRANGER = "stranger"  # of a member that our configuration does not have
    REPLAYED = "replayed"  # seen before, or of a boot that another one followed
    UNPROVEN = "unproven"  # of a boot that has not yet answered to ours: one or two at each start


@dataclass(frozen=True, slots=True)
class Echo:
    """The sender's proof that it has heard the receiver."""

    boot_id: str  # the receiver's, as 16 hexadecimal digits
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Datagram:
    """One beat from one member to another."""

    sender: str
    receiver: str
    boot_id: str
    sequence: int
    echoes: tuple[Echo, ...] = ()


def seal(datagram: Datagram, *, cluster: str, key: bytes) -> bytes:
    """Return the signed bytes of a beat."""
    assert len(datagram.echoes) <= ECHOES_MAX
    unsigned = b"".join(
        (
            HEADER.pack(MAGIC, _tag(cluster), bytes.fromhex(datagram.boot_id), datagram.sequence),
            _name(datagram.sender),
            _name(datagram.receiver),
            bytes((len(datagram.echoes),)),
            *(ECHO.pack(bytes.fromhex(echo.boot_id), echo.sequence) for echo in datagram.echoes),
        )
    )
    return unsigned + hmac.digest(key, unsigned, "sha256")


def unseal(payload: bytes, *, cluster: str, key: bytes) -> Datagram | Rejection:
    """Return the beat that someone who has the cluster's key has signed, or why there is none."""
    rejection = _stranger(payload, cluster)
    if rejection is not None:
        return rejection
    unsigned, signature = payload[:-SIGNATURE_SIZE], payload[-SIGNATURE_SIZE:]
    if not hmac.compare_digest(hmac.digest(key, unsigned, "sha256"), signature):
        return Rejection.FORGED
    try:
        return _parse(unsigned)
    except (struct.error, IndexError, ValueError):
        return Rejection.MALFORMED  # signed by another version of ours


def _stranger(payload: bytes, cluster: str) -> Rejection | None:
    """Return why these bytes need no look at their signature."""
    if len(payload) > SIZE_MAX:
        return Rejection.OVERSIZE
    if len(payload) < SIZE_MIN or not payload.startswith(MAGIC):
        return Rejection.MALFORMED
    if payload[len(MAGIC) : len(MAGIC) + 8] != _tag(cluster):
        return Rejection.FOREIGN
    return None


def _parse(unsigned: bytes) -> Datagram:
    _, _, boot_id, sequence = HEADER.unpack_from(unsigned)
    sender, at = _read_name(unsigned, HEADER.size)
    receiver, at = _read_name(unsigned, at)
    count = unsigned[at]
    if count > ECHOES_MAX or len(unsigned) != at + 1 + count * ECHO.size:
        raise ValueError
    echoes = tuple(
        Echo(boot.hex(), number) for boot, number in ECHO.iter_unpack(unsigned[at + 1 :])
    )
    return Datagram(
        sender=sender, receiver=receiver, boot_id=boot_id.hex(), sequence=sequence, echoes=echoes
    )


def _name(name: str) -> bytes:
    encoded = name.encode()
    assert 0 < len(encoded) <= NAME_MAX
    return bytes((len(encoded),)) + encoded


def _read_name(unsigned: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + unsigned[at]
    if not at + 1 < end <= min(len(unsigned), at + 1 + NAME_MAX):
        raise ValueError
    return unsigned[at + 1 : end].decode(), end


@lru_cache(maxsize=8)
def _tag(cluster: str) -> bytes:
    return hashlib.sha256(cluster.encode()).digest()[:8]
