"""Whatever happens in whatever order, what a switcher promises holds after every step.

Commands come doubled, reordered and late; the disk fills; the load balancer freezes, restarts and
forgets; people meddle; the switcher crashes between any two actions. Checked after every action:

* persisted numbers strictly increase, over restarts too; no older one ever has an effect again
* what is applied was persisted before (persist before effect)
* no plan is acknowledged that is not the newest persisted
* nothing of ours leaves a service empty, and nobody's gate is opened but ours
* in the end, when all is quiet, the newest plan is in force
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import given, settings, strategies as st

from services.traffic_switcher.core import deadline
from services.traffic_switcher.core.installed import Gate, Target, targets
from services.traffic_switcher.core.state import Action, Apply, Persist, Say, Tick
from services.traffic_switcher.core.steps import Change
from shared.instant import MILLISECOND, MINUTE, SECOND
from shared.messages.traffic import Applied, Stage
from shared.rules import Admission, Rule, Rules, original
from tests.unit.traffic_switcher.play import NODES, OUT, Play, cluster, service

CLUSTER = cluster(service("shop"), service("books"))
TARGETS = [(name, node) for name in CLUSTER.services for node in NODES]

rule = st.one_of(
    st.integers(1, 100).map(lambda weight: Rule(Admission.SERVING, weight)),
    st.sampled_from([OUT, Rule(Admission.DRAINING, 0), Rule(Admission.STANDBY, 0)]),
)
rules = st.fixed_dictionaries(
    {name: st.fixed_dictionaries(dict.fromkeys(NODES, rule)) for name in CLUSTER.services}
)
number = st.tuples(st.integers(1, 3), st.integers(1, 4))
target = st.sampled_from(TARGETS)


def is_fit(wanted: Rules) -> bool:
    """Say whether rules leave something serving in every service."""
    return all(any(each.weight for each in of.values()) for of in wanted.values())


class World(Play):
    """A play that checks what is promised after every action, and can crash before any."""

    def __init__(self) -> None:
        self.fence = (0, 0)
        self.meddled: set[Target] = set()
        self.crash_before: type[Action] | None = None
        self.plans: dict[tuple[int, int], Rules] = {}
        self.applies = 0  # of the plan in force
        super().__init__(CLUSTER)

    def send(self, of: tuple[int, int], wanted: Rules) -> None:
        """Send a command; one number is always one plan, as from one arbiter."""
        self.command(of, self.plans.setdefault(of, wanted))

    def perform(self, action: Action) -> None:
        if self.crash_before is not None and isinstance(action, self.crash_before):
            self.crash_before = None
            raise _CrashedError
        if isinstance(action, Apply):
            self._perform_apply(action)
        else:
            super().perform(action)
        self._check_after(action)

    def calmly(self, do: Callable[[], object]) -> None:
        """Do something that may crash the switcher, which a supervisor then starts again."""
        try:
            do()
        except _CrashedError:
            self.start()

    # -- what can happen -----------------------------------------------------------------

    def meddle(self, where: Target, gate: Gate, weight: int) -> None:
        """Let a person change an instance."""
        shown = self.balancer.instances[where]
        self.balancer.instances[where] = replace(shown, gate=gate, weight=weight)

    def crash(self, before: type[Action]) -> None:
        """Let the switcher be killed before its next action of this kind."""
        self.crash_before = before

    def freeze(self, is_frozen: bool) -> None:  # noqa: FBT001 - drawn
        """Let the load balancer stop answering, or answer again."""
        self.balancer.answers = not is_frozen

    def fill_disk(self, is_full: bool) -> None:  # noqa: FBT001
        """Let the disk take nothing, or take again."""
        self.disk_full = is_full

    def confirm(self, confirms: bool) -> None:  # noqa: FBT001
        """Let verifications fail, or succeed again."""
        self.confirms = confirms

    def delay(self, is_delayed: bool) -> None:  # noqa: FBT001
        """Hold steps back, or let them go."""
        self.hold = (Apply,) if is_delayed else ()
        if not is_delayed:
            self.release()

    def forget(self, begun: Rules) -> None:
        """Let the load balancer restart with some other rules."""
        self.balancer.restart(begun)

    # -- what is promised ----------------------------------------------------------------

    def _perform_apply(self, action: Apply) -> None:
        is_current = action.number == self.state.memory.fence
        assert not is_current or (self.disk is not None and action.number == self.disk.fence)
        self.applies += is_current
        taken, applies = list(self.balancer.taken), self.applies
        super().perform(action)
        # Who is told that it was overtaken may apply the newer plan at once.
        assert is_current or self.applies > applies or self.balancer.taken == taken

    def _check_after(self, action: Action) -> None:
        on_disk = (0, 0) if self.disk is None else self.disk.fence
        assert on_disk >= self.fence
        self.fence = on_disk
        if isinstance(action, Say) and isinstance(action.message, Applied):
            said = action.message
            done = said.stage is not Stage.FAILED
            assert not done or (said.epoch, said.sequence) == on_disk


class _CrashedError(Exception):
    """The switcher was killed here."""


event = st.one_of(
    st.tuples(st.just("send"), number, rules),
    st.tuples(st.just("pass_time"), st.sampled_from([MILLISECOND, 60 * MILLISECOND, 2 * SECOND])),
    st.tuples(st.just("meddle"), target, st.sampled_from(Gate), st.integers(0, 256)),
    st.tuples(st.just("crash"), st.sampled_from([Persist, Apply, Say])),
    st.tuples(st.just("start")),
    st.tuples(st.just("forget"), rules),
    st.tuples(st.just("freeze"), st.booleans()),
    st.tuples(st.just("fill_disk"), st.booleans()),
    st.tuples(st.just("confirm"), st.booleans()),
    st.tuples(st.just("delay"), st.booleans()),
)


def happen(world: World, what: tuple[Any, ...]) -> None:
    """Let one thing happen."""
    kind, *values = what
    world.calmly(lambda: getattr(world, kind)(*values))


@settings(max_examples=300, deadline=None)
@given(st.lists(event, max_size=25))
def test_what_is_promised_holds_after_every_step(events: list[tuple[Any, ...]]) -> None:
    world = World()
    for what in events:
        happen(world, what)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(event, max_size=20),
    rules.filter(is_fit),
)
def test_when_all_is_quiet_the_newest_plan_is_in_force(
    events: list[tuple[Any, ...]], wanted: Rules
) -> None:
    world = World()
    for what in events:
        happen(world, what)
    world.crash_before, world.disk_full, world.confirms = None, False, True
    world.balancer.answers = True
    world.release()
    world.pass_time(2 * SECOND)
    world.send((9, 9), wanted)
    world.pass_time(3 * MINUTE)
    assert world.state.memory.fence == (9, 9)
    alone = world.state.memory.theirs
    for where, expected in targets(wanted):
        if where in alone or any(name == where[0] for name, _ in alone):
            continue
        shown = world.balancer.instances[where]
        if expected.admission is Admission.SERVING:
            assert (shown.gate, shown.weight) == (Gate.OPEN, expected.weight)
        elif expected.admission is Admission.DRAINING:
            assert shown.gate is Gate.DRAINING
        else:
            assert shown.gate is Gate.CLOSED
    if not alone:
        assert world.applied[-1] == ((9, 9), "verified")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(number, rules), min_size=1, max_size=12), st.data())
def test_doubled_and_reordered_commands_end_where_the_newest_alone_would(
    commands: list[tuple[tuple[int, int], Rules]], data: st.DataObject
) -> None:
    plans = dict(commands)
    straight, muddled = World(), World()
    for of in sorted(of for of, wanted in plans.items() if is_fit(wanted))[-1:]:
        straight.send(of, plans[of])
    for of in data.draw(st.permutations([*plans, *plans])):
        muddled.send(of, plans[of])
    for world in (straight, muddled):
        world.pass_time(2 * SECOND)
    assert gates(straight) == gates(muddled)
    assert straight.state.memory.fence == muddled.state.memory.fence


def gates(world: World) -> dict[Target, Gate]:
    """Return who receives requests in a world."""
    return {where: shown.gate for where, shown in world.balancer.instances.items()}


@settings(max_examples=200, deadline=None)
@given(rules, st.sets(target))
def test_nothing_of_ours_leaves_a_service_empty(wanted: Rules, meddled: set[Target]) -> None:
    world = World()
    world.send((1, 1), original(CLUSTER))
    world.pass_time(SECOND)
    for where in meddled:
        world.balancer.instances[where] = replace(world.balancer.instances[where], gate=Gate.CLOSED)
    world.pass_time(SECOND)
    open_before = _with_open(world)
    world.send((1, 2), wanted)
    world.pass_time(5 * SECOND)
    assert open_before <= _with_open(world)
    opened = {step.target for step in world.balancer.taken if step.change is Change.OPEN}
    assert not opened & meddled


def _with_open(world: World) -> set[str]:
    return {
        name for (name, _), shown in world.balancer.instances.items() if shown.gate is Gate.OPEN
    }


@settings(max_examples=100, deadline=None)
@given(rules)
def test_following_twice_changes_nothing_the_second_time(wanted: Rules) -> None:
    world = World()
    world.send((1, 1), wanted)
    world.pass_time(SECOND)
    world.balancer.taken.clear()
    world.send((1, 1), wanted)
    world.start()
    world.pass_time(5 * SECOND)
    assert world.balancer.taken == []


@settings(max_examples=100, deadline=None)
@given(st.lists(event, max_size=20))
def test_it_never_spins(events: list[tuple[Any, ...]]) -> None:
    world = World()
    for what in events:
        happen(world, what)
    world.crash_before = None
    ticks = 0
    until = world.now + 10 * SECOND
    while (due := deadline(world.state)) is not None and due <= until:
        world.now = max(world.now, due)
        world.feed(Tick())
        ticks += 1
        assert ticks < 2_000
