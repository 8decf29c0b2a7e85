"""The driver against HAProxy, real and fake: reading, changing, preparing, and wrong answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from services.traffic_switcher.adapters.haproxy import HaproxyDriver
from services.traffic_switcher.adapters.haproxy_program import HaproxyProgram
from services.traffic_switcher.adapters.haproxy_socket import ANSWER_MAX
from services.traffic_switcher.core.installed import Gate, Instance, rules_of
from services.traffic_switcher.core.steps import Change, Step, steps
from shared.errors import SwitchError
from shared.instant import SECOND
from shared.rules import digest, original
from shared.settings import Settings
from tests.integration.haproxy import programs
from tests.integration.traffic_switcher.stage import CLOCK, PROGRAMS, fake_stage, stage
from tests.unit.traffic_switcher.play import DRAIN, OUT, SERVE, changed

KINDS = ("fake", *PROGRAMS)
SHOP_B = ("shop", "node-b")


@dataclass
class Before:
    """A driver and what it drives."""

    driver: HaproxyDriver
    settings: Settings
    say: Callable[[str], str]  # what somebody else says to the command line


@asynccontextmanager
async def before(kind: str) -> AsyncIterator[Before]:
    """Set up one kind of HAProxy with the original rules."""
    if kind == "fake":
        async with fake_stage() as (fake, driver, settings):
            yield Before(driver, settings, fake.ask)
        return
    async with stage(kind) as made:
        await made.driver.prepare(original(made.cluster), frozenset(), keep=False)
        await asyncio.to_thread(made.haproxy.start)
        yield Before(made.driver, made.settings, made.haproxy.ask)


def play(kind: str, scene: Callable[[Before], Awaitable[None]]) -> None:
    """Run a scene before one kind of HAProxy."""

    async def run() -> None:
        async with before(kind) as made:
            await scene(made)

    asyncio.run(run())


every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_a_fresh_one_shows_the_original_rules(kind: str) -> None:
    async def scene(made: Before) -> None:
        wanted = original(made.settings.cluster)
        shown = await made.driver.read(counters=True)
        assert digest(rules_of(shown, wanted)) == digest(wanted)
        assert not shown.outdated
        assert {*shown.loads} == {*wanted}
        assert {*shown.loads["shop"].instances} == {"node-a", "node-b"}

    play(kind, scene)


@every_kind
def test_steps_are_taken_and_read_back_at_once(kind: str) -> None:
    async def scene(made: Before) -> None:
        cluster = made.settings.cluster
        wanted = changed(
            cluster,
            {"shop": {"node-b": OUT}, "books": {"node-a": DRAIN, "node-b": SERVE}},
        )
        shown = await made.driver.read(counters=False)
        work = steps(cluster, wanted, shown.instances, drained=frozenset())
        after = await made.driver.apply(work, lambda: True)
        assert after is not None
        assert steps(cluster, wanted, after.instances, drained=frozenset()) == ()
        assert digest(rules_of(after, wanted)) == digest(wanted)

    play(kind, scene)


@every_kind
def test_every_change_shows_as_what_it_is(kind: str) -> None:
    async def scene(made: Before) -> None:
        for change, gate in (
            (Change.DRAIN, Gate.DRAINING),
            (Change.CLOSE, Gate.CLOSED),
            (Change.DRAIN, Gate.DRAINING),
            (Change.OPEN, Gate.OPEN),
            (Change.CLOSE, Gate.CLOSED),
            (Change.OPEN, Gate.OPEN),
        ):
            after = await made.driver.apply([Step(SHOP_B, change)], lambda: True)
            assert after is not None
            assert after.instances[SHOP_B].gate is gate
        after = await made.driver.apply([Step(SHOP_B, Change.WEIGH, 33)], lambda: True)
        assert after is not None
        assert after.instances[SHOP_B] == Instance(Gate.OPEN, 33, up=after.instances[SHOP_B].up)

    play(kind, scene)


@every_kind
def test_nothing_is_sent_when_it_may_not_be_any_more(kind: str) -> None:
    async def scene(made: Before) -> None:
        assert await made.driver.apply([Step(SHOP_B, Change.CLOSE)], lambda: False) is None
        shown = await made.driver.read(counters=False)
        assert shown.instances[SHOP_B].gate is Gate.OPEN

    play(kind, scene)


@every_kind
def test_what_somebody_else_does_is_seen(kind: str) -> None:
    async def scene(made: Before) -> None:
        made.say("set server shop/node-b state maint")
        shown = await made.driver.read(counters=False)
        assert shown.instances[SHOP_B].gate is Gate.CLOSED

    play(kind, scene)


@every_kind
def test_a_refusal_names_socket_command_and_words(kind: str) -> None:
    async def scene(made: Before) -> None:
        with pytest.raises(SwitchError) as caught:
            await made.driver.apply([Step(("shop", "node-z"), Change.OPEN)], lambda: True)
        text = str(caught.value)
        assert str(made.settings.run_directory / "haproxy.sock") in text
        assert 'refused "set server shop/node-z state ready": ' in text
        assert "No such server." in text

    play(kind, scene)


@every_kind
def test_hundreds_of_steps_are_taken_in_several_lines(kind: str) -> None:
    async def scene(made: Before) -> None:
        work = [Step(SHOP_B, Change.WEIGH, 1 + number % 100) for number in range(500)]
        after = await made.driver.apply(work, lambda: True)
        assert after is not None
        assert after.instances[SHOP_B].weight == 100

    play(kind, scene)


@every_kind
def test_another_structure_is_written_and_loaded(kind: str) -> None:
    async def scene(made: Before) -> None:
        settings = made.settings
        process = (await made.driver.read(counters=False)).process
        await made.driver.prepare(original(settings.cluster), frozenset(), keep=False)
        assert (await made.driver.read(counters=False)).process == process
        program = HaproxyProgram(Path("/bin/true") if kind == "fake" else programs()[kind])
        other_settings = replace(settings, key=b"another key")
        changed_driver = HaproxyDriver(other_settings, program, CLOCK)
        await changed_driver.prepare(original(settings.cluster), frozenset(), keep=False)
        shown = await changed_driver.read(counters=False)
        assert shown.process != process
        assert not shown.outdated
        assert (await made.driver.read(counters=False)).outdated

    play(kind, scene)


# -- wrong answers, of which only the fake is capable ------------------------------------------


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (b"", "nothing"),
        (b"\n", "nothing"),
        (b"Permission denied\n\n", "Permission denied"),
        (b"\x00\xff\xfe" * 1_000, 'refused "set severity-output number"'),
        (b"\n\x00\xff\xfe" * 1_000, "not such an answer"),
        (
            b"\n1\n# be_id be_name srv_name srv_op_state srv_admin_state srv_uweight\n",
            "not such an answer",
        ),
        (b"\n1\n# be_id be_name\n1 shop\n\nName: HAProxy\nPid: 1\n\n", "not such an answer"),
        (b"\n1\n# a b\n1 2 3\n\nName: HAProxy\nPid: 1\n\n", "not such an answer"),
        (b"\n1\n# be_id be_name srv_name\n\nName: HAProxy\n\n", "not such an answer"),
        (
            b"\n1\n# be_name srv_name srv_op_state srv_admin_state srv_uweight\n"
            b"shop a 2 " + b"9" * 5_000 + b" 1\n\nPid: 1\n\n",
            "not such an answer",
        ),
        (b"\nhello\n\nPid: 1\n\n", "not such an answer"),
        (b"\n" * 100_000, "nothing"),
    ],
)
def test_nonsense_is_named(said: bytes, complaint: str) -> None:
    async def run() -> None:
        async with fake_stage() as (fake, driver, _):
            fake.answers = lambda _: said
            with pytest.raises(SwitchError) as caught:
                await driver.read(counters=False)
            assert complaint in str(caught.value)
            assert "haproxy.sock" in str(caught.value)
            assert len(str(caught.value)) < 500
            fake.answers = None
            await driver.read(counters=False)

    asyncio.run(run())


def test_an_endless_answer_is_cut_off() -> None:
    async def run() -> None:
        async with fake_stage() as (fake, driver, _):
            fake.answers = lambda _: b"x" * 1_000_000
            fake.endless = True
            with pytest.raises(SwitchError, match=f"more than {ANSWER_MAX} bytes|did not answer"):
                await driver.read(counters=False)
            fake.endless = False

    asyncio.run(run())


def test_silence_is_an_error_after_half_a_second() -> None:
    async def run() -> None:
        async with fake_stage() as (fake, driver, _):
            fake.silent = True
            began_at = CLOCK.now()
            with pytest.raises(SwitchError, match="within 500 ms; is it frozen"):
                await driver.read(counters=False)
            assert CLOCK.now() - began_at < 5 * SECOND

    asyncio.run(run())


def test_a_socket_that_is_not_there_is_named() -> None:
    async def run() -> None:
        async with fake_stage() as (fake, driver, settings):
            await fake.stop()
            with pytest.raises(SwitchError, match="is it running"):
                await driver.read(counters=False)
            (settings.run_directory / "haproxy.sock").unlink(missing_ok=True)
            with pytest.raises(SwitchError, match="is not there: is it running"):
                await driver.read(counters=False)

    asyncio.run(run())


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_frozen_real_one_is_an_error_and_works_when_it_wakes(kind: str) -> None:
    async def run() -> None:
        async with stage(kind) as made:
            await made.begin()
            made.haproxy.freeze()
            with pytest.raises(SwitchError, match="is it frozen"):
                await made.driver.read(counters=False)
            made.haproxy.wake()
            await made.driver.read(counters=True)

    asyncio.run(run())


def test_a_haproxy_without_a_master_is_told_how_to_have_one() -> None:
    async def run() -> None:
        async with fake_stage() as (_, driver, settings):
            (settings.run_directory / "haproxy-master.sock").unlink()
            other = HaproxyDriver(
                replace(settings, key=b"another"), HaproxyProgram(Path("/bin/true")), CLOCK
            )
            with pytest.raises(SwitchError, match="must be started with -W -S"):
                await other.prepare(original(settings.cluster), frozenset(), keep=False)
            await driver.read(counters=False)

    asyncio.run(run())
