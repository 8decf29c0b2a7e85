"""What people ask: judged against what is safe, carried out, and undone only by people or time."""

from collections.abc import Callable

from services.arbiter.core.cases import Opening, amended, incident_id, opened
from services.arbiter.core.evidence import judge
from services.arbiter.core.failing import overridden
from services.arbiter.core.plans import (
    Why,
    mirror_server,
    planned,
    receives,
    serves_without,
    with_instances,
)
from services.arbiter.core.returning import obstacle, ordered
from services.arbiter.core.state import (
    Action,
    Actions,
    Asked,
    Done,
    Instance,
    Refusal,
    Reply,
    Standing,
    State,
)
from services.arbiter.core.vip_requests import (
    asked_home,
    away_from,
    brought_back,
    emptied,
    moved_with,
    sent_away,
    wrong,
)
from shared.cluster import Mode
from shared.frozen import replace
from shared.instant import Duration, Instant
from shared.messages.facts import InstanceState
from shared.messages.health import Verdict
from shared.messages.operator import Answer, OperatorAnswer, OperatorRequest, Verb
from shared.messages.traffic import Drain, Override, OverrideKind, Restore

TEXT_MAX = 200  # of an owner or a reason: it is shown in one line
OVERRIDE_MIN_US: Duration = 1_000_000


def asked(state: State, event: Asked, now: Instant) -> tuple[State, Actions]:
    """Answer a person; a dry run changes nothing and shows what would."""
    request = event.request
    outcome = _checked(state, request) or _VERBS[request.verb](state, request, now)
    if isinstance(outcome, Refusal):
        answer = OperatorAnswer(
            answer=outcome.answer,
            text=outcome.text,
            epoch=state.plan.epoch,
            sequence=state.plan.sequence,
        )
        return state, (Reply(ticket=event.ticket, answer=answer),)
    answer = OperatorAnswer(
        answer=Answer.ACCEPTED,
        text=outcome.text,
        incident=outcome.incident,
        epoch=outcome.state.plan.epoch,
        sequence=outcome.state.plan.sequence,
        before=state.plan.services,
        after=outcome.state.plan.services,
        vips_before=_holders(state),
        vips_after=_holders(outcome.state),
        undo=outcome.undo,
    )
    reply: Action = Reply(ticket=event.ticket, answer=answer)
    if request.dry_run:
        return state, (reply,)
    return replace(outcome.state, news=True), (*outcome.actions, reply)


def _holders(state: State) -> dict[str, str]:
    return {vip: placement.holder for vip, placement in sorted(state.plan.vips.items())}


def postponed(state: State, event: Asked) -> tuple[State, Actions]:
    """Answer a person before we know again how things are: what was asked may be long ago."""
    answer = OperatorAnswer(
        answer=Answer.NOT_LEADING,
        text="this arbiter has just woken from a pause and is catching up: try again in a moment",
        epoch=state.plan.epoch,
        sequence=state.plan.sequence,
    )
    return state, (Reply(ticket=event.ticket, answer=answer),)


def _checked(state: State, request: OperatorRequest) -> Refusal | None:
    if not request.owner.strip() or not request.reason.strip():
        return Refusal(Answer.WRONG, "a request needs an owner and a reason: --reason TEXT")
    if max(len(request.owner), len(request.reason)) > TEXT_MAX:
        return Refusal(Answer.WRONG, f"owner and reason may have {TEXT_MAX} characters each")
    if request.node is not None and request.node not in state.cluster.nodes:
        known = ", ".join(state.cluster.nodes)
        return Refusal(Answer.WRONG, f"there is no node '{request.node}'; there are: {known}")
    if request.service is not None and request.service not in state.cluster.services:
        known = ", ".join(state.cluster.services)
        return Refusal(Answer.WRONG, f"there is no service '{request.service}'; there are: {known}")
    longest = state.cluster.policy.override_max_us
    if request.for_us is not None and not OVERRIDE_MIN_US <= request.for_us <= longest:
        hours = longest / 3_600_000_000
        return Refusal(
            Answer.WRONG, f"an override lasts from 1 s to {hours:g} h: use another --for"
        )
    if request.expects is not None and request.expects != state.plan.number:
        seen = f"{request.expects[0]}.{request.expects[1]}"
        now = f"{state.plan.epoch}.{state.plan.sequence}"
        return Refusal(
            Answer.CHANGED, f"the plan is {now}, no longer {seen}: look again and repeat"
        )
    return wrong(state, request)


