"""What an engine says of a container, and what it is worth against an instance."""

from dataclasses import replace

import pytest

from services.health_probe.core import container
from services.health_probe.core.container import Container, Phase
from services.health_probe.core.events import ContainerSeen, EngineSeen
from services.health_probe.core.readiness import engine
from shared.cluster import Contained, Identity, Unhealthy
from shared.health import Check
from shared.instant import SECOND
from shared.messages.health import Grade, Sign, Verdict
from tests.fakes.fake_engine import FakeContainer
from tests.unit.health_probe.observed import (
    HERE,
    THERE,
    World,
    bad,
    cluster,
    identity_read,
    ok,
    service,
)

RUNNING = Container(phase=Phase.RUNNING, image="image sha256:c0ffee", restarts=0)
DIED = Container(phase=Phase.STOPPED, detail="container shop died", value="exit code 1")
PAUSED = Container(phase=Phase.PAUSED, detail="container shop was paused", value="paused")
ILL = replace(RUNNING, unhealthy=True, detail="container shop is unhealthy", value="unhealthy")


def world(unhealthy: Unhealthy = Unhealthy.SUSPICIOUS, identity: Identity | None = None) -> World:
    contained = Contained(container="shop-{node}", unhealthy=unhealthy)
    shop = replace(service(identity=identity), docker=contained)
    found = World(cluster=cluster(shop))
    found.on(ContainerSeen(HERE, RUNNING))
    found.run_until_healthy()
    return found


# -- evidence --------------------------------------------------------------------------------------


def test_a_death_that_the_engine_tells_is_conclusive_on_the_event() -> None:
    here = world()
    index = len(here.said)
    here.on(ContainerSeen(HERE, DIED))
    (said,) = here.since(index)
    assert (said.verdict, said.grade, said.sign) == (
        Verdict.UNHEALTHY,
        Grade.CONCLUSIVE,
        Sign.STOPPED,
    )
    assert (said.detail, said.value) == ("container shop died", "exit code 1")
    assert said.threshold == "a container that does not run is conclusive"


@pytest.mark.parametrize("seen", [DIED, PAUSED])
def test_no_answer_makes_an_instance_healthy_whose_container_does_not_run(seen: Container) -> None:
    here = world()
    here.on(ContainerSeen(HERE, seen))
    here.run(3 * SECOND)  # in which every probe is answered
    judged = here.instance().judgement
    assert (judged.verdict, judged.grade, judged.detail) == (
        Verdict.UNHEALTHY,
        Grade.CONCLUSIVE,
        seen.detail,
    )


def test_that_it_runs_again_is_a_hint_and_the_probes_say_when_it_is_well() -> None:
    here = world()
    here.on(ContainerSeen(HERE, DIED))
    here.behave(HERE, bad(Sign.STATUS))
    here.on(ContainerSeen(HERE, RUNNING))
    here.run(SECOND)
    assert here.instance().judgement.verdict is Verdict.UNHEALTHY
    here.behave(HERE, ok())
    here.run_until_healthy()


def test_a_death_is_said_once_however_often_it_is_told() -> None:
    here = world()
    here.on(ContainerSeen(HERE, DIED))
    index = len(here.said)
    here.on(ContainerSeen(HERE, replace(DIED, detail="container shop is exited")))
    here.run(2 * SECOND)
    assert here.since(index) == []


def test_a_restart_that_comes_before_the_look_leaves_the_death_said() -> None:
    here = world()
    index = len(here.said)
    here.on(ContainerSeen(HERE, DIED))
    here.on(ContainerSeen(HERE, replace(RUNNING, restarts=1)))
    assert here.instance().judgement.verdict is Verdict.UNHEALTHY
    here.run_until_healthy()
    assert [each.verdict for each in here.since(index)][-1] is Verdict.HEALTHY


