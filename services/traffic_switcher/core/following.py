"""What is installed against what is wanted: steps, drift, and what is said of them.

Rules 5 to 7 of `decisions`: differences that nobody ordered are drift; what somebody else closed
is left alone; a service is never left empty.
"""

from collections.abc import Iterable
from types import MappingProxyType
from typing import TypeAlias

from services.traffic_switcher.core.installed import (
    Gate,
    Installation,
    Target,
    rules_of,
    targets,
)
from services.traffic_switcher.core.pace import (
    DRAINED_AFTER_US,
    LOOK_EVERY_US,
    REPAIRS_MAX,
    REPAIRS_WINDOW_US,
    again,
)
from services.traffic_switcher.core.state import (
    Action,
    Apply,
    Doing,
    Say,
    State,
    Trace,
    elapsed,
)
from services.traffic_switcher.core.steps import TAKING, Change, Step, steps
from services.traffic_switcher.core.telling import told_loads, told_rules
from shared.frozen import replace
from shared.instant import Instant
from shared.messages.traffic import Applied, Drift, Measured, Plan, Stage
from shared.rules import Admission, Rule, Rules, digest, original_of
from shared.trace import SpanKind, sent_key

RECOVERY = "failback"  # the key of the span that covers an incident's end, as the arbiter draws it
DETAIL_MAX = 1_000  # of what a load balancer said, in a message

Decided: TypeAlias = tuple[State, tuple[Action, ...]]


def in_force(state: State) -> Rules:
    """Return the rules that this node follows: the plan's, or the original settings.

    A plan that was persisted under another configuration holds for the services that are still
    on the same nodes; it stays the fence in any case.
    """
    plan, cluster = state.memory.plan, state.cluster
    named = {} if plan is None else plan.services
    return {
        name: named[name]
        if {*named.get(name, ())} == {*cluster.nodes}
        else original_of(cluster, service)
        for name, service in cluster.services.items()
    }


def not_serving(rules: Rules) -> frozenset[Target]:
    """Return the instances whose gates we do not leave open."""
    return frozenset(t for t, rule in targets(rules) if rule.admission is not Admission.SERVING)


# -- the load balancer was read --------------------------------------------------------------


def shown(state: State, installation: Installation, now: Instant) -> Decided:
    """Compare what was read back with what is wanted, and take the next steps."""
    is_after_steps = state.applying == state.memory.fence
    restarted = installation.process != state.memory.process
    after, found = _recognise(replace(state, doing=Doing.NOTHING, applying=None), installation, now)
    after, measured = _measure(after, now)
    if fault := _fault(after, installation):
        after, failed = _failed(after, fault, now)
        prepare_at = now if after.failures == 1 else now + again(after.failures)
        after = replace(after, prepared=False, prepare_at=prepare_at)
        return after, (*found, *failed, *measured)
    if after.memory.plan is None:
        return replace(after, detail="", failures=0), (*found, *measured)
    work, left = _work(after, installation, now)
    if work and is_after_steps:
        text = "shows something else after the change: still to do: " + ", ".join(map(str, work))
        after, said = _failed(after, text, now)
    elif work:
        by = "restart of the load balancer" if restarted else "someone else"
        after, said = _begin(after, installation, work, by, now)
    else:
        after, said = _arrived(after, left, now)
    return after, (*found, *said, *measured)


def not_shown(state: State, detail: str, now: Instant) -> Decided:
    """Try again later; a plan that is under way has failed so far."""
    overtaken = state.applying is not None and state.applying != state.memory.fence
    after = replace(state, doing=Doing.NOTHING, applying=None, shown=None, repairing=())
    if overtaken:
        return replace(after, look_at=now), ()
    after, said = _failed(after, detail, now)
    after, measured = _measure(after, now)
    return after, (*said, *measured)


def _recognise(state: State, installation: Installation, now: Instant) -> Decided:
    """Keep what was shown: whose gates are whose (rule 6), and who is draining since when."""
    before, rules = state.memory, in_force(state)
    is_other_process = installation.process != before.process
    ours, theirs = set(before.ours), set(before.theirs)
    closing = dict(state.closing)
    for target, rule in targets(rules):
        instance = installation.instances.get(target)
        if instance is None:
            continue
        is_serving = rule.admission is Admission.SERVING
        if instance.gate is Gate.OPEN:
            theirs.discard(target)
            if is_serving:
                ours.discard(target)
        elif target not in theirs:
            (ours if is_other_process or target in ours or not is_serving else theirs).add(target)
        _keep_time(closing, target, instance.gate, rule, now)
    memory = replace(
        before, ours=frozenset(ours), theirs=frozenset(theirs), process=installation.process
    )
    new, gone = memory.theirs - before.theirs, before.theirs - memory.theirs
    drifts = (
        *(_drift(state, installation, t, "someone else", repaired=False) for t in sorted(new)),
        *(_drift(state, installation, t, "someone else", repaired=True) for t in sorted(gone)),
    )
    is_prepared = state.prepared and memory.theirs == before.theirs
    return replace(
        state,
        memory=memory,
        shown=installation,
        closing=MappingProxyType(closing),
        prepared=is_prepared,
        look_at=min([state.look_at, *(at for at in closing.values() if at > now)]),
    ), tuple(map(Say, drifts))


