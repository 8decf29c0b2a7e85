"""What others do to a node's addresses, rule sets, wires and disks: repaired, or said, never a war.

One sandbox for all, in this order: what leaves a node shunned for a minute comes last.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from services.sandbox.network import hardware
from services.sandbox.observers.judging import Overlap, Window, judge
from services.sandbox.observers.observations import Asked, Reader
from services.sandbox.parts import OBSERVATIONS
from services.sandbox.supervisor import Stage
from shared.clock import SystemClock
from shared.instant import SECOND, Duration
from tests.e2e.running import RunningSandbox, running_sandbox, wait_until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

# What takes longest is a node's way home: it must have been well for a while, which a busy machine
# interrupts.
WITHIN_US: Duration = 90 * SECOND
HOME = {"web": "node-a", "api": "node-b"}
WEB, API = "10.78.0.201", "10.78.0.202"
A, B = "10.78.0.11", "10.78.0.12"
FOREIGN = """
table inet admin {
  set friends { type ipv4_addr; elements = { 10.78.0.202, 192.0.2.1 }; }
  chain input {
    type filter hook input priority 0; policy accept;
    ip saddr @friends counter
  }
}
table arp admin {
  chain out { type filter hook output priority 5; policy accept; }
}
"""
# The machine that runs the tests need not have the program `nft`.
NFT = """
import ctypes, sys
nft = ctypes.CDLL("libnftables.so.1")
nft.nft_ctx_new.restype = ctypes.c_void_p
nft.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
context = ctypes.c_void_p(nft.nft_ctx_new(0))
nft.nft_ctx_buffer_output(context)
nft.nft_ctx_output_set_flags(context, 1 << 2)  # without counts
code = nft.nft_run_cmd_from_buffer(context, sys.argv[1].encode())
print(nft.nft_ctx_get_output_buffer(context).decode())
sys.exit(-code)
"""
# A machine on the clients' network whose administrator gives it an address by hand.
STRANGER = """
unshare --net sleep infinity >/dev/null 2>&1 &
here=$(readlink /proc/self/ns/net)
until there=$(readlink /proc/$!/ns/net) && [ "$there" != "$here" ]; do :; done
ip link add stranger0 link probe0 address 02:00:00:ba:d0:02 type macvlan mode bridge
ip link set stranger0 netns $!
enter="nsenter --net=/proc/$!/ns/net"
$enter ip link set stranger0 up
$enter ip address add "$0/24" dev stranger0
echo $!
"""
STRANGERS = "02:00:00:ba:d0:02"
CLAIM = """
import socket, sys
ours, address = bytes.fromhex("020000bad001"), socket.inet_aton(sys.argv[1])
frame = b"\\xff" * 6 + ours + bytes.fromhex("08060001080006040001") + ours + address
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("probe0", 0))
wire.send(frame + bytes(6) + address)
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox("--rate", "100") as running:
        yield running


def run(running: RunningSandbox, member: str, *command: str) -> str:
    """Do something on a member as its administrator would."""
    code, out, complaints = running.control.run(member, list(command))
    assert code == 0, f"{command}: {out}{complaints}"
    return out


def nft(running: RunningSandbox, member: str, text: str) -> str:
    tools = json.loads((running.folder / "sandbox.json").read_bytes())["tools"]
    return run(running, member, str(tools["python"]), "-c", NFT, text)


def theirs(running: RunningSandbox) -> str:
    """Return the tables of somebody else."""
    return "".join(
        nft(running, "node-b", f"list table {family} admin") for family in ("inet", "arp")
    )


def status(running: RunningSandbox) -> dict[str, Any]:
    code, out, complaints = running.equipoise("status", "-o", "json")
    assert code in (0, 1), complaints
    found: dict[str, Any] = json.loads(out)
    return found


def holders(running: RunningSandbox) -> dict[str, str | None]:
    """Return who holds what, of what is answered."""
    return {vip["name"]: vip["holder"] for vip in status(running)["vips"] if vip["state"] == "held"}


def alarms(running: RunningSandbox) -> str:
    """Return all that `equipoise status` says, in a line."""
    return " ".join(running.equipoise("status")[1].split())


def events(running: RunningSandbox) -> str:
    return running.equipoise("events")[1]


def until(holds: Callable[[], bool], what: str) -> None:
    wait_until(holds, what, WITHIN_US)


def until_home(running: RunningSandbox) -> None:
    try:
        until(lambda: holders(running) == HOME, "both VIPs are home")
    except AssertionError as late:
        raise AssertionError(f"{late}: {alarms(running)}") from None


def has(running: RunningSandbox, member: str, address: str) -> bool:
    return f"inet {address}/" in run(running, member, "ip", "-4", "address", "show")


