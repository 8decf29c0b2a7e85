"""Programs that are given something wrong say what, where and how to mend it, and end or wait.

Ended, their health still says why: whoever looks there need not find the log.
"""

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.eventually import PATIENCE_S
from tests.integration.bad_input.member import Member
from tests.integration.nats_server import NatsServer

Wrong = Callable[[Member], None]


@pytest.fixture
def member(tmp_path: Path) -> Member:
    return Member(folder=tmp_path)


def has(**variables: str) -> Wrong:
    return lambda member: member.environ.update(variables)


def writes(text: str) -> Wrong:
    return lambda member: _none(member.configuration.write_text(text))


def replaces(old: str, new: str) -> Wrong:
    return lambda member: writes(member.configuration.read_text().replace(old, new))(member)


def _none(_: object) -> None:
    return None


def has_no_file(member: Member) -> None:
    member.configuration.unlink()


def has_a_directory_for_a_file(member: Member) -> None:
    has_no_file(member)
    member.configuration.mkdir()


def has_a_directory_for_a_key(member: Member) -> None:
    member.key.unlink()
    member.key.mkdir()


def has_no_key(member: Member) -> None:
    member.key.unlink()


def has_an_empty_key(member: Member) -> None:
    member.key.write_text("")


def has_a_key_for_all(member: Member) -> None:
    member.key.chmod(0o644)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (has(EQUIPOISE_NODE=""), "EQUIPOISE_NODE is not set"),
        (has(EQUIPOISE_NODE="node-c"), "members in this file: node-a, node-b, witness"),
        (has(EQUIPOISE_NODDE="node-a"), "did you mean 'EQUIPOISE_NODE'?"),
        (has(EQUIPOISE_LOG_LEVEL="loud"), "'debug', 'info', 'warning' or 'error', got 'loud'"),
        (has(EQUIPOISE_HEALTH="9631"), "an address and a port from 1 to 65535, not '9631'"),
        (has_no_file, "equipoise.yaml: error: there is no such file"),
        (has_a_directory_for_a_file, "remove the directory, and put the file in its place"),
        (writes("version: 1\ncluster: [shop\n"), "equipoise.yaml:2:10: error: the list"),
        (replaces("version: 1", "version: 2"), "this program reads version 1"),
        (has_no_key, "make one with"),
        (has_a_directory_for_a_key, "cluster.key is a directory"),
        (has_an_empty_key, "holds 0 bytes; a key has 16 to 4096"),
        (has_a_key_for_all, "close it with: chmod o-rwx"),
    ],
)
def test_a_wrong_configuration_is_one_line_in_the_log_and_the_reason_in_the_health(
    member: Member, wrong: Wrong, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong(member)
    code, because = member.ended("heartbeat")
    assert code == 2
    assert said in because
    assert len(member.log) == 1
    assert member.health("heartbeat") == 1
    assert f"it ended with exit code 2: {because}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("program", "variable"),
    [("heartbeat", "EQUIPOISE_HEALTH"), ("console", "EQUIPOISE_API_LISTEN")],
)
def test_a_port_in_use_is_named_with_the_variable(
    member: Member, program: str, variable: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        member.environ[variable] = f"127.0.0.1:{port}"
        code, because = member.ended(program)
    assert code == 69
    wanted = f"127.0.0.1:{port}, which {variable} names: Address already in use; name another port"
    assert wanted in because
    assert member.health(program) == 1
    assert wanted in capsys.readouterr().out


def test_an_address_that_this_machine_does_not_have_is_named(member: Member) -> None:
    replaces("127.0.0.11", "192.0.2.11")(member)
    code, because = member.ended("heartbeat")
    assert code == 69
    assert "192.0.2.11 UDP port" in because
    assert "is the address this machine's" in because


def test_a_state_directory_that_cannot_be_is_named(member: Member) -> None:
    member.environ["EQUIPOISE_STATE_DIR"] = "/proc/nowhere"
    with NatsServer() as server:
        replaces(member.bus, server.url)(member)
        code, because = member.ended("traffic_switcher")
    assert code == 69
    assert "/proc/nowhere cannot be made" in because
    assert "EQUIPOISE_STATE_DIR" in because


def test_a_switcher_on_the_witness_says_where_it_belongs(member: Member) -> None:
    member.environ["EQUIPOISE_NODE"] = "witness"
    with NatsServer() as server:
        replaces(member.bus, server.url)(member)
        code, because = member.ended("traffic_switcher")
    assert code == 2
    assert "a traffic switcher runs on node-a, node-b" in because


def test_without_a_bus_it_waits_and_says_where_and_why_in_its_health(
    member: Member, capsys: pytest.CaptureFixture[str]
) -> None:
    def says_why() -> bool:
        code = member.health("health_probe")
        said = capsys.readouterr().out
        return code == 1 and f"waits for the bus at {member.bus}: Connection refused" in said

    with member.running("health_probe") as process:
        member.until(says_why, "the health says what is in the way")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    (line,) = (line for line in member.log if line["event"] == "bus_trouble")
    assert line["servers"] == member.bus
    assert line["because"] == "Connection refused"


def test_a_switcher_that_cannot_guard_is_not_ready_and_goes_on(
    member: Member, capsys: pytest.CaptureFixture[str]
) -> None:
    member.environ["EQUIPOISE_LIBNFTABLES"] = "/no/such.so"
    missing = "EQUIPOISE_LIBNFTABLES is /no/such.so, which cannot be loaded"

    def says_why() -> bool:
        code = member.health("traffic_switcher")
        return code == 1 and f"[-]guard failed: {missing}" in capsys.readouterr().out

    with NatsServer() as server:
        replaces(member.bus, server.url)(member)
        with member.running("traffic_switcher") as process:
            member.until(says_why, "the health says that no address can be held")
            member.until(lambda: any(line.get("what") == "guard" for line in member.log), "logged")
            assert process.poll() is None


def test_a_hung_program_is_not_well(member: Member, capsys: pytest.CaptureFixture[str]) -> None:
    with member.running("heartbeat") as process:
        socket_there = (member.folder / "run" / "heartbeat.health.sock").exists
        member.until(socket_there, "it answers")
        process.send_signal(signal.SIGSTOP)
        assert member.health("heartbeat") == 1
        assert "it did not answer in 2 s" in capsys.readouterr().out
        process.kill()
        process.wait()
        assert member.health("heartbeat") == 1
        assert "it was killed, or is starting again" in capsys.readouterr().out


def test_the_last_words_of_one_run_are_not_those_of_the_next(
    member: Member, capsys: pytest.CaptureFixture[str]
) -> None:
    words = member.folder / "run" / "heartbeat.ended"
    member.environ["EQUIPOISE_NODE"] = "node-c"
    member.ended("heartbeat")
    assert words.exists()
    member.environ["EQUIPOISE_NODE"] = "node-a"
    with member.running("heartbeat"):
        member.until(lambda: not words.exists(), "it has begun")
        assert "it ended" not in capsys.readouterr().out
