"""The little of HTTP/1.1 that asking an instance needs: words to bytes, bytes to answers.

Reading is bounded in size here and in time by whoever feeds it. A probe needs the head alone:
the status decides, and a body that never ends is not read.
"""

import re
from dataclasses import dataclass

HEAD_MAX = 16_384  # what nginx, Apache and node accept of headers is 8 to 16 KiB
BODY_MAX = 65_536  # of an identity; nobody names a version in more
CHUNK_LINE_MAX = 1_024
CHUNK_DIGITS_MAX = 8
BEGINNING = b"HTTP/1."
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: .*)?")  # the words nobody needs
INTERIM = range(100, 200)  # "wait, the answer follows"; 101 we never ask for


@dataclass(frozen=True, slots=True)
class Head:
    """The status and headers of an answer."""

    status: int
    lines: tuple[bytes, ...]
    size: int  # bytes before the body, interim answers included


@dataclass(frozen=True, slots=True)
class Garbage:
    """Bytes that are no answer, and why."""

    detail: str


def request(path: str, *, address: str, port: int, keep: bool = False) -> bytes:
    """Return a request; `keep` asks the server not to hang up after its answer."""
    host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: equipoise\r\nAccept: */*\r\n"
        f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
    ).encode()


def read_head(received: bytes) -> Head | Garbage | None:
    """Return the head of the final answer, or None as long as there is only a part of it."""
    begin = 0
    while True:
        head = _one_head(received, begin)
        if not isinstance(head, Head) or head.status not in INTERIM:
            return head
        begin = head.size


def _one_head(received: bytes, begin: int) -> Head | Garbage | None:
    seen = received[begin : begin + len(BEGINNING)]
    if not BEGINNING.startswith(seen):
        return Garbage("the answer is not HTTP/1")
    end = received.find(b"\r\n\r\n", begin)
    if end < 0 and len(received) <= HEAD_MAX:
        return None
    if not 0 <= end <= HEAD_MAX:
        return Garbage(f"the answer's headers are longer than {HEAD_MAX} bytes")
    first, *lines = received[begin:end].split(b"\r\n")
    status = _STATUS_LINE.fullmatch(first)
    if status is None:
        return Garbage("the answer's first line has no status")
    return Head(int(status[1]), tuple(lines), end + 4)


def header(head: Head, name: str) -> str | None:
    """Return a header's value; of several, the first."""
    wanted = name.lower().encode()
    for line in head.lines:
        key, colon, value = line.partition(b":")
        if colon and key.lower() == wanted:
            return value.strip().decode(errors="replace")
    return None


def read_body(head: Head, received: bytes, *, ended: bool) -> bytes | Garbage | None:
    """Return the whole body, or None as long as there is only a part of it."""
    body = received[head.size :]
    if len(body) > BODY_MAX:
        return Garbage(f"the answer is longer than {BODY_MAX} bytes")
    if "chunked" in (header(head, "transfer-encoding") or "").lower():
        whole = _unchunk(body)
    else:
        whole = _measured(body, header(head, "content-length"), ended=ended)
    if whole is None and ended:
        return Garbage("the answer ended too early")
    return whole


def _measured(body: bytes, length: str | None, *, ended: bool) -> bytes | Garbage | None:
    if length is None:
        return body if ended else None
    if not (length.isascii() and length.isdigit() and len(length) <= CHUNK_DIGITS_MAX):
        return Garbage("the answer's length is no number")
    if int(length) > BODY_MAX:
        return Garbage(f"the answer is longer than {BODY_MAX} bytes")
    return body[: int(length)] if len(body) >= int(length) else None


def _unchunk(body: bytes) -> bytes | Garbage | None:
    parts: list[bytes] = []
    at = 0
    while True:
        end = body.find(b"\r\n", at, at + CHUNK_LINE_MAX)
        if end < 0:
            return Garbage("a chunk has no size") if len(body) - at > CHUNK_LINE_MAX else None
        digits = body[at:end].partition(b";")[0].strip()
        if not 0 < len(digits) <= CHUNK_DIGITS_MAX or not _hexadecimal(digits):
            return Garbage("a chunk has no size")
        size = int(digits, 16)
        at = end + 2 + size + 2
        if size == 0:
            return b"".join(parts)  # trailers say nothing that we compare
        if len(body) < at:
            return None
        parts.append(body[end + 2 : at - 2])


def _hexadecimal(digits: bytes) -> bool:
    return all(digit in b"0123456789abcdefABCDEF" for digit in digits)