@contextmanager
def one_holder_at_most(
    running: RunningSandbox, nodes: tuple[str, ...] = ("node-a", "node-b")
) -> Iterator[None]:
    """See from outside that nothing is held by two while something is done."""
    begin_at = SystemClock().now()
    yield
    end_at = SystemClock().now()
    assert overlaps(running, begin_at, end_at, nodes) == ()


def overlaps(
    running: RunningSandbox, begin_at: int, end_at: int, nodes: tuple[str, ...]
) -> tuple[Overlap, ...]:
    path = running.folder / OBSERVATIONS
    found: list[Any] = []

    def complete() -> bool:
        found[:] = Reader(path).read()
        return any(isinstance(x, Asked) and x.at > end_at for x in found)

    until(complete, "the observers have seen it all")
    window = Window(
        begin_at=begin_at,
        end_at=end_at,
        fault_at=begin_at,
        nodes=nodes,
        vips=tuple(HOME),
    )
    return judge(found, window).overlaps


def test_a_cluster_that_starts_opens_no_incident(sandbox: RunningSandbox) -> None:
    until_home(sandbox)
    code, out, _ = sandbox.equipoise("incidents", "-o", "json")
    assert code == 0
    # A machine that starves at the start may have others: a lease that ran out, a hung process.
    causes = [incident["cause"] for incident in json.loads(out)["incidents"]]
    assert not [cause for cause in causes if "not started" in cause or "dead" in cause], causes


def test_a_foreign_claim_alarms_and_the_holder_claims_its_address_back(
    sandbox: RunningSandbox,
) -> None:
    until_home(sandbox)
    tools = json.loads((sandbox.folder / "sandbox.json").read_bytes())["tools"]

    def is_said() -> bool:
        # Whoever has the address claims it again and again; once, it may meet a busy machine's
        # moment in which nobody holds it, and is nobody's business.
        run(sandbox, "client", str(tools["python"]), "-c", CLAIM, WEB)
        return "02:00:00:ba:d0:01 on eth1 of node-a" in alarms(sandbox)

    until(is_said, "it is said")

    def known() -> str:
        return run(sandbox, "client", "ip", "neighbour", "show", WEB, "dev", "eth0")

    # Sooner than it is announced anyway while it is held.
    wait_until(lambda: hardware(A) in known(), "clients know the holder again", 10 * SECOND)
    assert "find the machine" in alarms(sandbox)
    assert "somebody else claims web" in events(sandbox)
    until_home(sandbox)


def test_the_address_given_by_hand_to_another_machine_alarms_as_long_as_it_is_there(
    sandbox: RunningSandbox,
) -> None:
    stranger = run(sandbox, "client", "sh", "-ec", STRANGER, WEB).strip()
    try:
        # Nobody announces an address that is given by hand: he is found since he answers, in a
        # second after the claim above, in 30 s in quiet times.
        named = f"{STRANGERS} on eth1 of node-a claims its address too"
        until(lambda: named in alarms(sandbox), "he is named")
        assert "take the address from it" in alarms(sandbox)
        until_home(sandbox)

        def known() -> str:
            return run(sandbox, "client", "ip", "neighbour", "show", WEB, "dev", "eth0")

        for _ in range(2):  # however often he answers a client
            run(sandbox, "client", "ip", "neighbour", "flush", "to", WEB)
            until(lambda: hardware(A) in known(), "clients know the holder again")
    finally:
        run(sandbox, "client", "kill", stranger)


def test_a_flushed_rule_set_is_made_anew_and_never_are_there_two_holders(
    sandbox: RunningSandbox,
) -> None:
    def stands(member: str) -> bool:
        return API in nft(sandbox, member, "list ruleset") or member == "node-a"

    with one_holder_at_most(sandbox):
        for member in ("node-a", "node-b"):
            nft(sandbox, member, "flush ruleset")
        for member in ("node-a", "node-b"):
            until(
                lambda member=member: "table inet equipoise" in nft(sandbox, member, "list tables"),  # type: ignore[misc]
                f"the guard of {member} stands again",
            )
        until(lambda: stands("node-b"), "what is leased is open again")
    assert "the guard of virtual IPs: table inet equipoise was removed" in events(sandbox)
    until_home(sandbox)
    nft(sandbox, "node-b", FOREIGN)


def test_a_strangers_address_is_named_and_left_alone(sandbox: RunningSandbox) -> None:
    run(sandbox, "node-a", "ip", "address", "add", f"{API}/24", "dev", "eth1")
    mend = f"remove it (ip address delete {API}/24 dev eth1)"
    with one_holder_at_most(sandbox):
        until(lambda: mend in alarms(sandbox), "it is said what it is and how to mend it")
        until_home(sandbox)
        assert has(sandbox, "node-a", API)  # it is not ours to remove
    run(sandbox, "node-a", "ip", "address", "delete", f"{API}/24", "dev", "eth1")
    until(lambda: mend not in alarms(sandbox), "it is over")


