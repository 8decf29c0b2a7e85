"""Answers as bytes."""

import pytest

from services.health_probe.core.http import (
    BODY_MAX,
    HEAD_MAX,
    Garbage,
    Head,
    header,
    read_body,
    read_head,
    request,
)

ANSWER = b"HTTP/1.1 200 OK\r\nServer: x\r\nX-Version:  1.0 \r\n\r\n"


def head_of(received: bytes) -> Head:
    head = read_head(received)
    assert isinstance(head, Head)
    return head


def body_of(received: bytes, *, ended: bool = False) -> bytes | Garbage | None:
    return read_body(head_of(received), received, ended=ended)


def test_a_request_names_the_host_and_asks_to_hang_up() -> None:
    words = request("/health?deep=0", address="10.0.0.1", port=80)
    assert words.startswith(b"GET /health?deep=0 HTTP/1.1\r\nHost: 10.0.0.1:80\r\n")
    assert words.endswith(b"Connection: close\r\n\r\n")


def test_an_ipv6_address_is_put_in_brackets() -> None:
    assert b"Host: [fd00::1]:80\r\n" in request("/", address="fd00::1", port=80)


def test_every_beginning_of_an_answer_needs_more() -> None:
    assert all(read_head(ANSWER[:size]) is None for size in range(len(ANSWER)))
    assert head_of(ANSWER).status == 200


def test_headers_are_found_whatever_their_case() -> None:
    assert header(head_of(ANSWER), "x-version") == "1.0"
    assert header(head_of(ANSWER), "x-other") is None


def test_interim_answers_are_passed_over() -> None:
    received = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ANSWER
    assert head_of(received).status == 200
    assert read_head(received[:50]) is None
    assert body_of(received, ended=True) == b""


@pytest.mark.parametrize("first", [b"HTTP/1.0 204", b"HTTP/1.1 503 Service Unavailable"])
def test_first_lines_with_and_without_words(first: bytes) -> None:
    assert head_of(first + b"\r\n\r\n").status == int(first.split()[1])


@pytest.mark.parametrize(
    "received",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"\x00\x00\x12\x04\x00",
        b"<html>",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 2000\r\n\r\n",
        b"HTTP/1.1 099 X\r\n\r\n",
        b"HTTP/1.1  200 X\r\n\r\n",
        "HTTP/1.1 ٢٠٠ X\r\n\r\n".encode(),
        b"HTTP/1.1 200 X\r\n" + b"A: b\r\n" * HEAD_MAX,
        b"HTTP/1.1 " + b"x" * HEAD_MAX,
        ANSWER[:-2] + b"X: " + b"y" * HEAD_MAX + b"\r\n\r\n",
    ],
)
def test_garbage_is_called_so(received: bytes) -> None:
    assert isinstance(read_head(received), Garbage)


def test_a_measured_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
    assert body_of(answer + b"1.") is None
    assert body_of(answer + b"1.0 and more") == b"1.0"
    assert isinstance(body_of(answer + b"1.", ended=True), Garbage)


def test_a_body_until_the_end() -> None:
    assert body_of(ANSWER + b"1.0") is None
    assert body_of(ANSWER + b"1.0", ended=True) == b"1.0"


def test_a_chunked_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole = answer + b"2\r\n1.\r\n1;x=y\r\n0\r\n0\r\n\r\n"
    assert body_of(whole) == b"1.0"
    for size in range(len(answer), len(whole) - len(b"\r\n\r\n") - 1):
        assert body_of(whole[:size]) is None
    assert isinstance(body_of(whole[:-8], ended=True), Garbage)


@pytest.mark.parametrize("chunk", [b"\r\n", b"x\r\n", b"-1\r\n", b"0x2\r\n", b"9" * 2_000])
def test_a_chunk_without_a_size_is_garbage(chunk: bytes) -> None:
    assert isinstance(
        body_of(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n" + chunk), Garbage
    )


@pytest.mark.parametrize("length", [b"-1", b"x", b"99999999", b"999999999999", "٣".encode()])
def test_a_length_beyond_reason_is_garbage(length: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n"
    assert isinstance(body_of(answer), Garbage)


def test_an_endless_body_is_garbage() -> None:
    assert isinstance(body_of(ANSWER + b"x" * (BODY_MAX + 1)), Garbage)
