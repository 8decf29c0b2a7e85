"""Who holds the virtual IPs of a sandbox that runs, what is said of them, and that none has two."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from services.sandbox.observers.judging import Overlap, Window, judge
from services.sandbox.observers.observations import Asked, Reader
from services.sandbox.parts import OBSERVATIONS
from shared.clock import SystemClock
from shared.instant import SECOND, Duration
from tests.e2e.running import RunningSandbox, wait_until

# What takes longest is a node's way home: it must have been well for a while, which a busy machine
# interrupts.
WITHIN_US: Duration = 90 * SECOND
HOME = {"web": "node-a", "api": "node-b"}
WEB, API = "10.78.0.201", "10.78.0.202"
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
    return running.equipoise("events", "--limit", "1000")[1]


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