def _keep_time(
    closing: dict[Target, Instant], target: Target, gate: Gate, rule: Rule, now: Instant
) -> None:
    """Remember until when an instance that is to be closed still drains."""
    if gate is Gate.DRAINING and rule.admission in (Admission.OUT, Admission.STANDBY):
        closing.setdefault(target, now + DRAINED_AFTER_US)
    else:
        closing.pop(target, None)


def _fault(state: State, installation: Installation) -> str:
    """Return why this load balancer cannot follow any plan of ours ("" it can)."""
    if installation.outdated:
        return "runs another configuration than the one written here"
    missing = [t for t, _ in targets(in_force(state)) if t not in installation.instances]
    if missing:
        names = ", ".join("/".join(target) for target in missing[:3])
        return f"knows no {names}: it runs another configuration than the one written here"
    return ""


# -- steps -----------------------------------------------------------------------------------


def _work(
    state: State, installation: Installation, now: Instant
) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """Return the steps that may be taken now, and which services nothing may be closed in."""
    rules, theirs = in_force(state), state.memory.theirs
    drained = frozenset(target for target, due_at in state.closing.items() if now >= due_at)
    every = steps(state.cluster, rules, installation.instances, drained=drained)
    left = tuple(
        name
        for name, of_service in sorted(rules.items())
        if not any(
            rule.admission is Admission.SERVING and target not in theirs
            for target, rule in targets({name: of_service})
        )
    )
    return tuple(
        step
        for step in every
        if step.target not in theirs
        and (step.target[0] not in left or step.change in TAKING)
        and not _is_at_war(state, step, now)
    ), left


def _is_at_war(state: State, step: Step, now: Instant) -> bool:
    """Say whether this would be one repair too many."""
    if state.progress.installed_at is None or step.change is Change.CLOSE:
        return False
    return len(_recent(state.repairs.get(step.target, ()), now)) >= REPAIRS_MAX


def _begin(
    state: State, installation: Installation, work: tuple[Step, ...], by: str, now: Instant
) -> Decided:
    progress = state.progress
    if progress.installed_at is None:
        progress = replace(
            progress,
            stepped_at=now if progress.stepped_at is None else progress.stepped_at,
            steps=progress.steps + tuple(step for step in work if step not in progress.steps),
        )
        drifts: tuple[Drift, ...] = ()
    else:
        # A close is the end of a drain that we began, never a drift.
        drifted = sorted({step.target for step in work if step.change is not Change.CLOSE})
        drifts = tuple(_drift(state, installation, t, by, repaired=True) for t in drifted)
    number = state.memory.fence
    after = replace(
        state, progress=progress, doing=Doing.APPLYING, applying=number, repairing=drifts
    )
    return after, (Apply(number, work),)


def _arrived(state: State, left: tuple[str, ...], now: Instant) -> Decided:
    """Nothing is left to do: say what was repaired, what is left alone, what is installed."""
    after, said = _repaired(state, now)
    after, alarms = _alarms(after, now)
    if left:
        names = ", ".join(left)
        text = f"{names} would be left with nothing: someone else closed all that should serve"
        after, failed = _failed(after, text, now)
        return after, (*said, *alarms, *failed)
    after = replace(after, failures=0, detail=after.unprepared)
    if after.progress.installed_at is not None:
        return after, (*said, *alarms)
    progress = replace(after.progress, installed_at=now)
    after = replace(after, progress=progress, verify_at=now)
    alone = ", ".join("/".join(target) for target in sorted(after.memory.theirs))
    detail = f"left alone, because someone else closed it: {alone}" if alone else ""
    after, installed = say(after, Stage.INSTALLED, detail)
    return after, (*said, *alarms, *installed, *_installation_spans(after))


# -- drift -----------------------------------------------------------------------------------


def _repaired(state: State, now: Instant) -> Decided:
    repairs = {
        target: recent for target, times in state.repairs.items() if (recent := _recent(times, now))
    }
    for drift in state.repairing:
        target = (drift.service, drift.target)
        repairs[target] = (*repairs.get(target, ()), now)
    after = replace(
        state,
        repairing=(),
        repairs=MappingProxyType(repairs),
        alarmed=state.alarmed & frozenset(repairs),
    )
    return after, tuple(map(Say, state.repairing))