def test_a_loop_of_restarts_is_told_with_its_count() -> None:
    here = world()
    here.on(ContainerSeen(HERE, replace(RUNNING, restarts=7)))
    here.on(ContainerSeen(HERE, DIED))
    expected = "container shop died; restarted 7 times by the engine"
    assert here.said[-1].detail == expected


def test_without_an_engine_the_probes_alone_decide() -> None:
    here = world()
    here.on(ContainerSeen(HERE, DIED))
    here.on(EngineSeen("there is no socket"))
    here.on(ContainerSeen(HERE, Container()))
    here.run_until_healthy()


@pytest.mark.parametrize(
    ("worth", "verdict", "grade"),
    [
        (Unhealthy.IGNORED, Verdict.HEALTHY, Grade.NONE),
        (Unhealthy.SUSPICIOUS, Verdict.UNHEALTHY, Grade.SUSPICIOUS),
        (Unhealthy.CONCLUSIVE, Verdict.UNHEALTHY, Grade.CONCLUSIVE),
    ],
)
def test_a_containers_own_check_is_worth_what_is_configured(
    worth: Unhealthy, verdict: Verdict, grade: Grade
) -> None:
    here = world(worth)
    here.on(ContainerSeen(HERE, ILL))
    here.run(2 * SECOND)  # in which every probe is answered
    judged = here.instance().judgement
    assert (judged.verdict, judged.grade) == (verdict, grade)
    here.on(ContainerSeen(HERE, replace(RUNNING, restarts=0)))
    here.run_until_healthy()


def test_a_refusal_outweighs_a_suspicion_of_the_containers_own_check() -> None:
    here = world()
    here.on(ContainerSeen(HERE, ILL))
    here.behave(HERE, bad(Sign.REFUSED))
    here.run(SECOND)
    assert here.instance().judgement.sign is Sign.REFUSED
    assert here.instance().judgement.grade is Grade.CONCLUSIVE


def test_our_own_lateness_does_not_excuse_a_container_that_died() -> None:
    here = world()
    here.late_us = SECOND // 2
    here.on(ContainerSeen(HERE, DIED))
    here.run(SECOND)
    assert not here.instance().judgement.abstains
    assert here.instance().judgement.verdict is Verdict.UNHEALTHY


# -- identity --------------------------------------------------------------------------------------


def test_an_image_alone_is_an_identity_and_only_of_what_is_healthy() -> None:
    here = world(identity=Identity(path=None, header=None, every_us=SECOND, image=True))
    assert here.said[-1].identity == "image sha256:c0ffee" or any(
        each.identity == "image sha256:c0ffee" for each in here.said
    )
    assert here.reading == []
    here.on(ContainerSeen(HERE, DIED))
    assert here.said[-1].identity is None


def test_an_image_and_a_version_are_known_together_or_not_at_all() -> None:
    here = world(identity=Identity(path="/version", header=None, every_us=SECOND, image=True))
    assert set(here.reading) == {HERE}  # of another node's instance only half could be known
    assert all(each.identity is None for each in here.said if each.node == THERE.node)
    here.on(identity_read("1.4.2"))
    assert here.said[-1].identity == "1.4.2, image sha256:c0ffee"


def test_an_image_outlives_the_engines_absence_until_the_instance_is_in_doubt() -> None:
    here = world(identity=Identity(path=None, header=None, every_us=SECOND, image=True))
    here.on(ContainerSeen(HERE, Container()))
    assert here.instance().container.image == "image sha256:c0ffee"
    here.behave(HERE, bad(Sign.REFUSED))
    here.run(SECOND)
    assert here.instance().container.image is None


# -- readiness -------------------------------------------------------------------------------------


def asked(here: World) -> tuple[Check, ...]:
    return tuple(engine(here.state.instances, here.state.engine_trouble))


def test_what_keeps_the_engine_from_being_asked_is_a_reason_not_to_be_ready() -> None:
    here = world()
    assert [check.failure for check in asked(here)] == [""]
    here.on(EngineSeen("there is no socket"))
    assert [check.failure for check in asked(here)] == ["there is no socket"]
    here.on(EngineSeen(""))
    here.on(ContainerSeen(HERE, container.missing("shop-a")))
    (check,) = asked(here)
    assert "there is no container named shop-a" in check.failure