def test_an_interface_that_comes_back_under_another_name_has_the_vip_again(
    sandbox: RunningSandbox,
) -> None:
    steps = "ip link set eth1 down && ip link set eth1 name wan0 && ip link set wan0 up"
    with one_holder_at_most(sandbox):
        run(sandbox, "node-b", "sh", "-c", steps)
        until(lambda: "has no carrier: mend its cable" in events(sandbox), "it is given up")
        until_home(sandbox)
    assert f"{API}/32" in run(sandbox, "node-b", "ip", "address", "show", "wan0")


def test_what_cannot_be_persisted_is_not_said_and_the_lease_runs_out(
    sandbox: RunningSandbox,
) -> None:
    state = str(sandbox.folder / "node-b" / "state")
    steps = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"'
    run(sandbox, "node-b", "sh", "-c", steps, state)
    said = events(sandbox).count("released api")
    with one_holder_at_most(sandbox):
        run(sandbox, "node-b", "ip", "address", "add", f"{API}/24", "dev", "wan0")
        until(lambda: holders(sandbox).get("api") == "node-a", "the lease has run out")
        assert events(sandbox).count("released api") == said
    until(lambda: "Read-only file system" in alarms(sandbox), "the disk is named")
    run(sandbox, "node-b", "ip", "address", "delete", f"{API}/24", "dev", "wan0")
    run(sandbox, "node-b", "umount", state)
    until(lambda: events(sandbox).count("released api") > said, "the release is said late")
    until_home(sandbox)
    until(lambda: "Read-only" not in alarms(sandbox), "the disk is well again")


def test_on_a_full_disk_nothing_is_said_that_is_not_kept_and_with_room_it_goes_on(
    sandbox: RunningSandbox,
) -> None:
    state, switcher = str(sandbox.folder / "node-b" / "state"), "node-b/traffic_switcher"
    # What is there stays but for the floors, and there is room for nothing more.
    steps = """
        cp -a "$0" "$0.kept"
        mount -t tmpfs -o size=256k tmpfs "$0"
        cp -a "$0.kept/." "$0"
        rm "$0"/leases.*
        ! head -c 1M /dev/zero >"$0/full" 2>/dev/null
    """
    full = "No space left on device: make room on its file system"
    run(sandbox, "node-b", "sh", "-ec", steps, state)
    with one_holder_at_most(sandbox):
        run(sandbox, "node-b", "ip", "address", "add", f"{API}/24", "dev", "wan0")
        until(lambda: holders(sandbox).get("api") == "node-a", "the lease has run out")
        until(lambda: full in alarms(sandbox), "it is said what it is and how to mend it")
        run(sandbox, "node-b", "ip", "address", "delete", f"{API}/24", "dev", "wan0")
        # Without its memory it begins as a new member, and takes nothing before it has a plan.
        sandbox.control.send(switcher, "KILL")
        sandbox.control.until_ready(WITHIN_US, [switcher])
        run(sandbox, "node-b", "rm", f"{state}/full")
        until_home(sandbox)
    until(lambda: full not in alarms(sandbox), "with room it goes on")


def test_somebody_who_removes_an_address_in_a_loop_gets_three_repairs_and_an_alarm(
    sandbox: RunningSandbox,
) -> None:
    until_home(sandbox)

    def given_to_another() -> bool:
        # A removal that meets the address's regular renewal is made good without being noticed.
        if has(sandbox, "node-a", WEB):
            run(sandbox, "node-a", "ip", "address", "flush", "to", f"{WEB}/32")
        return holders(sandbox).get("web") == "node-b"

    with one_holder_at_most(sandbox):
        until(given_to_another, "it is given to another")
    told = events(sandbox)
    assert told.count("VIP web: its address was found removed (by someone else); repaired") == 3
    assert "left as it is" in told
    assert "find out who does it (ip monitor address)" in alarms(sandbox)


def test_tables_of_others_are_as_they_were_after_a_holder_was_stopped(
    sandbox: RunningSandbox,
) -> None:
    switcher = "node-b/traffic_switcher"
    before = theirs(sandbox)
    sandbox.control.hold(switcher)
    with one_holder_at_most(sandbox):
        sandbox.control.send(switcher, "TERM")
        sandbox.control.until_stage(switcher, Stage.HELD, WITHIN_US)
        until(lambda: holders(sandbox).get("api") == "node-a", "api has moved")
        assert not has(sandbox, "node-b", API)
    sandbox.control.release(switcher)
    sandbox.control.until_ready(WITHIN_US, [switcher])
    until(lambda: holders(sandbox).get("api") == "node-b", "api is home")
    assert theirs(sandbox) == before
    assert "10.78.0.202, 192.0.2.1" in before


def test_alarms_of_strangers_have_ended_with_them(sandbox: RunningSandbox) -> None:
    over = "a minute after they were last seen"
    wait_until(lambda: "claims its address" not in alarms(sandbox), over, 60 * SECOND + WITHIN_US)
