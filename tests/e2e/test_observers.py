"""The observers, on real kernels: what is planted is seen, by both pairs of eyes."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.sandbox.network import vips
from services.sandbox.observers.judging import Watched, Window, judge
from services.sandbox.observers.observations import Asked, Look, Reader
from services.sandbox.parts import OBSERVER_PLAN
from shared.clock import SystemClock
from shared.instant import MILLISECOND, SECOND
from tests.e2e.running import RunningSandbox, running_sandbox, wait_until
from tests.eventually import PATIENCE_US

pytestmark = pytest.mark.sandbox

NODES = ("node-a", "node-b")
CLOCK = SystemClock()
# What is looked for lasts many times longer than the observers' looks are apart, on a busy machine
# too; and an IPv6 address needs a moment until it is answered for.
LONG_S = 1.0
# As the switcher's guard looks from outside: a table, and sets whose elements end by themselves.
GUARD = """
table inet equipoise {
  set lease4 { type ipv4_addr; flags timeout; }
  set lease6 { type ipv6_addr; flags timeout; }
}
"""
NFT = """
import ctypes, sys
nft = ctypes.CDLL("libnftables.so.1")
nft.nft_ctx_new.restype = ctypes.c_void_p
context = ctypes.c_void_p(nft.nft_ctx_new(0))
sys.exit(-nft.nft_run_cmd_from_buffer(context, sys.argv[1].encode()))
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox("--only", "infrastructure", "--rate", "0", "--ipv6") as running:
        yield running


def python(running: RunningSandbox) -> str:
    content = json.loads((running.folder / "sandbox.json").read_bytes())
    return str(content["tools"]["python"])


def run(running: RunningSandbox, node: str, *command: str) -> None:
    code, out, complaints = running.control.run(node, list(command))
    assert code == 0, out + complaints


def give(running: RunningSandbox, node: str, vip: str) -> None:
    found = vips(NODES, ipv6=True)[vip]
    address = f"{found.address}/{found.prefix}"
    duplicates = ["nodad"] if ":" in address else []
    run(running, node, "ip", "address", "add", address, "dev", "eth1", *duplicates)


def take(running: RunningSandbox, node: str, vip: str) -> None:
    found = vips(NODES, ipv6=True)[vip]
    run(running, node, "ip", "address", "del", f"{found.address}/{found.prefix}", "dev", "eth1")


def nft(running: RunningSandbox, node: str, text: str) -> None:
    run(running, node, python(running), "-c", NFT, text)


class Seen:
    """What the observers wrote while they ran."""

    def __init__(self, path: Path) -> None:
        self.begin_at = CLOCK.now()
        self._path = path

    def judged(self, *names: str) -> Watched:
        reader = Reader(self._path)
        observations = reader.read()
        reader.close()
        window = Window(
            begin_at=min(x.at if isinstance(x, Asked) else x.begin_at for x in observations),
            end_at=max(x.at for x in observations if isinstance(x, Asked)),
            fault_at=self.begin_at,
            nodes=NODES,
            vips=names,
        )
        return judge(observations, window)

    def until_asked_after(self, instant: int) -> None:
        reader = Reader(self._path)
        try:
            wait_until(
                lambda: any(isinstance(x, Asked) and x.at > instant for x in reader.read()),
                "the observers have seen it all",
            )
        finally:
            reader.close()

    def last_of(self, node: str) -> Look:
        return [x for x in self.looks() if x.node == node][-1]

    def looks(self) -> list[Look]:
        reader = Reader(self._path)
        found = [x for x in reader.read() if isinstance(x, Look)]
        reader.close()
        return found


