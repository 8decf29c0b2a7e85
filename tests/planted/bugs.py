"""The bugs: rules of the protocol, each broken in one place."""

from tests.planted.planting import Bug
from tests.simulation.weather import Fault

ARBITER = "services.arbiter.core"
SWITCHER = "services.traffic_switcher.core"
PROBE = "services.health_probe.core"

FAILING = (Fault.INSTANCE_KILL, Fault.INSTANCE_HANG, Fault.INSTANCE_ERROR)
RESTARTING = frozenset((*FAILING, Fault.ARBITER_CRASH))
SLEEPING = frozenset((*FAILING, Fault.ARBITER_FREEZE))
ASKING = frozenset((*FAILING, Fault.PEOPLE))
DISTURBING = frozenset((*FAILING, Fault.LOSS, Fault.DELAY, Fault.DUPLICATION, Fault.REPLAY))
DYING = frozenset((*FAILING, Fault.SWITCHER_CRASH, Fault.CRASH_BETWEEN))

BUGS = (
    Bug(
        name="a new arbiter begins with the original settings",
        place=f"{ARBITER}.begin:_rules_in_force",
        correct="if plan is None:",
        wrong="if True:",
        caught_by="RestartsStill",
        storm=RESTARTING,
    ),
    Bug(
        name="a new arbiter forgets what people asked for",
        place=f"{ARBITER}.begin:start",
        correct="overrides=newest.overrides if newest else (),",
        wrong="overrides=(),",
        caught_by="PeopleHold",
        storm=RESTARTING | ASKING,
    ),
    Bug(
        name="a new arbiter speaks in its predecessor's epoch",
        place=f"{ARBITER}.begin:start",
        correct="for plan in past.plans)]) + 1",
        wrong="for plan in past.plans)]) or 1",
        caught_by="OneSpeaker",
        storm=RESTARTING,
    ),
    Bug(
        name="a new arbiter counts moves from nought",
        place=f"{ARBITER}.begin:_instance",
        correct="moves_at=tuple(now - age for age in record.moves_us),",
        wrong="moves_at=(),",
        caught_by="Bounded",
        storm=RESTARTING,
    ),
    Bug(
        name="the arbiter takes the last instance out",
        place=f"{ARBITER}.failing:leaving",
        correct="if _without(state, gone):",
        wrong="if True:",
        caught_by="an assertion in the core",
        storm=frozenset(FAILING),
    ),
    Bug(
        name="moves are not counted",
        place=f"{ARBITER}.failing:moves_left",
        correct="return moves_max - sum(",
        wrong="return moves_max - 0 * sum(",
        caught_by="Bounded",
        storm=frozenset(FAILING),
    ),
    Bug(
        name="a pause is ignored",
        place=f"{ARBITER}.failing:_held_back",
        correct="if state.paused:",
        wrong="if False:",
        caught_by="PauseHolds",
        storm=ASKING,
    ),
    Bug(
        name="automation brings back what a person took out",
        place=f"{ARBITER}.failing:overridden",
        correct="return any(",
        wrong="return False and any(",
        caught_by="PeopleHold",
        storm=ASKING,
    ),
    Bug(
        name="two instances of a mirror serve",
        place=f"{ARBITER}.plans:_mirror",
        correct="if name == chosen:",
        wrong="if instance.state in SERVING_STATES:",
        caught_by="OneServer",
        storm=frozenset(FAILING),
    ),
    Bug(
        name="a command is sent only once",
        place=f"{ARBITER}.deciding:_repeated",
        correct="now - state.sent_at < RESEND_US",
        wrong="now > 0",
        caught_by="tests.unit.arbiter.test_failing:"
        "test_a_command_is_repeated_until_every_reachable_node_has_installed_it",
    ),
    Bug(
        name="evidence does not age",
        place=f"{ARBITER}.evidence:judge",
        correct="if now - view.received_at <= EVIDENCE_AGE_MAX_US",
        wrong="if True",
        caught_by="tests.unit.arbiter.test_failing:"
        "test_what_was_said_long_ago_confirms_no_suspicion",
    ),
    Bug(
        name="evidence from before the arbiter slept counts",
        place=f"{ARBITER}.evidence:judge",
        correct="and view.received_at > state.trusted_since",
        wrong="",
        caught_by="EvidenceFirst",
        storm=SLEEPING,
    ),
    Bug(
        name="an observer that abstains counts",
        place=f"{ARBITER}.evidence:judge",
        correct=" if not view.evidence.abstains",
        wrong="",
        caught_by="tests.unit.arbiter.test_failing:test_an_observer_that_abstains_does_not_count",
    ),
    Bug(
        name="one suspicious observer is enough",
        place=f"{ARBITER}.evidence:judge",
        correct="needed = max(1, min(",
        wrong="needed = min(1, max(",
        caught_by="EvidenceFirst",
        storm=frozenset((Fault.CUT_PEER, Fault.LOSS)),
    ),
    Bug(
        name="an arbiter that slept goes on as if nothing had been",
        place=f"{ARBITER}.deciding:decide",
        correct="if paused_us > SLEPT_US:",
        wrong="if False:",
        caught_by="Harmless",
        storm=SLEEPING,
        first_seed=1,
    ),
    Bug(
        name="an instance returns without having been observed",
        place=f"{ARBITER}.returning:hold_us",
        correct="if instance.asked:",
        wrong="if True:",
        caught_by="Patient",
        storm=frozenset(FAILING),
    ),
    Bug(
        name="an instance of another identity returns",
        place=f"{ARBITER}.returning:mismatch",
        correct="if theirs != own:",
        wrong="if False:",
        caught_by="Matching",
        storm=frozenset((Fault.INSTANCE_OTHER,)),
    ),
    Bug(
        name="an incident is closed without comparing digests",
        place=f"{ARBITER}.progress:_uncompared",
        correct="elif member.digest != wanted:",
        wrong="elif False:",
        caught_by="ClosedWhenEqual",
        storm=frozenset((*FAILING, Fault.FOREIGN_CLOSE)),
    ),
    Bug(
        name="a member that hears a node by UDP does not veto its loss",
        place=f"{ARBITER}.detection:weigh",
        correct="is_silent_by_udp=bool(missing) and not hearing and not dissenting,",
        wrong="is_silent_by_udp=True,",
        caught_by="Missed",
        storm=frozenset((Fault.CUT_ONE_WAY, Fault.CUT_PEER)),
    ),
    Bug(
        name="a lost node takes the last instance of a service along",
        place=f"{ARBITER}.losing:_leavers",
        correct="if isinstance(found, Held):",
        wrong="if isinstance(found, Held) and found.reason.startswith('nothing'):\n"
        "            gone.append(replace(each, state=InstanceState.OUT))\n"
        "        elif isinstance(found, Held):",
        caught_by="an assertion in the core",
        storm=frozenset((*FAILING, Fault.NODE_CRASH)),
    ),
    Bug(
        name="a lost node returns without having been observed",
        place=f"{ARBITER}.losing:node_wait_us",
        correct="return max(node_hold_us(state, member) - heard_us, 0)",
        wrong="return 0",
        caught_by="PatientWithNodes",
        storm=frozenset((Fault.NODE_CRASH,)),
    ),
    Bug(
        name="an incident closes while a living node's switcher is absent",
        place=f"{ARBITER}.progress:_uncompared",
        correct="if member.state is NodeState.UP:",
        wrong="if False:",
        caught_by="SwitcherThere",
        storm=frozenset((*FAILING, Fault.SWITCHER_FREEZE)),
    ),
    Bug(
        name="old plans are taken",
        place=f"{SWITCHER}.decisions:_fenced",
        correct="if plan.number < memory.fence:",
        wrong="if False:",
        caught_by="OnlyUpwards",
        storm=DISTURBING,
    ),
    Bug(
        name="a plan of the same number is taken again",
        place=f"{SWITCHER}.decisions:_commanded",
        correct="if plan.number == memory.fence:",
        wrong="if False:",
        caught_by="AppliedOnce",
        storm=DISTURBING,
    ),
    Bug(
        name="a plan is persisted after it was applied",
        place=f"{SWITCHER}.decisions:_commanded",
        correct="after = replace(state, persisting=persisting, received=received)",
        wrong="asked = replace(state, persisting=persisting, received=received)\n"
        "    after, actions = _persisted(asked, plan.number, now)\n"
        "    return replace(after, remembered=state.remembered), actions",
        caught_by="PersistedFirst",
        storm=DYING,
    ),
    Bug(
        name="the switcher takes plans that leave a service with nothing",
        place=f"{SWITCHER}.decisions:_unfit",
        correct="if not serving(rules):",
        wrong="if False:",
        caught_by="NeverEmpty",
        storm=frozenset((Fault.EMPTY_PLAN,)),
    ),
    Bug(
        name="the fence is not asked at the last moment",
        place=f"{SWITCHER}.decisions:is_current",
        correct="return number == state.memory.fence",
        wrong="return True",
        caught_by="NoOlderEffect",
        storm=DISTURBING | ASKING,
        first_seed=10,
    ),
    Bug(
        name="a person's maintenance at the load balancer is cleared",
        place=f"{SWITCHER}.following:_work",
        correct="if step.target not in theirs",
        wrong="if True",
        caught_by="ForeignHands",
        storm=frozenset((*FAILING, Fault.FOREIGN_CLOSE)),
    ),
    Bug(
        name="leavers close before takers open",
        place=f"{SWITCHER}.steps:steps",
        correct="(step.change in TAKING) == mirror)",
        wrong="(step.change in TAKING) != mirror)",
        caught_by="OneServer",
        storm=frozenset((*FAILING, Fault.PEOPLE)),
        first_seed=2,
    ),
    Bug(
        name="an observer accuses although it was late itself",
        place=f"{PROBE}.judgement:doubtful",
        correct="return not blameless and",
        wrong="return False and",
        caught_by="tests.unit.health_probe.test_judging:"
        "test_a_failure_while_we_were_late_is_repeated_at_once_and_we_abstain",
    ),
)
