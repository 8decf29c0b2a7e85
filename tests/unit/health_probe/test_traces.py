"""What an observer adds to the trace of an incident."""

from services.health_probe.core.events import IncidentHeard
from services.health_probe.core.probing import TRACED_MAX
from shared.messages.facts import Cost, EvidenceItem, Incident, IncidentState
from shared.messages.health import Evidence, Grade, Sign
from tests.unit.health_probe.observed import EVERY, HANGS, HERE, World, bad, ok


def incident(*evidence: Evidence, boot_id: str = "boot", observer: str = "a") -> IncidentHeard:
    return IncidentHeard(
        Incident(
            id="7K2F",
            trace_id="",
            planned=False,
            state=IncidentState.OPEN,
            service="shop",
            node="a",
            cause="",
            sentence="",
            began_wall_us=0,
            closed_wall_us=None,
            evidence=tuple(
                EvidenceItem(
                    observer=observer,
                    boot_id=boot_id,
                    sequence=each.sequence,
                    what="",
                    value="",
                    threshold="",
                    grade=each.grade,
                    sign=each.sign,
                    age_us=0,
                )
                for each in evidence
            ),
            phases=(),
            recovery=(),
            cost=Cost(requests=0, failed=0),
        )
    )


def hung_world() -> World:
    world = World()
    world.run_until_healthy()
    world.behave(HERE, HANGS)
    world.run(2 * EVERY)
    return world


def test_evidence_that_led_to_an_incident_becomes_a_span_from_the_first_sign_on() -> None:
    world = hung_world()
    said, said_at = world.said[-1], world.said_at[-1]
    world.on(incident(said), after_us=5_000)
    (span,) = world.spans
    assert (span.incident, span.evidence) == ("7K2F", said)
    assert (span.begin_at, span.end_at) == (said_at - said.first_age_us, said_at)


def test_it_is_recorded_once_however_often_the_incident_is_said() -> None:
    world = hung_world()
    for _ in range(3):
        world.on(incident(world.said[-1]))
    world.on(incident(*world.said[-2:]))
    assert [span.evidence for span in world.spans] == [world.said[-1], world.said[-2]]


def test_what_others_saw_or_we_in_another_life_is_not_ours() -> None:
    world = hung_world()
    world.on(incident(world.said[-1], observer="b"))
    world.on(incident(world.said[-1], boot_id="earlier"))
    assert world.spans == []


def test_good_evidence_leads_to_no_span() -> None:
    world = World()
    world.run_until_healthy()
    world.on(incident(*world.said))
    assert world.spans == []


def test_memory_is_bounded() -> None:
    world = World()
    for _ in range(TRACED_MAX):
        world.behave(HERE, bad(Sign.REFUSED))
        world.run(EVERY)
        world.behave(HERE, ok())
        world.run(EVERY)
    worst = [said for said in world.said if said.grade is not Grade.NONE]
    world.on(incident(*worst))
    assert len(world.state.trails) == len(world.state.traced) == TRACED_MAX
