"""What is told every second: all of a small cluster, of a large one what matters and its turn."""

from collections.abc import Mapping

from services.traffic_switcher.core.pace import LOOK_EVERY_US
from services.traffic_switcher.core.telling import WHOLE_MAX, told_loads, told_rules
from shared.messages.traffic import InstanceLoad, Plan, Record, ServiceLoad
from shared.rules import Admission, Rule

NOW = 1_000 * LOOK_EVERY_US
SERVING, OUT = Rule(Admission.SERVING, 100), Rule(Admission.OUT, 0)


def rules_of(services: int, nodes: int) -> dict[str, dict[str, Rule]]:
    return {f"s{k}": {f"n{n}": SERVING for n in range(nodes)} for k in range(services)}


def loads_of(rules: Mapping[str, Mapping[str, Rule]]) -> dict[str, ServiceLoad]:
    load = InstanceLoad(requests=7, errors=0, sessions=0, up=True)
    return {
        name: ServiceLoad(requests=70, failed=0, instances=dict.fromkeys(of_service, load))
        for name, of_service in rules.items()
    }


def plan_of(rules: Mapping[str, Mapping[str, Rule]], *failed: str) -> Plan:
    records = tuple(
        Record(
            service=name,
            node="n0",
            incident="ABC123",
            cause="refused",
            opened_wall_us=0,
            relapses=0,
            moves_us=(),
        )
        for name in failed
    )
    return Plan(epoch=1, sequence=1, services=rules, reason="", records=records)


def test_everything_is_told_of_a_small_cluster() -> None:
    rules = rules_of(20, WHOLE_MAX // 20)
    loads = loads_of(rules)
    assert told_loads(loads, rules, plan_of(rules), NOW) == loads
    assert told_rules(rules, rules) == rules


def test_totals_are_told_of_every_service_and_instances_in_turn() -> None:
    rules = rules_of(20, 50)
    loads = loads_of(rules)
    seen = set()
    for second in range(5):
        told = told_loads(loads, rules, plan_of(rules), NOW + second * LOOK_EVERY_US)
        assert {name: load.requests for name, load in told.items()} == dict.fromkeys(loads, 70)
        with_instances = {name for name, load in told.items() if load.instances}
        assert sum(len(load.instances) for load in told.values()) <= WHOLE_MAX
        seen |= with_instances
    assert seen == set(loads)


def test_the_instances_of_a_service_in_an_incident_are_told_every_time() -> None:
    rules = rules_of(20, 50)
    for second in range(5):
        at = NOW + second * LOOK_EVERY_US
        told = told_loads(loads_of(rules), rules, plan_of(rules, "s13"), at)
        assert len(told["s13"].instances) == 50


def test_of_services_too_large_for_a_turn_one_is_told_at_a_time() -> None:
    rules = rules_of(3, 2 * WHOLE_MAX)
    told = told_loads(loads_of(rules), rules, None, NOW)
    assert sum(bool(load.instances) for load in told.values()) == 1


def test_rules_are_written_out_where_they_are_not_those_that_are_wanted() -> None:
    wanted = rules_of(20, 50)
    installed = {**wanted, "s3": {**wanted["s3"], "n4": OUT}}
    assert told_rules(wanted, wanted) == {}
    assert told_rules(installed, wanted) == installed
