"""Whatever is said on the bus in our formats, every answer can be given, and every screen drawn."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import jsonschema
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from services.cli.look import Look, cleaned
from services.cli.reference import schemas
from services.cli.views.events import event_lines, incident_lines
from services.cli.views.explain import explain_lines
from services.cli.views.rules import rules_lines
from services.cli.views.status import status_lines
from services.cli.views.why import why_lines
from services.console.core.history import history
from services.console.core.incidents import in_full, listed
from services.console.core.rule_rows import rule_rows
from services.console.core.status import overrides, status
from services.console.core.view import Past, Tick, Unread, decide
from services.console.core.why import why
from services.console.shell import HEARD
from shared.messages.codec import NUMBER_MAX
from shared.messages.table import Message
from shared.rules import Admission, Rule
from tests.fakes.situations import WALL
from tests.unit.console.play import START, begun, said

SCHEMAS = {
    name: jsonschema.Draft202012Validator(schema) for name, schema in schemas(closed=True).items()
}
LOOK = Look(colour=True)
# Names that exist here are as likely as any others: only they reach deep.
NAMES = st.sampled_from(["node-a", "node-b", "witness", "shoes", "orders", "7K2F0A", "", "x"])
RULES = st.one_of(
    st.builds(Rule, st.just(Admission.SERVING), st.integers(1, 100)),
    st.sampled_from([Rule(Admission.OUT, 0), Rule(Admission.STANDBY, 0)]),
)


def any_of(kind: Any) -> st.SearchStrategy[Any]:
    """Return what the codec would let through for a field of a type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Rule:
        return RULES
    if origin in (Union, UnionType):
        (inner,) = (item for item in arguments if item is not NoneType)
        return st.none() | any_of(inner)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return st.lists(any_of(arguments[0]), max_size=3).map(tuple)
        return st.tuples(*(any_of(item) for item in arguments))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(NAMES, any_of(arguments[1]), max_size=3)
    if is_dataclass(kind) and isinstance(kind, type):
        return record(kind)
    return scalar(kind)


def scalar(kind: type) -> st.SearchStrategy[Any]:
    if kind is str:
        return NAMES | st.text(max_size=20)
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(0, 3) | st.integers(-NUMBER_MAX, NUMBER_MAX)
    assert issubclass(kind, StrEnum)
    return st.sampled_from(list(kind))


def record(kind: type[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    assert all(item.init or item.default is MISSING for item in fields(kind))
    return st.builds(kind, **{item.name: any_of(hints[item.name]) for item in fields(kind)})


MESSAGES = st.sampled_from(HEARD).flatmap(record)
TIMES = st.sampled_from(["2026-11-19T04:12:08Z", "yesterday", "", "2026-11-19T04:12:08"])


# Shrinking such messages takes minutes, and the traceback says enough.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@settings(
    max_examples=60,
    deadline=None,
    phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    messages=st.lists(st.tuples(MESSAGES, TIMES, st.integers(0, 2_000_000)), max_size=8),
    late_us=st.integers(0, 10_000_000),
)
def test_whatever_is_said_every_answer_can_be_given_and_drawn(
    messages: list[tuple[Message, str, int]], late_us: int
) -> None:
    state, now = begun(), START
    for number, (message, time, later_us) in enumerate(messages):
        now += later_us
        heard = said(message, time=time)
        event = Past(heard=(heard,), done=False) if number % 3 == 0 else heard
        state, _ = decide(state, event, now)
        state, _ = decide(state, Tick(bus=True) if number % 2 else Unread(), now)
    now += late_us
    shown = checked("status", status(state, now, WALL))
    assert shown["verdict"] != "serving" or late_us <= 3_000_000
    status_lines(cleaned(shown), LOOK)
    rows = checked("rules", rule_rows(state, now))
    rules_lines(cleaned(rows), LOOK, only_differences=True)
    checked("maintenance-list", overrides(state, now, WALL))
    for target in ("node-a", "witness", "shoes", "orders/node-b", "web"):
        answer = why(state, target, now, WALL)
        assert answer is not None
        why_lines(cleaned(checked("why", answer)), LOOK)
    found = history(state, since_wall_us=None, incident="7k2f0a", limit=50)
    event_lines(cleaned(checked("events", found))["events"], LOOK)
    incident_lines(cleaned(checked("incidents", listed(state, WALL))), LOOK)
    for remembered in state.incidents.values():
        explain_lines(cleaned(checked("explain", in_full(state, remembered, WALL))), LOOK)


def checked(name: str, answer: Any) -> Any:
    """Return an answer as it comes out of JSON, having held it against its schema."""
    read = json.loads(json.dumps(answer))
    SCHEMAS[name].validate(read)
    return read
