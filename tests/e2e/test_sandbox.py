"""The sandbox itself: real parts, really apart, and really gone afterwards."""

import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.sandbox.audit import audit_orders, distribution, summarise
from services.sandbox.machine import find_tools
from services.sandbox.supervisor import Stage
from shared.clock import SystemClock
from shared.errors import MachineError
from shared.instant import MILLISECOND, SECOND
from tests.e2e.running import (
    ROOT,
    As,
    RunningSandbox,
    children_of,
    first_process,
    in_namespace,
    launched,
    namespace_of,
    ordinary_user,
    running_sandbox,
    runtime_directory,
    wait_until,
)
from tests.eventually import PATIENCE_S, PATIENCE_US

pytestmark = pytest.mark.sandbox

INFRASTRUCTURE = ("--only", "infrastructure", "--rate", "200")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox(*INFRASTRUCTURE) as running:
        yield running


def test_all_programs_are_ready(sandbox: RunningSandbox) -> None:
    programs = sandbox.control.programs()
    assert set(programs) == {
        "witness/nats",
        "client/load",
        *(
            f"{node}/{name}"
            for node in ("node-a", "node-b")
            for name in ("haproxy", "shop", "orders")
        ),
    }
    assert {sight.stage for sight in programs.values()} == {Stage.READY}


def test_every_request_is_answered_and_no_order_done_twice(sandbox: RunningSandbox) -> None:
    begin_at = SystemClock().now()
    records = [
        record
        for record in sandbox.recorded_until(begin_at + 3 * SECOND)
        if record.scheduled_at >= begin_at
    ]
    seen = summarise(records)
    assert seen.sent >= 500
    assert seen.failed == 0, seen
    shares = distribution(records, "shop")
    assert set(shares) == {"node-a", "node-b"}
    audit = audit_orders(records, sandbox.journals())
    assert audit.ok, audit
    assert audit.answered > 0


def test_the_members_have_networks_of_their_own(sandbox: RunningSandbox) -> None:
    def shown(member: str, *what: str) -> str:
        return sandbox.control.run(member, list(what))[1]

    wanted = {
        "node-a": {"eth0": "10.77.0.11/", "eth1": "10.78.0.11/"},
        "node-b": {"eth0": "10.77.0.12/", "eth1": "10.78.0.12/"},
        "witness": {"eth0": "10.77.0.5/"},
        "client": {"eth0": "10.78.0.100/"},
    }
    for member, interfaces in wanted.items():
        for interface, address in interfaces.items():
            line = shown(member, "ip", "-brief", "address", "show", "dev", interface)
            assert address in line, line
    settings = {"ip_forward": "0", "ip_nonlocal_bind": "1", "conf/all/arp_ignore": "1"}
    for name, value in settings.items():
        assert shown("node-a", "cat", f"/proc/sys/net/ipv4/{name}") == f"{value}\n"


def test_a_killed_instance_comes_back_and_orders_are_done_once(sandbox: RunningSandbox) -> None:
    clock = SystemClock()
    before = sandbox.control.programs()["node-b/shop"]
    sent_from = clock.now()
    injection = sandbox.control.send("node-b/shop", "KILL")
    assert sent_from <= injection.begin_at <= injection.end_at <= clock.now()
    assert injection.pid == before.pid
    wait_until(
        lambda: sandbox.control.programs()["node-b/shop"].restarts > before.restarts,
        "the death is noticed",
    )
    sandbox.control.until_ready(PATIENCE_US, ["node-b/shop"])
    after = sandbox.control.programs()["node-b/shop"]
    assert after.exit_code == -signal.SIGKILL
    assert after.pid != before.pid
    records = sandbox.recorded_until(clock.now())
    audit = audit_orders(records, sandbox.journals())
    assert audit.ok, audit


def test_a_held_program_stays_dead_until_it_is_released(sandbox: RunningSandbox) -> None:
    control = sandbox.control
    control.hold("node-a/orders")
    control.send("node-a/orders", "KILL")
    control.until_stage("node-a/orders", Stage.HELD, PATIENCE_US)
    assert control.programs()["node-a/orders"].pid is None
    with pytest.raises(MachineError, match="does not run"):
        control.send("node-a/orders", "KILL")
    control.release("node-a/orders")
    control.until_ready(PATIENCE_US, ["node-a/orders"])