def _failover(state: State, request: OperatorRequest, now: Instant) -> Done | Refusal:
    if request.vip is not None:
        return sent_away(state, request, now)
    targets = _targets(state, request)
    if isinstance(targets, Refusal):
        return targets
    return _out(state, request, OverrideKind.FAILOVER, targets, now)


def _maintenance_start(state: State, request: OperatorRequest, now: Instant) -> Done | Refusal:
    if request.node is None:
        return Refusal(Answer.WRONG, "maintenance needs a node")
    targets = _targets(state, replace(request, service=None))
    if isinstance(targets, Refusal):
        return targets
    return _out(state, request, OverrideKind.MAINTENANCE, targets, now)


def _targets(state: State, request: OperatorRequest) -> tuple[Instance, ...] | Refusal:
    """Return the instances that a request is about."""
    services = sorted(state.cluster.services) if request.service is None else [request.service]
    if request.node is not None:
        return tuple(state.instances[service][request.node] for service in services)
    if request.service is None:
        return Refusal(Answer.WRONG, "name a node, a service, or service/node")
    if state.cluster.services[request.service].mode is not Mode.MIRROR:
        text = f"{request.service} is served by every node: name the node, {request.service}/NODE"
        return Refusal(Answer.WRONG, text)
    server = mirror_server(state, request.service, state.instances[request.service])
    assert server is not None
    return (state.instances[request.service][server],)


def _override(
    state: State, request: OperatorRequest, kind: OverrideKind, node: str | None, now: Instant
) -> Standing:
    length = request.for_us if request.for_us is not None else state.cluster.policy.override_max_us
    since = now + state.wall_ahead_us
    override = Override(
        kind=kind,
        service=request.service if kind is OverrideKind.FAILOVER else None,
        node=node,
        owner=request.owner,
        reason=request.reason,
        since_wall_us=since,
        until_wall_us=since + length,
    )
    return Standing(override=override, ends_at=now + length)


def _out(
    state: State,
    request: OperatorRequest,
    kind: OverrideKind,
    targets: tuple[Instance, ...],
    now: Instant,
) -> Done | Refusal:
    """Drain these instances for as long as the override stands."""
    node = targets[0].node
    standing = _override(state, request, kind, node, now)
    if _stands(state, standing.override):
        return Refusal(Answer.WRONG, f"{_named(standing.override)} is already out by a person")
    leaving = tuple(_leaving(state, each, request, now) for each in targets if receives(each))
    refusal = _unsafe(state, leaving, request, now)
    if refusal is not None:
        return refusal
    drained = tuple((each.service, each.node) for each in leaving) or (targets[0].target,)
    name = incident_id(state, drained)
    standing = replace(standing, override=replace(standing.override, incident=name))
    with_override = replace(state, standing=(*state.standing, standing))
    to = emptied(with_override, node, request, now) if standing.override.service is None else {}
    if isinstance(to, Refusal):
        return to
    changed = tuple(replace(each, incident=each.incident or name) for each in leaving)
    what = f"{_named(standing.override)} is taken out by {request.owner}: {request.reason}"
    why = Why(what, name)
    after, moved, facts = moved_with(planned(with_override, changed, why), to, why, now)
    opening = Opening(
        targets=drained, cause=request.reason, sentence=what, vips=moved, owner=request.owner
    )
    after, told = opened(state, after, name, opening, now)
    after, orders = ordered(after, Drain, now)
    back = "maintenance end" if kind is OverrideKind.MAINTENANCE else "failback"
    undo = f"equipoise {back} {_named(standing.override)}"
    return Done(after, (*orders, told, *facts), what, name, undo)


