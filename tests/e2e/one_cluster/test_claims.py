"""Other machines that claim a virtual IP: they are named, and clients find the holder again."""

import json

import pytest

from services.sandbox.network import hardware
from shared.instant import SECOND
from tests.e2e.holding import WEB, alarms, events, run, until, until_home
from tests.e2e.running import RunningSandbox, wait_until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

A = "10.78.0.11"
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