def test_a_stopped_instance_hangs_and_goes_on(sandbox: RunningSandbox) -> None:
    control = sandbox.control
    pid = control.send("node-a/shop", "STOP").pid
    state = ["sh", "-c", f"cut -d' ' -f3 /proc/{pid}/stat"]
    wait_until(lambda: control.run("node-a", state)[1] == "T\n", "it is stopped")
    control.send("node-a/shop", "CONT")
    wait_until(lambda: control.run("node-a", state)[1] != "T\n", "it runs")
    assert control.programs()["node-a/shop"].pid == pid


def test_an_instance_fails_and_recovers_by_signal(sandbox: RunningSandbox) -> None:
    control = sandbox.control

    def status() -> str:
        script = (
            "import http.client as h; c = h.HTTPConnection('10.78.0.12', 8081, timeout=30);"
            "c.request('GET', '/healthz'); print(c.getresponse().status)"
        )
        return control.run("client", [_python(sandbox), "-c", script])[1].strip()

    assert status() == "200"
    control.send("node-b/orders", "USR1")
    assert status() == "500"
    control.send("node-b/orders", "USR2")
    assert status() == "200"


def _python(sandbox: RunningSandbox) -> str:
    content = json.loads((sandbox.folder / "sandbox.json").read_bytes())
    return str(content["tools"]["python"])


def test_a_balancer_whose_worker_dies_is_replaced_whole(sandbox: RunningSandbox) -> None:
    control = sandbox.control
    before = control.programs()["node-a/haproxy"]
    # The whole balancer as a killed machine would lose it; then only its worker.
    control.send("node-a/haproxy", "KILL", everyone=True)
    wait_until(
        lambda: control.programs()["node-a/haproxy"].restarts > before.restarts, "it is noticed"
    )
    control.until_ready(PATIENCE_US, ["node-a/haproxy"])
    between = control.programs()["node-a/haproxy"]
    worker = ["sh", "-c", f"kill -9 $(cat /proc/{between.pid}/task/{between.pid}/children)"]
    assert control.run("node-a", worker)[0] == 0
    wait_until(
        lambda: control.programs()["node-a/haproxy"].restarts > between.restarts, "it is noticed"
    )
    control.until_ready(PATIENCE_US, ["node-a/haproxy"])


def test_a_frozen_worker_does_not_outlive_its_master(sandbox: RunningSandbox) -> None:
    control = sandbox.control
    before = control.programs()["node-b/haproxy"]
    children = f"/proc/{before.pid}/task/{before.pid}/children"
    worker = control.run("node-b", ["cat", children])[1].strip()
    assert control.run("node-b", ["sh", "-c", f"kill -STOP {worker}"])[0] == 0
    control.send("node-b/haproxy", "KILL")
    wait_until(
        lambda: control.programs()["node-b/haproxy"].restarts > before.restarts, "it is noticed"
    )
    gone = ["sh", "-c", f"test ! -e /proc/{worker} || grep -q '^State:.Z' /proc/{worker}/status"]
    wait_until(lambda: control.run("node-b", gone)[0] == 0, "the worker is gone")
    control.until_ready(PATIENCE_US, ["node-b/haproxy"])


@pytest.mark.parametrize(
    "wish",
    [
        b"nonsense\n",
        b"[]\n",
        b'{"do": "dance"}\n',
        b'{"do": "signal", "program": "node-z/shop", "signal": "KILL"}\n',
        b'{"do": "signal", "program": "node-a/shop", "signal": "SMOKE"}\n',
        b'{"do": "ready"}\n',
        b'{"do": "run", "member": "node-a", "command": ["no-such-thing"], "within_us": 9000000}\n',
        b'{"do": "run", "member": "node-z", "command": ["true"], "within_us": 9000000}\n',
    ],
)
def test_a_senseless_wish_is_refused_and_the_next_one_served(
    sandbox: RunningSandbox, wish: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(sandbox.folder / "control.sock"))
        with connection.makefile("rwb") as stream:
            stream.write(wish)
            stream.flush()
            answer = json.loads(stream.readline())
            assert answer.get("error") or answer.get("code") == 127, answer
            stream.write(b'{"do": "programs"}\n')
            stream.flush()
            assert json.loads(stream.readline())["ok"] is True