def _alarms(state: State, now: Instant) -> Decided:
    """Say once of each drift that it is left alone for a while because it keeps coming back."""
    shown_now, rules = state.shown, in_force(state)
    assert shown_now is not None
    new = {
        step.target
        for step in steps(state.cluster, rules, shown_now.instances, drained=frozenset())
        if step.target not in state.memory.theirs and _is_at_war(state, step, now)
    } - state.alarmed
    by = "someone else: it keeps coming back"
    said = tuple(Say(_drift(state, shown_now, t, by, repaired=False)) for t in sorted(new))
    return replace(state, alarmed=state.alarmed | new), said


def _recent(times: Iterable[Instant], now: Instant) -> tuple[Instant, ...]:
    return tuple(at for at in times if now - at < REPAIRS_WINDOW_US)


def _drift(
    state: State, installation: Installation, target: Target, by: str, *, repaired: bool
) -> Drift:
    service, node = target
    rule, instance = in_force(state)[service][node], installation.instances[target]
    weight = f", weight {instance.weight}" if instance.gate is Gate.OPEN else ""
    return Drift(
        node=state.node,
        service=service,
        target=node,
        wanted=_words(rule),
        installed=f"{instance.gate}{weight}",
        repaired=repaired,
        by=by,
    )


def _words(rule: Rule) -> str:
    weight = f", weight {rule.weight}" if rule.weight else ""
    return f"{rule.admission}{weight}"


# -- what is said ----------------------------------------------------------------------------


def say(state: State, stage: Stage, detail: str) -> Decided:
    """Say how far the plan in force has come, once for each step and reason."""
    plan = state.memory.plan
    assert plan is not None
    message = applied(state, plan, stage, detail)
    if state.said is not None and (state.said.stage, state.said.detail) == (stage, message.detail):
        return state, ()
    return replace(state, said=message), (Say(message),)


def applied(state: State, plan: Plan, stage: Stage, detail: str) -> Applied:
    """Return how far a plan has come here, as a message."""
    progress = state.progress
    return Applied(
        node=state.node,
        boot_id=state.boot_id,
        epoch=plan.epoch,
        sequence=plan.sequence,
        stage=stage,
        digest=_digest(state),
        incident=plan.incident,
        detail=detail[:DETAIL_MAX],
        persist_us=elapsed(progress.received_at, progress.persisted_at),
        install_us=elapsed(progress.persisted_at, progress.installed_at),
        verify_us=elapsed(progress.installed_at, progress.verified_at),
    )


def _failed(state: State, detail: str, now: Instant) -> Decided:
    failures = state.failures + 1
    after = replace(
        state,
        failures=failures,
        detail=detail[:DETAIL_MAX],
        repairing=(),
        look_at=min(state.look_at, now + again(failures)),
    )
    if state.memory.plan is None or state.progress.installed_at is not None:
        return after, ()
    return say(after, Stage.FAILED, detail)


def _measure(state: State, now: Instant) -> Decided:
    """Say the full picture, every second, also when there is none."""
    if now < state.measure_at or (state.shown is not None and not state.shown.loads):
        return state, ()
    epoch, sequence = state.memory.fence
    confirmed, shown, wanted = state.confirmed_at, state.shown, in_force(state)
    rules = {} if shown is None else rules_of(shown, wanted)
    measured = Measured(
        node=state.node,
        boot_id=state.boot_id,
        epoch=epoch,
        sequence=sequence,
        digest="" if shown is None else digest(rules),
        balancer_ok=shown is not None and not shown.outdated,
        balancer_detail=state.detail,
        services={} if shown is None else told_loads(shown.loads, wanted, state.memory.plan, now),
        installed=told_rules(rules, wanted),
        verified_age_us=None if confirmed is None else now - confirmed,
    )
    return replace(state, measure_at=now + LOOK_EVERY_US), (Say(measured),)


def _digest(state: State) -> str:
    return "" if state.shown is None else digest(rules_of(state.shown, in_force(state)))


def _installation_spans(state: State) -> tuple[Action, ...]:
    plan, progress = state.memory.plan, state.progress
    assert plan is not None
    assert progress.installed_at is not None
    if plan.incident is None or not progress.is_new:
        return ()
    number: dict[str, str | int] = {"epoch": plan.epoch, "sequence": plan.sequence}
    key = f"switch/{state.node}/{plan.epoch}.{plan.sequence}"
    whole = Trace(
        incident=plan.incident,
        name=f"switch {state.node}",
        key=key,
        parent="switch" if progress.is_failover else RECOVERY,
        begin_at=progress.received_at,
        end_at=progress.installed_at,
        attributes=number,
        kind=SpanKind.CONSUMER,
        link=sent_key(f"command.{state.node}", plan.number),
    )
    begin_at = progress.installed_at if progress.stepped_at is None else progress.stepped_at
    parts = tuple(
        replace(
            whole,
            name=str(step),
            key=f"{key}/{step}",
            parent=key,
            begin_at=begin_at,
            kind=SpanKind.CLIENT,  # of HAProxy
            link="",
        )
        for step in progress.steps
    )
    return (whole, *parts)
