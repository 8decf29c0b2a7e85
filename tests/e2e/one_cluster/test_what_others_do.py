"""What others do to a node's addresses, rule sets, wires and disks: repaired, or said, never a war.

What leaves a node shunned for a minute comes last.
"""

import pytest

from services.sandbox.supervisor import Stage
from tests.e2e.holding import (
    API,
    WEB,
    WITHIN_US,
    alarms,
    events,
    has,
    holders,
    nft,
    one_holder_at_most,
    run,
    theirs,
    until,
    until_home,
)
from tests.e2e.running import RunningSandbox

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

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
