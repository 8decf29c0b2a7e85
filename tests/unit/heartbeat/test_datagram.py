"""Beats as bytes."""

import hmac
from dataclasses import replace

import pytest

from services.heartbeat.core.datagram import (
    ECHOES_MAX,
    NAME_MAX,
    SIZE_MAX,
    Datagram,
    Echo,
    Rejection,
    seal,
    unseal,
)

KEY = b"k" * 32
BEAT = Datagram(
    sender="node-a",
    receiver="node-b",
    boot_id="00112233445566ff",
    sequence=7,
    echoes=(Echo("ffeeddccbbaa0011", 41),),
)


def sealed(datagram: Datagram = BEAT) -> bytes:
    return seal(datagram, cluster="shop", key=KEY)


def read(payload: bytes) -> Datagram | Rejection:
    return unseal(payload, cluster="shop", key=KEY)


def signed(unsigned: bytes) -> bytes:
    return unsigned + hmac.digest(KEY, unsigned, "sha256")


def test_a_beat_is_read_as_it_was_written() -> None:
    assert read(sealed()) == BEAT


def test_the_largest_beat_fits() -> None:
    largest = replace(
        BEAT,
        sender="a" * NAME_MAX,
        receiver="b" * NAME_MAX,
        sequence=2**64 - 1,
        echoes=tuple(Echo("ff" * 8, number) for number in range(ECHOES_MAX)),
    )
    assert len(sealed(largest)) == SIZE_MAX
    assert read(sealed(largest)) == largest


def test_every_changed_bit_is_noticed() -> None:
    payload = sealed()
    for bit in range(len(payload) * 8):
        changed = bytearray(payload)
        changed[bit // 8] ^= 1 << bit % 8
        assert isinstance(read(bytes(changed)), Rejection)


def test_every_truncation_is_noticed() -> None:
    payload = sealed()
    assert all(isinstance(read(payload[:size]), Rejection) for size in range(len(payload)))


def test_another_key_is_a_forgery() -> None:
    forged = seal(BEAT, cluster="shop", key=b"other")
    assert read(forged) is Rejection.FORGED


def test_another_cluster_is_foreign_whatever_its_key() -> None:
    assert read(seal(BEAT, cluster="other", key=KEY)) is Rejection.FOREIGN


def test_too_many_bytes_are_not_looked_at() -> None:
    assert read(sealed() + bytes(SIZE_MAX)) is Rejection.OVERSIZE


@pytest.mark.parametrize("payload", [b"", b"EQB", bytes(100), b"GET / HTTP/1.1\r\n" * 8])
def test_what_is_no_beat_is_malformed(payload: bytes) -> None:
    assert read(payload) is Rejection.MALFORMED


@pytest.mark.parametrize(
    "tail",
    [
        b"\x00\x01b\x00",  # a name of no length
        b"\x40" + b"a" * 64 + b"\x01b\x00",  # a name that is too long
        b"\x01\xff\x01b\x00",  # a name that is no text
        b"\x01a\x01b\x06" + bytes(6 * 16),  # more echoes than we read
        b"\x01a\x01b\x01",  # an echo that is missing
        b"\x01a\x01b\x00trailing",
        b"\x01a\xff",
    ],
)
def test_what_is_signed_and_no_beat_is_malformed(tail: bytes) -> None:
    header = sealed()[:28]
    assert read(signed(header + tail + bytes(max(0, 3 - len(tail))))) is Rejection.MALFORMED
