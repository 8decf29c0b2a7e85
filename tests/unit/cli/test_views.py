"""What people see, in full: read these as the manual; a changed word is a changed promise."""

import pytest

from services.cli.look import Look, visible
from services.cli.views.change import done_lines, losses, plan_lines
from services.cli.views.events import event_lines, incident_lines
from services.cli.views.explain import explain_lines
from services.cli.views.rules import rules_lines
from services.cli.views.status import status_lines
from services.cli.views.why import why_lines
from services.console.core.history import history
from services.console.core.incidents import in_full, listed
from services.console.core.rule_rows import rule_rows
from services.console.core.state import State
from services.console.core.status import status
from services.console.core.why import why
from shared.api import Change, RuleView, WishAnswer
from shared.frozen import replace
from shared.instant import MINUTE, SECOND
from shared.messages.facts import IncidentClosed, IncidentOpened, IncidentState, Phase, VipState
from shared.messages.leases import Held, Holding
from shared.messages.traffic import Applied, Stage
from tests.fakes.situations import (
    WALL,
    held,
    incident,
    lost_b,
    measured,
    node_lost,
    plan,
    refused,
    shop,
    situation,
    without_b,
)
from tests.unit.console.play import START, after, begun, well
from tests.unit.console.test_answers import BROKEN

PLAIN = Look()
NOW = WALL + 6 * MINUTE

WELL = """\
shop  ✓ serving   2 of 2 nodes   2 of 2 VIPs   plan 3.41 of witness   bus ✓

NODE     STATE  SHARE  WANTED  HEARD   BALANCER  INSTALLED  VERIFIED   VIPS
node-a   ✓ up       ?     75%  0.0 ms  ✓         ✓ 3.41     ✓ 2 s ago  web
node-b   ✓ up       ?     25%  0.0 ms  ✓         ✓ 3.41     ✓ 2 s ago  api
witness  ✓ up       -       -  0.0 ms  -         -          -          -

VIP  ADDRESS        HELD BY   HOME    ANSWERS
web  10.0.0.100/24  ✓ node-a  node-a  ✓ 2 s ago
api  10.0.0.101/24  ✓ node-b  node-b  ✓ 2 s ago

SERVICE  MODE     NODE-A         NODE-B            LOAD  FAILED
shoes    balance  ✓ 50% 4.0 ms   ✓ 50% 4.0 ms         ?  0 in 0.0 ms
orders   mirror   ✓ 100% 4.0 ms  ✓ standby 4.0 ms     ?  0 in 0.0 ms

✓ if node-a fails, node-b can take shoes, orders, VIP web
✓ if node-b fails, node-a can take shoes, VIP api

Overrides      none
Last incident  none is remembered
"""

BROKEN_STATUS = """\
shop  ▲ serving, no spare   2 of 2 nodes   2 of 2 VIPs   plan 3.42 of witness
  bus ✓

NODE     STATE  SHARE  WANTED  HEARD   BALANCER  INSTALLED  VERIFIED   VIPS
node-a   ✓ up       ?    100%  0.0 ms  ✓         ✓ 3.42     ✓ 2 s ago  web
node-b   ✓ up       ?      0%  0.0 ms  ✓         ✓ 3.42     ✓ 2 s ago  api
witness  ✓ up       -       -  0.0 ms  -         -          -          -
VIP  ADDRESS        HELD BY   HOME    ANSWERS
web  10.0.0.100/24  ✓ node-a  node-a  ✓ 2 s ago
api  10.0.0.101/24  ✓ node-b  node-b  ✓ 2 s ago
SERVICE  MODE     NODE-A         NODE-B            LOAD  FAILED
shoes    balance  ✓ 100% 4.0 ms  ✗ out                ?  6 in 0.0 ms
orders   mirror   ✓ 100% 4.0 ms  ✓ standby 4.0 ms     ?  6 in 0.0 ms
▲ shoes/node-b out for 12 s: connection refused; waits for: its probes to be
  green
▲ if node-a fails, node-b cannot take shoes, because node-b: out: connection
  refused
✓ if node-a fails, node-b can take orders, VIP web
✓ if node-b fails, node-a can take VIP api
Overrides      none
Last incident  7K2F0A ▲ handled, 6 min ago: shoes on node-b refused connections;
               node-a serves all of it; 0 of 512 requests failed
Next           repair shoes/node-b, because connection refused
               why: equipoise explain 7K2F0A
"""