def test_who_has_no_containers_has_no_check_of_them() -> None:
    assert asked(World()) == ()


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "attributes", "phase", "detail"),
    [
        ("die", {"exitCode": "137"}, Phase.STOPPED, "died, exit code 137 (SIGKILL)"),
        ("die", {"exitCode": "3"}, Phase.STOPPED, "died, exit code 3"),
        ("die", {}, Phase.STOPPED, "died, exit code "),
        ("kill", {"signal": "9"}, Phase.STOPPED, "was killed by the engine (SIGKILL)"),
        ("kill", {"signal": "SIGKILL"}, Phase.STOPPED, "was killed by the engine (SIGKILL)"),
        ("pause", {}, Phase.PAUSED, "was paused"),
    ],
)
def test_an_event_that_is_conclusive_is_told_in_words(
    action: str, attributes: dict[str, str], phase: Phase, detail: str
) -> None:
    found = container.heard(action, {"name": "shop", **attributes}, out_of_memory=False)
    assert found is not None
    assert (found.phase, found.detail) == (phase, f"container shop {detail}")


@pytest.mark.parametrize(
    ("action", "attributes"),
    [
        ("kill", {"signal": "1"}),  # how a server is told to read its configuration again
        ("kill", {"signal": "15"}),  # it may take its time, and ends in `die`
        ("oom", {}),  # of any process in there
        ("start", {}),
        ("unpause", {}),
        ("health_status: unhealthy", {}),
    ],
)
def test_an_event_that_proves_nothing_by_itself_is_a_reason_to_look(
    action: str, attributes: dict[str, str]
) -> None:
    assert container.heard(action, {"name": "shop", **attributes}, out_of_memory=False) is None


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ("running", Phase.RUNNING),
        ("paused", Phase.PAUSED),
        ("exited", Phase.STOPPED),
        ("dead", Phase.STOPPED),
        ("restarting", Phase.STOPPED),
        ("removing", Phase.STOPPED),
        ("created", Phase.STOPPED),
        ("levitating", Phase.UNKNOWN),
    ],
)
def test_a_look_shows_whether_a_container_runs(status: str, phase: Phase) -> None:
    found = container.seen("shop", FakeContainer("shop", status=status).inspected())
    assert found.phase is phase
    assert bool(found.trouble) is (phase is Phase.UNKNOWN)
    assert found.image == "image sha256:c0ffeec0ffee"


@pytest.mark.parametrize(
    "answer",
    [{}, {"State": None}, {"State": []}, {"State": {"Status": 7, "Health": "?"}, "Image": 3}],
)
def test_an_answer_that_is_not_what_it_should_be_proves_nothing(answer: dict[str, object]) -> None:
    assert container.seen("shop", answer).phase is Phase.UNKNOWN


def test_a_container_that_ran_out_of_memory_says_so() -> None:
    ended = FakeContainer("shop", status="exited", exit_code=137, out_of_memory=True)
    found = container.seen("shop", ended.inspected())
    expected = "container shop is exited after it ran out of memory, exit code 137 (SIGKILL)"
    assert found.detail == expected


def test_after_a_kill_its_death_is_waited_for() -> None:
    found = container.heard("kill", {"name": "shop", "signal": "9"}, out_of_memory=False)
    assert not container.leaves_open("kill", found)  # a look would still show it running


@pytest.mark.parametrize(
    ("action", "attributes"),
    [("kill", {"signal": "15"}), ("die", {"exitCode": "137"}), ("pause", {}), ("start", {})],
)
def test_after_every_other_event_it_is_looked_at(action: str, attributes: dict[str, str]) -> None:
    found = container.heard(action, {"name": "shop", **attributes}, out_of_memory=False)
    assert container.leaves_open(action, found)
