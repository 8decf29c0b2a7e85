"""What an answer through the load balancer proves."""

import pytest

from services.traffic_switcher.core.verification import Heard, is_complete, judge, request
from shared.cluster import Protocol
from shared.instant import MILLISECOND
from tests.unit.traffic_switcher.play import OUT, SERVE, service

SHOP = service("shop")
QUEUE = service("queue", protocol=Protocol.TCP)
RULES = {"node-a": SERVE, "node-b": OUT}


def heard(content: bytes, *, is_open: bool = True, fault: str = "") -> Heard:
    """Return what came back in 1.5 ms."""
    return Heard(content, is_open=is_open, fault=fault, took_us=3 * MILLISECOND // 2)


def answer(status: int, instance: str) -> bytes:
    """Return an answer through our HAProxy."""
    head = f"HTTP/1.1 {status} OK\r\nEquipoise-Instance: {instance}\r\nX: y\r\n\r\n"
    return head.encode()


def test_an_accepted_answer_of_a_serving_instance_is_proof() -> None:
    outcome = judge(SHOP, RULES, heard(answer(204, "node-a")))
    assert outcome.confirmed
    assert outcome.detail == "shop: HTTP 204 from node-a in 1.5 ms"


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (answer(200, "node-b"), "HTTP 200 from node-b, which is not to serve"),
        (answer(200, "_nobody"), "HTTP 200 from _nobody, which is not to serve"),
        (answer(503, "node-a"), "HTTP 503 from node-a, which the probe does not accept"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "HTTP 200 from nobody the load balancer would name"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP answer: 'SSH-2.0-OpenSSH'"),
        (b"", "no HTTP answer: ''"),
    ],
)
def test_anything_else_is_not(content: bytes, detail: str) -> None:
    outcome = judge(SHOP, RULES, heard(content))
    assert not outcome.confirmed
    assert outcome.detail == f"shop: {detail}"


@pytest.mark.parametrize(
    ("seen", "is_proof"),
    [
        (heard(b"", is_open=True), True),
        (heard(b"x", is_open=False), True),
        (heard(b"", is_open=False), False),
        (heard(b"", is_open=True, fault="no connection: refused"), False),
    ],
)
def test_over_tcp_a_byte_or_an_open_connection_is_proof(seen: Heard, is_proof: bool) -> None:  # noqa: FBT001
    assert judge(QUEUE, RULES, seen).confirmed is is_proof


def test_the_request_is_the_probes_with_the_secret_and_tcp_gets_none() -> None:
    text = request(SHOP, "s3cret").decode()
    assert text.startswith("GET /healthz HTTP/1.1\r\n")
    assert "\r\nequipoise-verify: s3cret\r\n" in text
    assert request(QUEUE, "s3cret") == b""


def test_listening_ends_with_the_head_of_an_answer_or_with_the_first_byte() -> None:
    assert is_complete(SHOP, answer(200, "node-a"))
    assert is_complete(SHOP, b"x" * 20_000)
    assert not is_complete(SHOP, b"HTTP/1.1 200 OK\r\n")
    assert is_complete(QUEUE, b"x")
    assert not is_complete(QUEUE, b"")
