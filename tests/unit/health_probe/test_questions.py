"""What answers and failures mean."""

import errno
import os

import pytest

from services.health_probe.core.questions import (
    AcceptQuestion,
    IdentityQuestion,
    Named,
    StatusQuestion,
)
from services.health_probe.core.signs import failed, shown
from shared.cluster import Identity
from shared.instant import MILLISECOND, SECOND
from shared.messages.health import Sign

STATUS = StatusQuestion(words=b"GET", expect=((200, 299), (404, 404)), timeout_us=50 * MILLISECOND)
ACCEPT = AcceptQuestion(timeout_us=50 * MILLISECOND)


def named(received: bytes, *, name: str | None = None, ended: bool = False) -> Named | None:
    identity = Identity(path="/", header=name, every_us=SECOND)
    question = IdentityQuestion(words=b"GET", identity=identity, timeout_us=SECOND)
    return question.read(received, 0, ended=ended)


@pytest.mark.parametrize(
    ("code", "sign"),
    [
        (errno.ECONNREFUSED, Sign.REFUSED),
        (errno.ECONNRESET, Sign.RESET),
        (errno.EPIPE, Sign.RESET),
        (errno.ETIMEDOUT, Sign.TIMEOUT),
        (errno.EHOSTUNREACH, Sign.UNREACHABLE),
    ],
)
def test_errors_that_are_the_instances(code: int, sign: Sign) -> None:
    assert failed(code, "", 0).sign is sign


@pytest.mark.parametrize(
    "code",
    [
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EADDRNOTAVAIL,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.EPERM,
        errno.EACCES,
    ],
)
def test_errors_that_are_ours(code: int) -> None:
    outcome = failed(code, os.strerror(code), 0)
    assert outcome.sign is Sign.NOTHING
    assert os.strerror(code) in outcome.detail


def test_statuses_are_held_against_what_is_expected() -> None:
    good = STATUS.read(b"HTTP/1.1 404 Not Found\r\n\r\n", 300, ended=False)
    assert good is not None
    assert (good.sign, good.value) == (Sign.OK, "0.3 ms")
    wrong = STATUS.read(b"HTTP/1.1 500 Oops\r\n\r\n", 300, ended=False)
    assert wrong is not None
    assert (wrong.sign, wrong.value) == (Sign.STATUS, "500")
    assert wrong.detail == "HTTP 500, expected 200-299, 404"


def test_an_answer_that_never_came_was_closed_and_one_that_broke_off_is_garbage() -> None:
    closed = STATUS.read(b"", 0, ended=True)
    broken = STATUS.read(b"HTTP/1.1 20", 0, ended=True)
    assert closed is not None
    assert broken is not None
    assert (closed.sign, broken.sign) == (Sign.RESET, Sign.GARBAGE)


def test_silence_says_what_did_not_come() -> None:
    assert STATUS.overdue(0, connected=True).detail == "no answer within 50 ms"
    assert STATUS.overdue(0, connected=False).detail == "no connection within 50 ms"
    assert ACCEPT.overdue(0, connected=False).sign is Sign.TIMEOUT


def test_an_accepted_connection_must_stay() -> None:
    closed = ACCEPT.read(b"", 0, ended=True)
    greeted = ACCEPT.read(b"220 mail", 0, ended=False)
    assert closed is not None
    assert greeted is not None
    assert (closed.sign, greeted.sign) == (Sign.RESET, Sign.OK)
    assert ACCEPT.stayed(0).sign is Sign.OK


def test_an_identity_is_the_body_or_a_header() -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-Build: 7\r\nContent-Length: 4\r\n\r\n1.0\n"
    assert named(answer) == Named("1.0")
    assert named(answer, name="X-Build") == Named("7")
    assert named(answer, name="X-Other") == Named(None)


@pytest.mark.parametrize("received", [b"HTTP/1.1 404 No\r\n\r\n", b"SSH-2.0"])
def test_an_error_page_is_no_identity(received: bytes) -> None:
    assert named(received) == Named(None)


def test_an_identity_that_is_not_there_yet() -> None:
    assert named(b"") is None
    assert named(b"", ended=True) == Named(None)
    assert named(b"HTTP/1.1 200 OK\r\n\r\n1.") is None
    assert named(b"HTTP/1.1 200 OK\r\n\r\n1.0", ended=True) == Named("1.0")


def test_durations_are_shown_as_people_read_them() -> None:
    assert [shown(us) for us in (300, 5_000, 9_940, 50_000, 1_000_000)] == [
        "0.3 ms",
        "5 ms",
        "9.9 ms",
        "50 ms",
        "1000 ms",
    ]