STALE = """\
shop  ? unknown: the last word is 7 s old   0 of 2 nodes   0 of 2 VIPs
  plan 3.41 of witness   bus ✓
  ? stale: the arbiter on witness was last heard 7 s ago

NODE     STATE     SHARE  WANTED  HEARD     BALANCER  INSTALLED  VERIFIED  VIPS
node-a   ? was up      ?     75%  7 s here  ?         ?          ?         ?
node-b   ? was up      ?     25%  7 s here  ?         ?          ?         ?
witness  ? was up      -       -  7 s here  -         -          -         -

VIP  ADDRESS        HELD BY       HOME    ANSWERS
web  10.0.0.100/24  ? was node-a  node-a  ?
api  10.0.0.101/24  ? was node-b  node-b  ?

SERVICE  MODE     NODE-A      NODE-B         LOAD  FAILED
shoes    balance  ? was 50%   ? was 50%         ?  0 in 7 s
orders   mirror   ? was 100%  ? was standby     ?  0 in 7 s

? which failures could be taken is not known

Overrides      none
Last incident  none is remembered
Next           heard directly within 3 s: nobody; load balancers go on with the
               plan they have
               look at the arbiter's log on each member: none of them leads
"""

EMPTY = """\
shop  ? unknown: nothing is known   0 of 2 nodes   0 of 2 VIPs   arbiter ?
  bus ✗
  ? no arbiter has been heard since this console began 7 s ago; the bus is not
  reachable from here

NODE     STATE  SHARE  WANTED  HEARD  BALANCER  INSTALLED  VERIFIED  VIPS
node-a   ?          ?       ?  ?      ?         ?          ?         ?
node-b   ?          ?       ?  ?      ?         ?          ?         ?
witness  ?          -       -  ?      -         -          -         -

VIP  ADDRESS        HELD BY  HOME    ANSWERS
web  10.0.0.100/24  ?        node-a  ?
api  10.0.0.101/24  ?        node-b  ?

SERVICE  MODE     NODE-A  NODE-B  LOAD  FAILED
shoes    balance  ?       ?          ?  ?
orders   mirror   ?       ?          ?  ?

? which failures could be taken is not known

Overrides      ?
Last incident  ? (the past has not been read yet)
Next           look whether nats-server runs and is reachable:
               nats://127.0.0.1:4222
"""

EXPLAINED = """\
Incident 7K2F0A   shoes/node-b: connection refused
✓ closed   began 2026-11-19 04:12:08.000 UTC   switched in 10.00 ms

What      shoes on node-b refused connections; node-a serves all of it
Why       conclusive: connection refused (0.3 ms; threshold: refused again),
          first seen by node-b 1.2 ms before the decision
Cost      0 of 512 requests failed, by the load balancers' own counters
Not done  orders was left as it is: its probe is green

        0                           10.00 ms
detect  ████▍                                  1.21 ms  reset, then refused
decide      ▌                                  0.04 ms
switch      ███████████████████████▎           6.33 ms
verify                             █████████   2.42 ms
total                                         10.00 ms

Return    observe 10.00 s · match 0.01 s · ramp 10.40 s · compare 0.01 s = 20.42
          s
Rules     shoes/node-b weight 100 → out
Restored  exactly: node-a, node-b read back with the original digest
          da04fb9b00625afc
Faster?   64 % was the switch: node-b was last
Trace     http://jaeger/trace/7f2f09c47f2f09c47f2f09c47f2f09c4
Events    equipoise events --incident 7K2F0A
"""