def _leaving(state: State, instance: Instance, request: OperatorRequest, now: Instant) -> Instance:
    return replace(
        instance,
        state=InstanceState.DRAINING,
        then=InstanceState.OUT,
        since=now,
        reason=f"{request.owner}: {request.reason}",
        drain_ends_at=now + state.cluster.policy.drain_us,
        asked=False,
        forced=False,
    )


def _unsafe(
    state: State, leaving: tuple[Instance, ...], request: OperatorRequest, now: Instant
) -> Refusal | None:
    for instance in leaving:
        remaining = {**state.instances[instance.service], instance.node: instance}
        if not serves_without(state, instance.service, remaining):
            text = (
                f"nothing would serve {instance.service} without {instance.node}; "
                f"bring another instance back first (this cannot be forced)"
            )
            return Refusal(Answer.UNSAFE, text)
        takers = [each for name, each in sorted(remaining.items()) if receives(each)]
        well = [each for each in takers if judge(state, each, now).verdict is Verdict.HEALTHY]
        if not well and not request.force:
            names = ", ".join(each.node for each in takers)
            text = (
                f"{instance.service} on {names} is not known to be healthy; --force-unsafe insists"
            )
            return Refusal(Answer.UNSAFE, text)
    return None


def _failback(state: State, request: OperatorRequest, now: Instant) -> Done | Refusal:
    """End a person's failover, and bring back what waits for a person."""
    if request.vip is not None:
        return brought_back(state, request, now)
    kept = tuple(item for item in state.standing if not _ended_by(item.override, request))
    freed = len(kept) < len(state.standing)
    released = replace(state, standing=kept)
    back = _asked_back(released, request)
    vips = away_from(released, request.node) if request.service is None else ()
    freed = freed or bool(vips)
    if not back and not freed:
        return Refusal(Answer.WRONG, "nothing that you name is out; see: equipoise status")
    bad = [each for each in back if judge(state, each, now).verdict is not Verdict.HEALTHY]
    if bad and not freed:
        text = f"{bad[0].service} on {bad[0].node} is not healthy: {bad[0].reason}"
        return Refusal(Answer.UNSAFE, f"{text}; it returns only when its probes are green")
    blocked = [each for each in back if not request.force and _blocked(released, each, now)]
    if blocked and not freed:
        text = f"{_blocked(released, blocked[0], now)}; --force-unsafe insists"
        return Refusal(Answer.UNSAFE, text)
    return _returning(released, request, back, now)


def _blocked(state: State, instance: Instance, now: Instant) -> str:
    return obstacle(state, replace(instance, asked=True), now)


def _ended_by(override: Override, request: OperatorRequest) -> bool:
    if override.kind is not OverrideKind.FAILOVER:
        return False
    if override.vip is not None and request.service is not None:
        return False
    return request.node in (None, override.node) and request.service in (None, override.service)


def _asked_back(state: State, request: OperatorRequest) -> tuple[Instance, ...]:
    waiting = (InstanceState.OUT, InstanceState.OBSERVED, InstanceState.MATCHED)
    return tuple(
        instance
        for service, of_service in sorted(state.instances.items())
        for node, instance in sorted(of_service.items())
        if request.service in (None, service)
        and request.node in (None, node)
        and (instance.state in waiting or _draining_out(instance))
        and not overridden(state, instance)
    )


def _draining_out(instance: Instance) -> bool:
    return instance.state is InstanceState.DRAINING and instance.then is InstanceState.OUT


def _returning(
    state: State, request: OperatorRequest, back: tuple[Instance, ...], now: Instant
) -> Done:
    changed = tuple(replace(each, asked=True, forced=request.force) for each in back)
    vips = away_from(state, request.node) if request.service is None else ()
    state = asked_home(with_instances(state, *changed), vips)
    incident = next((each.incident for each in changed if each.incident is not None), None)
    if incident is not None and incident in state.cases:
        state = amended(state, incident, waiting_for="its return")
    names = ", ".join((*(f"{each.service}/{each.node}" for each in changed), *vips))
    names = names or "nothing more"
    state, orders = _said_again(state, f"{request.owner} asked for failback: {request.reason}", now)
    return Done(state, orders, f"on the way back: {names}", incident)