@contextmanager
def observing(running: RunningSandbox) -> Iterator[Seen]:
    """Run the observers until they have seen all that is done in the block."""
    path = running.folder / "observations.jsonl"
    path.unlink(missing_ok=True)
    command = ["sh", "-c", 'echo $$ >"$0"; exec "$@"', str(running.folder / "observers.pid")]
    command += [python(running), "-m", "services.sandbox.observers"]
    command += ["--plan", str(running.folder / OBSERVER_PLAN), "--observations", str(path)]
    codes: list[int] = []

    def observe() -> None:
        from services.sandbox.control import SOCKET, Control  # noqa: PLC0415 - a socket of its own

        with Control(running.folder / SOCKET) as control:
            codes.append(control.run("witness", command, 4 * PATIENCE_US)[0])

    thread = threading.Thread(target=observe)
    thread.start()
    try:
        wait_until(lambda: path.exists() and path.stat().st_size > 0, "the observers run")
        seen = Seen(path)
        yield seen
        seen.until_asked_after(CLOCK.now())
        assert codes == []  # they end when they are told to, and not before
    finally:
        pid = (running.folder / "observers.pid").read_text().strip()
        running.control.run("witness", ["kill", pid])
        thread.join()


@pytest.mark.parametrize("vip", ["web", "web6"])
def test_two_nodes_with_the_address_and_no_guard_are_seen_by_both(
    sandbox: RunningSandbox, vip: str
) -> None:
    give(sandbox, "node-a", vip)
    with observing(sandbox) as seen:
        give(sandbox, "node-b", vip)
        given_at = CLOCK.now()
        threading.Event().wait(LONG_S)
        still_at = CLOCK.now()
        take(sandbox, "node-b", vip)
        taken_at = CLOCK.now()
    take(sandbox, "node-a", vip)
    found = seen.judged(vip)
    assert found.unobserved == ()
    assert {overlap.seen_by for overlap in found.overlaps} == {"guards", "wire"}
    assert {overlap.holders for overlap in found.overlaps} == {NODES}
    assert found.overlap_us is not None
    assert (still_at - given_at) // 2 <= found.overlap_us <= taken_at - seen.begin_at


def test_a_move_in_good_order_is_no_overlap_and_its_darkness_is_measured(
    sandbox: RunningSandbox,
) -> None:
    give(sandbox, "node-a", "web")
    with observing(sandbox) as seen:
        wait_until(lambda: any("web" in x.holds for x in seen.looks()), "it is held")
        fault_at = CLOCK.now()
        take(sandbox, "node-a", "web")
        threading.Event().wait(LONG_S)
        give(sandbox, "node-b", "web")
        moved_at = CLOCK.now()
    take(sandbox, "node-b", "web")
    seen.begin_at = fault_at
    found = seen.judged("web")
    assert (found.unobserved, found.overlaps, found.overlap_us) == ((), (), 0)
    least_us, most_us = 900 * MILLISECOND, moved_at - fault_at + SECOND
    assert least_us <= found.dark_us["web"] <= most_us
    elsewhere = found.elsewhere_us["web"]
    assert elsewhere is not None
    assert least_us <= elsewhere <= most_us


def test_a_lease_in_the_kernel_ends_without_a_word_and_is_seen_to_end(
    sandbox: RunningSandbox,
) -> None:
    give(sandbox, "node-a", "web")
    nft(sandbox, "node-a", GUARD)
    with observing(sandbox) as seen:
        wait_until(lambda: any(x.guarded for x in seen.looks()), "the guard is seen")
        assert not any("web" in x.holds for x in seen.looks() if x.node == "node-a")
        nft(sandbox, "node-a", "add element inet equipoise lease4 { 10.78.0.201 timeout 1s }")
        wait_until(lambda: any("web" in x.holds for x in seen.looks()), "the lease is seen")
        wait_until(lambda: "web" not in seen.last_of("node-a").holds, "and its end")
    nft(sandbox, "node-a", "delete table inet equipoise")
    take(sandbox, "node-a", "web")
    held = [x for x in seen.looks() if "web" in x.holds]
    assert {x.node for x in held} == {"node-a"}
    assert sum(x.events for x in seen.looks()) > 0
    length_us = held[-1].begin_at - held[0].end_at
    assert 500 * MILLISECOND <= length_us <= 1_020 * MILLISECOND


def test_where_nobody_has_the_address_nothing_is_claimed(sandbox: RunningSandbox) -> None:
    with observing(sandbox) as seen:
        pass
    found = seen.judged("web")
    assert found.overlap_us is None
    assert "nobody ever answered for web" in found.unobserved