WHY = """\
node-b is up, for 2 h 00 min

   WHAT                      VALUE    HELD AGAINST  SAID BY             AGE
   lease that it is granted  240 ms   -             arbiter             0.0 ms
   heartbeat on the bus      12 ms    -             arbiter             12 ms
   heartbeat heard here      0.0 ms   -             node-a              0.0 ms
✓  load balancer             answers  -             switcher on node-b  0.0 ms

VIPs
  api (10.0.0.101/24) is held by node-b, its home, for 12 s

✗ shoes/node-b is out, because connection refused
  wanted out (originally weight 100); installed out on node-a, out on node-b
  waits for: its probes to be green

   WHAT                             VALUE   HELD AGAINST   SAID BY  AGE
✗  connection refused (conclusive)  0.3 ms  refused again  node-b   0.0 ms

✓ orders/node-b is as originally set
  wanted standby; installed standby on node-a, standby on node-b

Readiness
  if node-b fails, node-a can take the VIP api

Incidents
  7K2F0A handled: shoes on node-b refused connections; node-a serves all of it
"""

LOST_STATUS = """\
shop  ▲ serving, no spare   1 of 2 nodes   2 of 2 VIPs   plan 3.42 of witness
  bus ✓
NODE     STATE   SHARE  WANTED  HEARD    BALANCER  INSTALLED  VERIFIED   VIPS
node-a   ✓ up        ?    100%  0.0 ms   ✓         ✓ 3.42     ✓ 2 s ago  web api
node-b   ✗ dead      ?      0%  ▲ 12 ms  ✓         ✗ differs  ?          -
witness  ✓ up        -       -  0.0 ms   -         -          -          -
VIP  ADDRESS        HELD BY   HOME    ANSWERS
web  10.0.0.100/24  ✓ node-a  node-a  ✓ 2 s ago
api  10.0.0.101/24  ▲ node-a  node-b  ✓ 2 s ago
SERVICE  MODE     NODE-A         NODE-B  LOAD  FAILED
shoes    balance  ✓ 100% 4.0 ms  ✗ out      ?  0 in 0.0 ms
orders   mirror   ✓ 100% 4.0 ms  ✗ out      ?  0 in 0.0 ms
▲ VIP api away from node-b, on node-a for 12 s: node-b is dead; waits for:
  node-b well for 30 s
▲ shoes/node-b, orders/node-b out for 12 s: node-b is dead; waits for: node-b
▲ node-b is dead: silent on the bus for 320 ms and by UDP for 310 ms; its return
  waits for: its beats
▲ if node-a fails, node-b cannot take shoes, because node-b: out: connection
  refused
✓ if node-a fails, node-b can take orders
▲ if node-a fails, node-b cannot take VIP api, VIP web, because no other node is
  up
Overrides      none
Last incident  9PX3QZ ▲ handled, 6 min ago: node-b fell silent; node-a holds api
               and serves all of shoes; 0 of 512 requests failed
Next           repair node-b, because silent on the bus for 320 ms and by UDP
               for 310 ms; it comes back by itself
               api comes home by itself; it waits for: node-b well for 30 s
               why: equipoise explain 9PX3QZ
"""

LOST_EXPLAINED = """\
Incident 9PX3QZ   node-b: fell silent
▲ handled   began 2026-11-19 04:12:08.000 UTC   switched in 265.0 ms

What      node-b fell silent; node-a holds api and serves all of shoes
Why       suspicious: silent on the bus (320 ms; threshold: 160 ms), first seen
          by witness 310 ms before the decision
          suspicious: not heard by UDP (310 ms; threshold: 160 ms), first seen
          by node-a 310 ms before the decision
Cost      0 of 512 requests failed, by the load balancers' own counters; what
          did not arrive while a VIP was dark is not counted
Not done  node-b was not fenced: its lease had ended by itself

        0                           265.0 ms
detect  █████████████████████▉                161.0 ms  silent for 160 ms
lease                        ██████████████▎   98.4 ms
          until node-b's lease had ended
decide                                     ▎    0.1 ms
switch                                     ▊    3.4 ms
          api on node-a: guard 0.2 ms, address 0.6 ms
verify                                     █    2.1 ms
total                                         265.0 ms

Return    its probes to be green
VIPs      api 10.0.0.101: node-b → node-a, after 98 ms for the lease of node-b
          to end
Rules     shoes/node-b weight 100 → out
Restored  not yet
Faster?   37 % of the time was the lease; 'profile: fast' makes it 120 ms
Trace     http://jaeger/trace/7f2f09c47f2f09c47f2f09c47f2f09c4
Events    equipoise events --incident 9PX3QZ
"""