def test_outages_are_seen_when_nobody_switches(sandbox: RunningSandbox) -> None:
    """The observer can fail: with both instances of a service dead, it must report an outage."""
    instances = ["node-a/orders", "node-b/orders"]
    for instance in instances:
        sandbox.control.hold(instance)
    begin_at = sandbox.control.send("node-a/orders", "KILL").begin_at
    sandbox.control.send("node-b/orders", "KILL")
    until = SystemClock().now() + SECOND
    records = sandbox.recorded_until(until)
    for instance in instances:
        sandbox.control.release(instance)
    sandbox.control.until_ready(PATIENCE_US, instances)
    sandbox.until_serving()
    seen = summarise([r for r in records if r.scheduled_at >= begin_at])
    assert seen.safe_failed > 0
    assert seen.outage_us >= 500 * MILLISECOND


def test_three_nodes_share_the_work_by_another_haproxy_and_logs_are_kept(tmp_path: Path) -> None:
    # The system's where it is installed; else the wheel's under another name.
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        (tmp_path / "haproxy").symlink_to(find_tools(None).haproxy)
        program = str(tmp_path / "haproxy")
    kept = tmp_path / "kept"
    line = ("--nodes", "3", "--keep-logs", str(kept), "--haproxy", program)
    with running_sandbox(*line, *INFRASTRUCTURE) as running:
        content = json.loads((running.folder / "sandbox.json").read_bytes())
        assert content["tools"]["haproxy"] == program
        until = SystemClock().now() + 2 * SECOND
        shares = distribution(running.recorded_until(until), "shop")
        assert set(shares) == {"node-a", "node-b", "node-c"}
        folder = running.folder
    assert not folder.exists()
    assert (kept / "node-c.shop.log").read_text()


def test_two_at_once_do_not_meet(sandbox: RunningSandbox) -> None:
    first, runtime = sandbox, sandbox.folder.parent.parent
    with running_sandbox(*INFRASTRUCTURE, runtime=runtime) as second:
        assert first.folder.name == "sandbox"
        assert second.folder.name == "sandbox-2"
        assert not in_namespace(namespace_of(first.launcher)) & in_namespace(
            namespace_of(second.launcher)
        )
        common = json.loads((runtime / "equipoise" / "context.json").read_bytes())
        assert common["run_directory"] == str(first.folder)
        # Same addresses, and yet each client is answered by its own instances only.
        until = SystemClock().now() + SECOND
        for running, other in ((first, second), (second, first)):
            records = running.recorded_until(until)
            assert audit_orders(records, running.journals()).ok
            done_there = {order for journal in other.journals().values() for order in journal}
            assert not {r.order for r in records if not r.safe and r.ok} & done_there


def test_a_taken_name_is_refused(sandbox: RunningSandbox) -> None:
    with (
        tempfile.TemporaryFile() as said,
        launched(("--name", "sandbox"), sandbox.folder.parent.parent, said) as second,
    ):
        assert second.wait(PATIENCE_S) == MachineError.exit_code
        said.seek(0)
        assert b"a sandbox named sandbox runs already" in said.read()
    assert sandbox.context["pid"] == sandbox.launcher.pid  # and the first has lost nothing


@pytest.mark.parametrize("whom", ["root or whoever runs this", "an ordinary user"])
def test_killed_with_9_it_leaves_nothing_and_the_next_one_serves(whom: str) -> None:
    with ordinary_user_if(whom) as user, runtime_directory(user.owner) as runtime:
        with running_sandbox(*INFRASTRUCTURE, runtime=runtime, whom=user) as running:
            namespace = namespace_of(running.launcher)
            assert len(in_namespace(namespace)) > 8
            running.launcher.kill()
            running.launcher.wait()
            wait_until(lambda: not in_namespace(namespace), "no process is left")
            left = running.folder
        assert left.is_dir()
        with running_sandbox(*INFRASTRUCTURE, runtime=runtime, whom=user) as next_one:
            # The name is free again, so what was there has been removed.
            assert next_one.folder == left
            assert next_one.launcher.pid == next_one.context["pid"]
            assert_serves(next_one)
            if user.owner is not None:
                assert next_one.folder.stat().st_uid == user.owner
        assert {path.name for path in (runtime / "equipoise").iterdir()} == {"lock"}