def _said_again(state: State, reason: str, now: Instant) -> tuple[State, Actions]:
    """Send the same rules under a new number, so that switchers persist the changed overrides."""
    return ordered(planned(state, (), Why(reason, None)), Restore, now)


def _maintenance_end(state: State, request: OperatorRequest, now: Instant) -> Done | Refusal:
    kept = tuple(
        item
        for item in state.standing
        if item.override.kind is not OverrideKind.MAINTENANCE or item.override.node != request.node
    )
    if len(kept) == len(state.standing):
        return Refusal(Answer.WRONG, f"{request.node or 'no node'} is not in maintenance")
    released = replace(state, standing=kept)
    return _returning(released, request, _asked_back(released, replace(request, service=None)), now)


def _pause(state: State, request: OperatorRequest, now: Instant) -> Done | Refusal:
    if state.paused:
        return Refusal(Answer.WRONG, "automation is already paused; see: equipoise status")
    standing = _override(state, replace(request, service=None), OverrideKind.PAUSE, None, now)
    paused = replace(state, standing=(*state.standing, standing))
    after, orders = _said_again(paused, f"paused by {request.owner}: {request.reason}", now)
    text = "automation is paused; traffic stays as it is"
    return Done(after, orders, text, undo="equipoise resume")


def _resume(state: State, request: OperatorRequest, now: Instant) -> Done | Refusal:
    kept = tuple(item for item in state.standing if item.override.kind is not OverrideKind.PAUSE)
    if len(kept) == len(state.standing):
        return Refusal(Answer.WRONG, "automation is not paused")
    resumed = replace(state, standing=kept)
    after, orders = _said_again(resumed, f"resumed by {request.owner}: {request.reason}", now)
    return Done(_all_looked_at(after), orders, "automation decides again")


def _all_looked_at(state: State) -> State:
    everything = {each.target for some in state.instances.values() for each in some.values()}
    return replace(state, attention=frozenset(everything))


_VERBS: dict[Verb, Callable[[State, OperatorRequest, Instant], Done | Refusal]] = {
    Verb.FAILOVER: _failover,
    Verb.FAILBACK: _failback,
    Verb.MAINTENANCE_START: _maintenance_start,
    Verb.MAINTENANCE_END: _maintenance_end,
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
}


def _stands(state: State, override: Override) -> bool:
    return any(
        (item.override.kind, item.override.service, item.override.node)
        == (override.kind, override.service, override.node)
        and item.override.vip is None
        for item in state.standing
    )


def _named(override: Override) -> str:
    if override.vip is not None:
        return override.vip
    return "/".join(name for name in (override.service, override.node) if name is not None)


def expired(state: State, now: Instant) -> tuple[State, Actions]:
    """End the overrides whose time is over: their targets may come back by themselves."""
    over = [item for item in state.standing if now >= item.ends_at]
    if not over:
        return state, ()
    released = replace(state, standing=tuple(i for i in state.standing if now < i.ends_at))
    names = ", ".join(_named(item.override) or "the pause" for item in over)
    for item in over:
        request = OperatorRequest(
            verb=Verb.FAILBACK,
            node=item.override.node,
            service=item.override.service,
            owner=item.override.owner,
            reason="its time is over",
        )
        if item.override.vip is not None:
            released = asked_home(released, {item.override.vip} & released.vips.keys())
        elif item.override.kind is not OverrideKind.PAUSE:
            changed = tuple(replace(i, asked=True) for i in _asked_back(released, request))
            released = with_instances(released, *changed)
            if item.override.service is None:
                released = asked_home(released, away_from(released, item.override.node))
    after, orders = _said_again(released, f"the override of {names} has ended", now)
    return _all_looked_at(after), orders