WHY_VIP = """\
api (10.0.0.101/24) is held by node-a, away from its home node-b, for 12 s,
  because node-b is dead

   WHAT                               VALUE      HELD AGAINST  SAID BY             AGE
✓  a request through it was answered  yes        -             switcher on node-a  2 s
   lease that its holder is granted   240 ms     -             arbiter             0.0 ms
   plan that gave it to its holder    3.42       -             arbiter             0.0 ms
   taken here, because granted        term 3.42  -             switcher on node-a  0.0 ms

Waits for
  node-b well for 30 s

Readiness
  if node-a fails, no other node can take the VIP api, because no other node is
    up

Incidents
  9PX3QZ handled: node-b fell silent; node-a holds api and serves all of shoes
"""

RULES = """\
NODE    TARGET         WANTED      INSTALLED   VERIFIED   BY
node-a  VIP web        here        here        ✓ 2 s ago  plan 3.1
node-b  VIP api        here        here        ✓ 2 s ago  plan 3.1
node-a  shoes/node-a   weight 100  weight 100  ✓ 2 s ago  plan 3.42
node-a  shoes/node-b   out *       out         ✓ 2 s ago  plan 3.42
node-a  orders/node-a  weight 100  weight 100  ✓ 2 s ago  plan 3.42
node-a  orders/node-b  standby     standby     ✓ 2 s ago  plan 3.42
node-b  shoes/node-a   weight 100  weight 100  ✓ 2 s ago  plan 3.42
node-b  shoes/node-b   out *       out         ✓ 2 s ago  plan 3.42
node-b  orders/node-a  weight 100  weight 100  ✓ 2 s ago  plan 3.42
node-b  orders/node-b  standby     standby     ✓ 2 s ago  plan 3.42
* 1 rule is away from the original settings
"""

INCIDENTS = """\
INCIDENT  BEGAN (UTC)          STATE     TARGET        SWITCHED IN    FAILED  CAUSE
7K2F0A    2026-11-19 04:12:08  ✓ closed  shoes/node-b      10.0 ms  0 of 512  connection refused
"""

EVENTS = """\
2026-11-19 (UTC)
04:12:08.000  witness   arbiter             handled after 10.0 ms: shoes on node-b refused connections; node-a serves all of it  7K2F0A
04:12:08.000  witness   arbiter           ✗ shoes/node-b: connection refused (0.3 ms)
04:12:08.000  witness   arbiter           ✓ closed: the original settings are in force  7K2F0A
"""  # noqa: E501 - a line an event, whatever its length


def broken() -> State:
    """Return what is known after shoes failed on node-b and was handled."""
    wanted = plan(42, rules=without_b())
    reports = [measured(n, wanted, requests=50, failed=3) for n in ("node-a", "node-b")]
    return after(well(), IncidentOpened(incident=incident()), refused(), BROKEN, *reports)


def closed() -> State:
    return after(broken(), IncidentClosed(incident=incident(state=IncidentState.CLOSED)))


def lost() -> State:
    """Return what is known while node-b is dead and node-a has taken its VIP."""
    taken = Held(
        node="node-a",
        vip="api",
        term=(3, 42),
        holding=Holding.TAKEN,
        reason="granted",
        incident="9PX3QZ",
        guard_us=210,
        address_us=640,
    )
    seen = lost_b()
    opened = IncidentOpened(incident=node_lost())
    return after(well(), opened, taken, seen, measured("node-a", seen.plan))


def text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def test_status_of_a_cluster_that_is_well() -> None:
    assert text(status_lines(status(well(), START, NOW), PLAIN)) == WELL


def test_status_in_trouble_begins_with_the_verdict_and_ends_with_what_to_do() -> None:
    assert text(status_lines(status(broken(), START, NOW), PLAIN)) == BROKEN_STATUS


def test_status_that_is_stale_says_so_with_its_age_and_shows_nothing_as_well() -> None:
    shown = text(status_lines(status(well(), START + 7 * SECOND, NOW), PLAIN))
    assert shown == STALE
    assert "✓ up" not in shown