def assert_serves(running: RunningSandbox) -> None:
    """Look at a second of its clients' requests."""
    until = SystemClock().now() + SECOND
    records = running.recorded_until(until)
    seen = summarise([r for r in records if r.scheduled_at > until - SECOND])
    assert seen.sent > 0
    assert seen.failed == 0
    assert audit_orders(records, running.journals()).ok


def ordinary_user_if(whom: str) -> AbstractContextManager[As]:
    return ordinary_user() if whom == "an ordinary user" else nullcontext(As())


@contextmanager
def several(count: int) -> Iterator[list[RunningSandbox]]:
    """Run some of them, which start together."""
    with ExitStack() as stack, ThreadPoolExecutor(count) as threads:
        starting = [
            threads.submit(lambda: stack.enter_context(running_sandbox(*INFRASTRUCTURE)))
            for _ in range(count)
        ]
        yield [each.result() for each in starting]


def test_when_the_inside_is_killed_everything_ends() -> None:
    victims: dict[str, Callable[[subprocess.Popen[bytes]], int]] = {
        "process 1": first_process,
        "its child that works": lambda launcher: children_of(first_process(launcher))[0],
        "its parent": lambda launcher: children_of(launcher.pid)[0],
    }
    with several(len(victims)) as sandboxes:
        for (victim, found), running in zip(victims.items(), sandboxes, strict=True):
            namespace = namespace_of(running.launcher)
            os.kill(found(running.launcher), signal.SIGKILL)
            assert running.launcher.wait(PATIENCE_S) != 0, victim
            wait_until(lambda it=namespace: not in_namespace(it), f"{victim}: no process is left")  # type: ignore[misc]
            assert not running.folder.exists(), victim


def test_told_to_end_it_leaves_nothing() -> None:
    endings = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    with several(len(endings)) as sandboxes:
        for ending, running in zip(endings, sandboxes, strict=True):
            namespace = namespace_of(running.launcher)
            running.launcher.send_signal(ending)
            assert running.launcher.wait(PATIENCE_S) == 0, ending
            assert not in_namespace(namespace), ending
            assert not running.folder.exists(), ending
            assert not (running.folder.parent / "context.json").exists(), ending


def test_a_closed_terminal_ends_it() -> None:
    with runtime_directory() as runtime:
        terminal, inside = pty.openpty()
        launcher = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "services.sandbox", *INFRASTRUCTURE],
            cwd=ROOT,
            env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
            stdin=inside,
            stdout=inside,
            stderr=inside,
        )
        os.close(inside)
        try:
            seen = bytearray()
            while b"is ready" not in seen:
                assert select.select([terminal], [], [], 60)[0], "it says that it is ready"
                seen += os.read(terminal, 4096)
            (unshare,) = children_of(launcher.pid)
            (first,) = children_of(unshare)
            namespace = str(Path(f"/proc/{first}/ns/pid").readlink())
            os.close(terminal)
            launcher.wait(PATIENCE_S)
        finally:
            launcher.kill()
            launcher.wait()
        wait_until(lambda: not in_namespace(namespace), "no process is left")
        assert {path.name for path in (runtime / "equipoise").iterdir()} == {"lock"}


def test_traces_reach_a_collector_outside() -> None:
    received = threading.Event()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()
            received.set()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            with running_sandbox("--otlp", url, *INFRASTRUCTURE, "--rate", "0") as running:
                script = (
                    "import http.client as h; c = h.HTTPConnection('10.77.0.1', 4318, timeout=30);"
                    "c.request('POST', '/v1/traces', b'spans'); print(c.getresponse().status)"
                )
                code, out, complaint = running.control.run(
                    "node-a", [_python(running), "-c", script]
                )
                assert (code, out) == (0, "200\n"), complaint
                assert received.wait(PATIENCE_S)
        finally:
            server.shutdown()
            serving.join()


def test_too_long_a_path_for_sockets_is_refused_before_anything_starts() -> None:
    with runtime_directory() as runtime, tempfile.TemporaryFile() as said:
        deep = runtime / ("d" * 90)
        deep.mkdir()
        with launched(INFRASTRUCTURE, deep, said) as launcher:
            assert launcher.wait(PATIENCE_S) == MachineError.exit_code
        said.seek(0)
        assert b"is the kernel's limit" in said.read()
        assert {path.name for path in (deep / "equipoise").iterdir()} == {"lock"}
