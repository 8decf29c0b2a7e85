"""The lease loop of two switchers over a bus, on fake machines, with a scripted arbiter."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from shared.instant import MILLISECOND, SECOND
from shared.messages.leases import ClaimSeen, Held, Holding
from shared.messages.traffic import Drift
from tests.integration.traffic_switcher.lease_stage import API, WEB, Scene, scene
from tests.integration.traffic_switcher.stage import CLOCK


def play(test: Callable[[Scene], Awaitable[None]], *, join: bool = True) -> None:
    """Run a test on a scene of its own."""

    async def run() -> None:
        async with scene(join=join) as it:
            await test(it)

    asyncio.run(run())


def test_what_is_granted_is_taken_announced_and_answered() -> None:
    async def test(it: Scene) -> None:
        it.give("web", "node-a", (1, 2))
        await it.held("node-a", "web", Holding.ANSWERED)
        a, b = it.nodes["node-a"], it.nodes["node-b"]
        assert a.guard.is_open(WEB)
        assert a.addresses.is_there(WEB)
        assert a.announcer.said[0] == (WEB, "eth0")
        assert a.addresses.forgotten == [WEB]
        assert not b.guard.is_open(WEB)
        await it.until(lambda: it.beats["node-a"].vips["web"].answered_age_us is not None)

    play(test)


def test_a_move_shows_in_the_trace_of_its_incident() -> None:
    async def test(it: Scene) -> None:
        it.give("web", "node-a", (1, 2))
        await it.held("node-a", "web", Holding.ANSWERED)
        it.give("web", "node-b", (1, 3))
        await it.held("node-a", "web", Holding.RELEASED)
        await it.until(lambda: len(it.nodes["node-a"].spans.recorded) == 3)
        assert it.nodes["node-a"].spans.recorded == [
            ("take vip", "switch"),
            ("answer vip", "verify"),
            ("release vip", "switch"),
        ]

    play(test)


def test_a_lease_ends_when_the_arbiter_falls_silent() -> None:
    async def test(it: Scene) -> None:
        it.give("web", "node-a", (1, 2))
        await it.held("node-a", "web", Holding.ANSWERED)
        it.deaf = True
        await it.held("node-a", "web", Holding.LAPSED)
        assert not it.nodes["node-a"].guard.is_open(WEB)
        await it.until(lambda: not it.nodes["node-a"].addresses.is_there(WEB))
        it.deaf = False
        await it.until(lambda: it.nodes["node-a"].guard.is_open(WEB))

    play(test)


def test_a_planned_move_hands_open_connections_over() -> None:
    async def test(it: Scene) -> None:
        it.give("web", "node-a", (1, 2))
        await it.held("node-a", "web", Holding.ANSWERED)
        it.give("web", "node-b", (1, 3), previous="node-a", drain_us=400 * MILLISECOND)
        await it.held("node-a", "web", Holding.RELEASED)
        a, b = it.nodes["node-a"], it.nodes["node-b"]
        assert a.guard.serves_on(WEB)
        assert a.newcomers.passed == {WEB: ""}
        assert a.farewells.leaving == {WEB}
        a.announcer.claim(WEB, "02:00:00:00:00:0b")
        await it.until(lambda: a.newcomers.passed == {WEB: "02:00:00:00:00:0b"})
        assert a.addresses.is_there(WEB)
        await it.held("node-b", "web", Holding.ANSWERED)
        assert b.guard.hands_over_to(WEB) == it.nodes["node-a"].cluster.nodes["node-a"].address
        await it.held("node-a", "web", Holding.DRAINED)
        await it.until(lambda: not a.addresses.is_there(WEB))
        assert a.newcomers.passed == {}
        await it.until(lambda: a.farewells.leaving == frozenset())
        assert not b.addresses.is_there(API)

    play(test)


def test_a_dead_load_balancer_gives_its_vips_up_at_once_and_one_that_is_back_takes_new_ones() -> (
    None
):
    async def test(it: Scene) -> None:
        it.give("web", "node-a", (1, 2))
        await it.held("node-a", "web", Holding.ANSWERED)
        it.nodes["node-a"].balancer.say("dead: connection refused")
        held = await it.held("node-a", "web", Holding.RELEASED)
        assert held.reason == "load balancer dead: connection refused"
        assert not it.nodes["node-a"].guard.is_open(WEB)
        await it.until(lambda: it.beats["node-a"].balancer == "dead: connection refused")
        it.nodes["node-a"].balancer.say("")
        await it.until(lambda: not it.beats["node-a"].balancer)
        it.give("web", "node-a", (1, 3))
        await it.until(lambda: it.nodes["node-a"].guard.is_open(WEB))

    play(test)


def test_an_interface_without_carrier_gives_its_vips_up_at_once() -> None:
    async def test(it: Scene) -> None:
        it.give("web", "node-a", (1, 2))
        await it.held("node-a", "web", Holding.ANSWERED)
        it.nodes["node-a"].addresses.change(carrier=False, unfit="eth0 has no carrier")
        held = await it.held("node-a", "web", Holding.RELEASED)
        assert held.reason == "eth0 has no carrier"
        await it.until(lambda: it.beats["node-a"].vips["web"].unfit == "eth0 has no carrier")

    play(test)


def test_being_stopped_is_a_release_that_is_said() -> None:
    async def test(it: Scene) -> None:
        it.give("web", "node-a", (1, 2))
        await it.held("node-a", "web", Holding.ANSWERED)
        began_at = CLOCK.now()
        await it.nodes["node-a"].stop()
        assert CLOCK.now() - began_at < 10 * SECOND
        await it.held("node-a", "web", Holding.RELEASED)
        await it.until(lambda: it.beats["node-a"].leaving != "")
        await it.until(lambda: it.beats["node-a"].vips["web"].floor == (1, 2))
        assert not it.nodes["node-a"].guard.is_open(WEB)
        assert not it.nodes["node-a"].addresses.is_there(WEB)

    play(test)


def test_a_killed_switcher_starts_in_quarantine_and_is_granted_the_same_term_again() -> None:
    async def test(it: Scene) -> None:
        made = it.give("web", "node-a", (1, 2))
        await it.held("node-a", "web", Holding.ANSWERED)
        a = it.nodes["node-a"]
        await a.kill()
        it.deaf = True
        it.said.clear()
        assert a.addresses.is_there(WEB)
        assert a.guard.is_open(WEB)
        a.start(made)
        await it.until(lambda: not a.guard.is_open(WEB) and not a.addresses.is_there(WEB))
        it.deaf = False
        await it.held("node-a", "web", Holding.ANSWERED)

    play(test)


def test_a_torn_memory_is_none_and_only_new_terms_are_taken() -> None:
    async def test(it: Scene) -> None:
        made = it.give("web", "node-a", (1, 2))
        await it.held("node-a", "web", Holding.ANSWERED)
        a = it.nodes["node-a"]
        await a.kill()
        _tear(a.directory / "leases.1")
        a.start(made)
        await it.until(lambda: it.beats["node-a"].vips["web"].floor == (1, 2))
        assert not a.guard.is_open(WEB)
        it.give("web", "node-a", (1, 3))
        await it.until(lambda: a.guard.is_open(WEB))
        assert any("leases_unreadable" in line for line in a.log)

    play(test)


def test_who_never_persisted_a_plan_takes_nothing() -> None:
    async def test(it: Scene) -> None:
        it.given["web"] = ("node-a", (1, 1))
        await it.until(lambda: "node-a" in it.beats and it.beats["node-a"].number > 5)
        assert it.nodes["node-a"].guard.opened == []

    play(test, join=False)


def test_what_the_kernel_cannot_guard_is_written_once_and_vips_are_held() -> None:
    async def test(it: Scene) -> None:
        a = it.nodes["node-a"]
        a.guard.lacks = "what packet sockets send is not guarded: not supported"
        it.give("web", "node-a", (1, 2))
        await it.held("node-a", "web", Holding.ANSWERED)
        await it.until(lambda: any("packet sockets" in line for line in a.log))
        seen = it.beats["node-a"].number
        await it.until(lambda: it.beats["node-a"].number > seen + 3)
        assert sum("packet sockets" in line for line in a.log) == 1

    play(test)


def test_a_flushed_guard_is_made_anew_and_said() -> None:
    async def test(it: Scene) -> None:
        it.give("web", "node-a", (1, 2))
        await it.held("node-a", "web", Holding.ANSWERED)
        a = it.nodes["node-a"]
        a.guard.flush()
        await it.until(lambda: a.guard.stands and a.guard.is_open(WEB))
        await it.until(lambda: any(isinstance(m, Drift) for m in it.said))
        drift = next(m for m in it.said if isinstance(m, Drift))
        assert (drift.target, drift.repaired) == ("guard", True)
        assert "removed by somebody else" in drift.installed
        assert not _ended(it)

    play(test)


def test_somebody_who_flushes_the_guard_again_and_again_gets_no_war_but_an_alarm() -> None:
    async def test(it: Scene) -> None:
        it.give("web", "node-a", (1, 2))
        await it.held("node-a", "web", Holding.ANSWERED)
        a = it.nodes["node-a"]
        for _ in range(4):
            await it.until(lambda: a.guard.stands)
            a.guard.flush()
        held = await it.held("node-a", "web", Holding.RELEASED)
        assert "again and again" in held.reason
        await it.until(lambda: sum(isinstance(m, Drift) for m in it.said) == 4)
        assert [m.repaired for m in it.said if isinstance(m, Drift)] == [True, True, True, False]
        await it.until(lambda: "again and again" in it.beats["node-a"].guard_detail)
        await it.until(lambda: not a.addresses.is_there(WEB))

    play(test)


def test_an_address_of_nobody_that_somebody_adds_to_the_guard_ends_nothing() -> None:
    async def test(it: Scene) -> None:
        it.give("web", "node-a", (1, 2))
        await it.held("node-a", "web", Holding.ANSWERED)
        a, number = it.nodes["node-a"], it.beats["node-a"].number
        a.guard.add("192.0.2.9", 10 * SECOND)
        await it.until(lambda: it.beats["node-a"].number > number + 3)
        assert a.guard.is_open(WEB)
        assert not _ended(it)

    play(test)


def test_a_removed_address_is_put_back_announced_and_said() -> None:
    async def test(it: Scene) -> None:
        it.give("web", "node-a", (1, 2))
        await it.held("node-a", "web", Holding.ANSWERED)
        a = it.nodes["node-a"]
        announced = len(a.announcer.said)
        a.addresses.flush()
        await it.until(lambda: a.addresses.is_there(WEB) and len(a.announcer.said) > announced)
        await it.until(lambda: any(isinstance(m, Drift) for m in it.said))
        assert not _ended(it)

    play(test)


def test_a_foreign_claim_is_answered_and_said() -> None:
    async def test(it: Scene) -> None:
        it.give("web", "node-a", (1, 2))
        await it.held("node-a", "web", Holding.ANSWERED)
        a = it.nodes["node-a"]
        announced = len(a.announcer.said)
        a.announcer.claim(WEB, "02:00:00:00:00:99")
        await it.until(lambda: len(a.announcer.said) > announced)
        await it.until(lambda: any(isinstance(m, ClaimSeen) for m in it.said))
        seen = next(m for m in it.said if isinstance(m, ClaimSeen))
        assert (seen.vip, seen.hardware, seen.seen) == ("web", "02:00:00:00:00:99", 1)
        assert not _ended(it)

    play(test)


def test_a_machine_that_cannot_guard_is_unfit_and_says_how_to_mend_it() -> None:
    async def test(it: Scene) -> None:
        a = it.nodes["node-a"]
        await a.kill()
        a.lacks = "libnftables is missing; install it"
        it.beats.clear()
        a.start()
        await it.until(lambda: "node-a" in it.beats)
        assert it.beats["node-a"].vips["web"].unfit == a.lacks
        assert it.beats["node-a"].guard_detail == a.lacks
        a.lacks = ""
        await it.until(lambda: not it.beats["node-a"].guard_detail)

    play(test)


def _ended(it: Scene) -> list[Held]:
    ends = (Holding.RELEASED, Holding.LAPSED)
    return [m for m in it.said if isinstance(m, Held) and m.holding in ends]


def _tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])