def test_status_of_a_console_that_knows_nothing() -> None:
    assert text(status_lines(status(begun(), START + 7 * SECOND, NOW), PLAIN)) == EMPTY


def test_status_of_a_lost_node_tells_who_has_its_vip_and_what_its_return_waits_for() -> None:
    assert text(status_lines(status(lost(), START, NOW), PLAIN)) == LOST_STATUS


def test_a_dark_vip_is_red_in_the_first_line_and_in_the_table() -> None:
    for vip_state in (VipState.DARK, VipState.WAITING):
        dark = situation(vips={"api": held("api", state=vip_state, reason="nobody is fit")})
        shown = status(after(well(), dark), START, NOW)
        assert shown["headline"] == "serving, 1 of 2 VIPs"
        lines = status_lines(shown, Look(colour=True))
        red = [line for line in lines if "203m" in line]
        assert "1 of 2 VIPs" in red[0]
        assert "10.0.0.101/24" in red[-1]
        plain = text(status_lines(shown, PLAIN))
        assert "✗ dark" in plain
        assert "nobody is fit" in plain


def test_without_vips_nothing_is_said_of_them() -> None:
    bare = replace(shop(), vips={})
    shown = text(status_lines(status(begun(bare), START, NOW), PLAIN))
    assert "VIP" not in shown


def test_explain_of_a_lost_node_tells_its_lease_and_where_its_vips_went() -> None:
    state = lost()
    shown = explain_lines(in_full(state, state.incidents["9PX3QZ"], NOW), PLAIN)
    assert text(shown) == LOST_EXPLAINED


def test_why_of_a_vip_tells_who_holds_it_why_and_what_it_waits_for() -> None:
    answer = why(lost(), "api", START, NOW)
    assert answer is not None
    assert text(why_lines(answer, PLAIN)) == WHY_VIP


@pytest.mark.parametrize("state", [well(), broken(), closed(), begun()])
@pytest.mark.parametrize("late_us", [0, 7 * SECOND])
def test_two_nodes_fit_a_terminal_of_80_by_24(state: State, late_us: int) -> None:
    lines = status_lines(status(state, START + late_us, NOW), PLAIN)
    assert len(lines) <= 24
    assert max(visible(line) for line in lines) <= 80


def test_colour_changes_no_letter_and_red_is_only_what_does_not_serve() -> None:
    for state in (well(), broken(), begun()):
        shown = status(state, START, NOW)
        plain = status_lines(shown, PLAIN)
        coloured = status_lines(shown, Look(colour=True))
        assert [visible(line) for line in coloured] == [visible(line) for line in plain]
        assert "203m" not in text(coloured)
    dark = after(well(), *(measured(n, balancer_ok=False) for n in ("node-a", "node-b")))
    assert "203m" in text(status_lines(status(dark, START, NOW), Look(colour=True)))


def test_explain_tells_the_whole_story() -> None:
    state = closed()
    shown = explain_lines(in_full(state, state.incidents["7K2F0A"], NOW), PLAIN)
    assert text(shown) == EXPLAINED
    # On a terminal the trace can be clicked; it is in one line however narrow that is.
    url = "http://jaeger/trace/7f2f09c47f2f09c47f2f09c47f2f09c4"
    narrow = Look(links=True, width=30)
    shown = explain_lines(in_full(state, state.incidents["7K2F0A"], NOW), narrow)
    (line,) = [line for line in shown if line.startswith("Trace")]
    assert line == f"Trace     \x1b]8;;{url}\x1b\\{url}\x1b]8;;\x1b\\"
    assert visible(line) == len(f"Trace     {url}")


def test_explain_of_a_running_incident_says_what_it_waits_for() -> None:
    state = after(begun(), IncidentOpened(incident=replace(incident(), phases=())))
    shown = text(explain_lines(in_full(state, state.incidents["7K2F0A"], NOW), PLAIN))
    assert "no phase is over yet" in shown
    assert "Return    its probes to be green" in shown
    assert "Restored  not yet" in shown


