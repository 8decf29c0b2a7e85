"""Whatever becomes of nodes, switchers and arbiters: one holder, and home again in the end."""

from hypothesis import given, settings, strategies as st

from shared.instant import MILLISECOND, MINUTE, SECOND
from shared.messages.facts import IncidentClosed, IncidentOpened
from shared.messages.operator import Verb
from tests.unit.arbiter.leasing import Switcher, VipPlay, cluster_with

NODES = ("node-a", "node-b", "node-c")
VIPS = ("api", "mail", "web")
HOMES = {"web": "node-a", "api": "node-b", "mail": "node-a"}

times = st.integers(1, 60).map(lambda ticks: ticks * 20 * MILLISECOND)
nodes = st.sampled_from(NODES)
vips = st.sampled_from(VIPS)
steps = st.one_of(
    st.tuples(st.sampled_from(("lose", "find", "restart", "forget", "dead", "well")), nodes, times),
    st.tuples(st.sampled_from(("failover", "failback", "unfit")), vips, times),
    st.tuples(st.sampled_from(("arbiter", "pause", "bus")), st.just(""), times),
)


def act(play: VipPlay, what: str, whom: str) -> VipPlay:
    """Do one thing to somebody."""
    switcher = play.switchers.get(whom)
    match what:
        case "lose":
            play.lose(whom)
        case "find":
            play.find(whom)
        case "arbiter":
            return play.again()
        case "pause":
            play.now += 700 * MILLISECOND
        case "bus":
            play.mute |= {*NODES, "witness"}
            play.pass_by(600 * MILLISECOND)
            play.mute -= {*NODES, "witness"} - play.deaf
        case "failover" | "failback":
            play.ask(Verb(what), vip=whom)
        case "unfit":
            play.switchers[play.holders[whom]].leases[whom].unfit = "eth1 has no carrier"
        case _:
            assert switcher is not None
            of_switcher(switcher, what)
    return play


def of_switcher(switcher: Switcher, what: str) -> None:
    """Do one thing to a switcher."""
    if what in ("restart", "forget"):
        switcher.restart(remembers=what == "restart")
    else:
        switcher.balancer = "dead: connection refused" if what == "dead" else ""


def checked(play: VipPlay) -> None:
    """Compare what is and what is said with what must be at every moment."""
    assert not play.overlaps
    for vip, placement in play.plan.vips.items():
        assert placement.term <= play.plan.number
        assert placement.holder in play.cluster.nodes
        assert play.belief(vip).holder == placement.holder


@given(story=st.lists(steps, max_size=15))
@settings(max_examples=150, database=None, deadline=None)
def test_one_holder_at_a_time_and_all_home_when_all_is_well_again(
    story: list[tuple[str, str, int]],
) -> None:
    play = VipPlay(cluster=cluster_with(HOMES, nodes=3))
    opened: set[str] = set()
    closed: set[str] = set()
    for what, whom, time_us in story:
        before = play
        play = act(play, what, whom)
        play.pass_by(time_us)
        checked(play)
        if play is not before:
            opened |= {each.id for each in before.incidents(IncidentOpened)}
            closed |= {each.id for each in before.incidents(IncidentClosed)}
    play.find(*NODES)
    for switcher in play.switchers.values():
        switcher.balancer = ""
        for lease in switcher.leases.values():
            lease.unfit = ""
    play.pass_by(2 * SECOND)
    for vip in VIPS:
        play.ask(Verb.FAILBACK, vip=vip)
    until = play.now + 11 * MINUTE  # the longest hold-down, a ramp, and some more
    while (play.state.cases or play.held != HOMES) and play.now < until:
        play.pass_by(SECOND)
    checked(play)
    assert play.held == play.holders == HOMES
    opened |= {each.id for each in play.incidents(IncidentOpened)}
    closed |= {each.id for each in play.incidents(IncidentClosed)}
    assert not play.state.cases
    assert opened == closed
