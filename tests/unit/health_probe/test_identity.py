"""What an instance says it is, and when it is asked."""

import pytest

from services.health_probe.core.events import LinkLost
from services.health_probe.core.identity import MISSES_MAX, RETRY_US, SHOWN_MAX, text
from shared.instant import SECOND
from shared.messages.health import Sign
from tests.unit.health_probe.observed import (
    EVERY,
    HERE,
    IDENTITY,
    THERE,
    World,
    bad,
    cluster,
    identity_read,
    ok,
    service,
)


def identified_world(*, links: bool = False) -> World:
    world = World(cluster(service(identity=IDENTITY)), links=links)
    world.run_until_healthy()
    world.on(identity_read("1.0"))
    world.on(identity_read("1.0", THERE))
    return world


def test_it_is_read_as_soon_as_the_instance_is_healthy_and_said_at_once() -> None:
    world = World(cluster(service(identity=IDENTITY)))
    world.run(EVERY)
    assert world.reading == []
    world.run_until_healthy()
    assert sorted(world.reading) == [HERE, THERE]
    world.on(identity_read("1.0"))
    assert world.said[-1].identity == "1.0"


def test_nothing_is_read_where_nothing_is_configured() -> None:
    world = World()
    world.run(60 * SECOND)
    assert world.reading == []


def test_it_is_read_again_after_its_interval() -> None:
    world = identified_world()
    before = len(world.reading)
    world.run(IDENTITY.every_us - SECOND)
    assert len(world.reading) == before
    world.run(SECOND + EVERY)
    assert len(world.reading) == before + 2


def test_an_instance_that_is_down_has_none_and_is_asked_at_its_return() -> None:
    world = identified_world()
    world.behave(HERE, bad(Sign.REFUSED))
    world.run(2 * EVERY)
    assert world.said[-1].identity is None
    before = len(world.reading)
    world.behave(HERE, ok())
    world.run(4 * EVERY)
    assert world.reading[before:] == [HERE]
    world.on(identity_read("1.1"))
    assert world.said[-1].identity == "1.1"


def test_what_was_asked_before_the_failure_is_not_believed_after_it() -> None:
    world = World(cluster(service(identity=IDENTITY)))
    world.run_until_healthy()
    world.behave(HERE, bad(Sign.REFUSED))
    world.run(2 * EVERY)
    world.behave(HERE, ok())
    world.run(4 * EVERY)
    world.on(identity_read("old"))
    assert world.said[-1].identity is None
    before = len(world.reading)
    world.run(2 * EVERY)
    assert world.reading[before:] == [HERE]


def test_it_is_read_again_when_the_kept_connection_was_lost() -> None:
    world = identified_world(links=True)
    before = len(world.reading)
    world.run(2 * SECOND)
    world.on(LinkLost(HERE, own=False))
    world.run(EVERY)
    assert world.reading[before:] == [HERE]
    assert world.said[-1].identity == "1.0"


def test_a_failed_reading_is_repeated_soon_and_believed_in_the_end() -> None:
    world = identified_world()
    world.run(IDENTITY.every_us + EVERY)
    for _ in range(MISSES_MAX - 1):
        world.on(identity_read(None))
        assert world.instance().identity.value == "1.0"
        before = world.reading.count(HERE)
        world.run(RETRY_US + EVERY)
        assert world.reading.count(HERE) == before + 1
    world.on(identity_read(None))
    assert world.said[-1].identity is None


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b"  1.0\n", "1.0"),
        ("v2", "v2"),
        (b"", None),
        (b" \r\n ", None),
        (b"x" * SHOWN_MAX, "x" * SHOWN_MAX),
    ],
)
def test_it_is_trimmed(raw: bytes | str, wanted: str | None) -> None:
    assert text(raw) == wanted


@pytest.mark.parametrize("raw", [b"x" * (SHOWN_MAX + 1), b"two\nlines", b"\xff\xfe\x00"])
def test_what_is_long_or_not_for_people_is_hashed(raw: bytes) -> None:
    hashed = text(raw)
    assert hashed is not None
    assert hashed.startswith("sha256:")
    assert len(hashed) == len("sha256:") + 32
    assert text(raw + b"!") != hashed