def test_explain_says_what_each_node_needed_to_switch() -> None:
    phases = (Phase(name="switch", duration_us=6_000), Phase(name="verify", duration_us=1_000))
    opened = IncidentOpened(incident=replace(incident(), phases=phases))
    done = Applied(
        node="node-b",
        boot_id="0",
        epoch=3,
        sequence=42,
        stage=Stage.VERIFIED,
        digest="d",
        incident="7K2F0A",
        detail="",
        persist_us=400,
        install_us=900,
        verify_us=1_100,
    )
    state = after(begun(), opened, done)
    shown = text(explain_lines(in_full(state, state.incidents["7K2F0A"], NOW), PLAIN))
    assert "6.00 ms  node-b 1.3 ms" in shown
    assert "1.00 ms  node-b 1.1 ms" in shown


def test_why_names_reasons_with_thresholds_and_sources() -> None:
    answer = why(broken(), "node-b", START, NOW)
    assert answer is not None
    assert text(why_lines(answer, PLAIN)) == WHY


def test_rules_show_three_truths() -> None:
    shown = rules_lines(rule_rows(broken(), START), PLAIN, only_differences=False)
    assert text(shown) == RULES


def test_no_difference_is_said_in_words() -> None:
    shown = rules_lines(rule_rows(well(), START), PLAIN, only_differences=True)
    assert text(shown) == "every node has what the plan wants\n"


def test_incidents_are_a_table() -> None:
    assert text(incident_lines(listed(closed(), NOW), PLAIN)) == INCIDENTS


def test_events_stand_under_their_day() -> None:
    found = history(closed(), since_wall_us=None, incident=None, limit=99)["events"]
    assert text(event_lines(found, PLAIN)) == EVENTS


SERVING = RuleView(admission="serving", weight=100)
OUT = RuleView(admission="out", weight=0)
STANDBY = RuleView(admission="standby", weight=0)


def answer(after: dict[str, RuleView]) -> WishAnswer:
    return WishAnswer(
        answer="accepted",
        text="ana takes node-b out",
        exit_code=0,
        incident="7M0CAA",
        plan={"epoch": 3, "sequence": 42},
        before={"shoes": {"node-a": SERVING, "node-b": SERVING}},
        after={"shoes": after},
        warnings=["node-a would carry 140 % of its limit"],
        undo="equipoise failback node-b",
        vips_before={"web": "node-a", "api": "node-b"},
        vips_after={"web": "node-a", "api": "node-a"},
    )


def test_a_plan_shows_what_changes_and_what_it_would_mean() -> None:
    shown = plan_lines(answer({"node-a": SERVING, "node-b": OUT}), PLAIN)
    assert shown == [
        "Plan 3.42       NOW         AFTER",
        "  shoes/node-b  weight 100  out",
        "  VIP api       node-b      node-a",
        "  ana takes node-b out",
        "▲ node-a would carry 140 % of its limit",
        "▲ node-a alone would serve shoes, with no spare",
    ]


def test_a_plan_that_changes_no_rule_says_so() -> None:
    same = answer({"node-a": SERVING, "node-b": SERVING})
    shown = plan_lines({**same, "vips_after": same["vips_before"]}, PLAIN)
    assert shown[0] == "Plan 3.42 changes no rule"


def test_the_last_spare_is_lost_when_only_one_is_left_that_was_not_alone_before() -> None:
    pair = {"node-a": SERVING, "node-b": STANDBY}
    single = {"node-a": SERVING, "node-b": OUT}
    assert losses({"x": pair}, {"x": single}) == ["node-a alone would serve x, with no spare"]
    assert losses({"x": single}, {"x": single}) == []
    assert losses({"x": single}, {"x": pair}) == []


def test_a_change_ends_with_its_incident_and_its_undo() -> None:
    given = answer({"node-a": SERVING, "node-b": OUT})
    change = Change(
        verb="failover",
        node="node-b",
        service=None,
        vip=None,
        to=None,
        dry_run=False,
        verified="yes",
        waited_us=1_000,
        **given,
    )
    assert done_lines(change, PLAIN) == [
        "✓ ana takes node-b out (verified)",
        "  api: node-b → node-a, answered there",
        'Incident 7M0CAA (planned).   Undo: equipoise failback node-b --reason "…"',
    ]
    late: Change = {**change, "verified": "no"}
    assert done_lines(late, PLAIN)[0] == "▲ ana takes node-b out (not verified in time)"
