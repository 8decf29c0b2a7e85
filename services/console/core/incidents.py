"""Incidents as people read them: in a line, and in full."""

from services.console.core.state import Filling, Remembered, State, newest_incident
from services.console.core.story import incident_length_us
from services.console.core.view import INCIDENTS_MAX
from services.console.core.words import moment, rules_view, short
from shared.api import (
    EvidenceView,
    IncidentBrief,
    Incidents,
    IncidentView,
    InstallView,
    PhaseView,
    TakingView,
    Truth,
    VipMoveView,
)
from shared.messages.facts import EvidenceItem, Incident, IncidentState, Phase, VipMove
from shared.messages.leases import Held
from shared.messages.traffic import Applied


def brief(incident: Incident, wall_us: int) -> IncidentBrief:
    """Return an incident in a line."""
    closed = incident.closed_wall_us
    return IncidentBrief(
        id=incident.id,
        state=incident.state.value,
        planned=incident.planned,
        service=incident.service,
        node=incident.node,
        cause=incident.cause,
        sentence=_sentence(incident),
        began=moment(incident.began_wall_us),
        closed=None if closed is None else moment(closed),
        age_us=max(0, wall_us - incident.began_wall_us),
        duration_us=incident_length_us(incident),
        requests=incident.cost.requests,
        failed=incident.cost.failed,
    )


def _sentence(incident: Incident) -> str:
    """Return what happened, and where it goes on if it was a sign of something greater."""
    if not incident.merged_into:
        return incident.sentence
    into = short(incident.merged_into)
    return f"{incident.sentence}; it was part of incident {into}: equipoise explain {into}"


def listed(state: State, wall_us: int, *, limit: int = INCIDENTS_MAX) -> Incidents:
    """Return the incidents that are remembered, newest first."""
    newest = sorted(
        (remembered.incident for remembered in state.incidents.values()),
        key=lambda incident: (-incident.began_wall_us, incident.id),
    )
    return Incidents(
        complete=state.filling is Filling.FILLED,
        incidents=[brief(incident, wall_us) for incident in newest[:limit]],
    )


def found(state: State, wanted: str) -> Remembered | None:
    """Return an incident by its id, in any case of letters, or the `last` one."""
    if wanted == "last":
        last = newest_incident(state)
        return None if last is None else state.incidents[last.id]
    for name, remembered in state.incidents.items():
        if name.lower() == wanted.lower():
            return remembered
    return None


def in_full(state: State, remembered: Remembered, wall_us: int) -> IncidentView:
    """Return one incident with all that is known of it."""
    incident = remembered.incident
    return IncidentView(
        **brief(incident, wall_us),
        evidence=[_evidence(item) for item in incident.evidence],
        phases=[_phase(phase) for phase in incident.phases],
        recovery=[_phase(phase) for phase in incident.recovery],
        recovery_us=sum(phase.duration_us for phase in incident.recovery),
        installs=[_install(applied) for _, applied in sorted(remembered.installs.items())],
        before=rules_view(incident.before),
        after=rules_view(incident.after),
        not_done=short(incident.not_done),
        faster=short(incident.faster),
        waiting_for=short(incident.waiting_for),
        owner=short(incident.owner),
        relapses=incident.relapses,
        original_digest=short(incident.original_digest),
        installed={node: short(text) for node, text in sorted(incident.installed.items())},
        restored=_restored(incident),
        trace_id=short(incident.trace_id),
        trace_url=_trace_url(state.trace_ui, incident.trace_id),
        moves=[_move(move) for move in incident.vips],
        takings=[_taking(held) for _, held in sorted(remembered.takings.items())],
    )


def _restored(incident: Incident) -> Truth:
    """Return whether every load balancer was read back with the original settings."""
    if not incident.installed or not incident.original_digest:
        return "unknown" if incident.state is IncidentState.CLOSED else "no"
    same = all(seen == incident.original_digest for seen in incident.installed.values())
    return "yes" if same else "no"


def _trace_url(trace_ui: str | None, trace_id: str) -> str | None:
    """Return the link to a trace; a trace id that is none makes no link."""
    if trace_ui is None or not trace_id.isalnum():
        return None
    return trace_ui.replace("{trace_id}", trace_id)


def _evidence(item: EvidenceItem) -> EvidenceView:
    return EvidenceView(
        observer=short(item.observer),
        what=short(item.what),
        value=short(item.value),
        threshold=short(item.threshold),
        grade=item.grade.value,
        sign=item.sign.value,
        age_us=item.age_us,
    )


def _phase(phase: Phase) -> PhaseView:
    return PhaseView(
        name=short(phase.name), duration_us=phase.duration_us, detail=short(phase.detail)
    )


def _move(move: VipMove) -> VipMoveView:
    return VipMoveView(
        vip=short(move.vip),
        address=short(move.address),
        before=short(move.before),
        after=short(move.after),
        waited_us=move.waited_us,
    )


def _taking(held: Held) -> TakingView:
    return TakingView(
        vip=held.vip, node=held.node, guard_us=held.guard_us, address_us=held.address_us
    )


def _install(applied: Applied) -> InstallView:
    return InstallView(
        node=applied.node,
        stage=applied.stage.value,
        persist_us=applied.persist_us,
        install_us=applied.install_us,
        verify_us=applied.verify_us,
        detail=short(applied.detail),
    )
