"""However beats and grants are delayed, and however clocks run: the node's end comes first."""

from hypothesis import given, settings, strategies as st

from services.arbiter.core.leases import answered, begun, end_of, heard
from shared.cluster import LEASE_LONGEST_US, VirtualIp
from shared.frozen import replace
from shared.instant import MILLISECOND, SECOND
from shared.messages.leases import Hold, LeaseBeat
from shared.messages.traffic import Placement
from tests.unit.arbiter.play import cluster_of

PLACED = {"web": Placement(holder="node-a", term=(2, 1))}
WEB = VirtualIp(name="web", address="10.1.0.100", prefix=24, home="node-a")
CLUSTER = replace(cluster_of(), vips={"web": WEB})
PARTS = 1_000_000  # clocks' rates are in millionths
rates = st.integers(970_000, 1_030_000)
# For each beat: time since the one before, its way to us, the length that is granted on it.
beats = st.lists(
    st.tuples(
        st.integers(1, 200 * MILLISECOND),
        st.integers(0, 900 * MILLISECOND),
        st.integers(100 * MILLISECOND, LEASE_LONGEST_US),
    ),
    min_size=1,
    max_size=20,
)


@given(node_rate=rates, arbiter_rate=rates, story=beats)
@settings(max_examples=300, deadline=None)
def test_a_nodes_lease_ends_before_the_arbiter_counts_it_as_over(
    node_rate: int, arbiter_rate: int, story: list[tuple[int, int, int]]
) -> None:
    ledger = begun(CLUSTER, 2, 0)
    sent = 0
    arrivals = []
    for number, (pause, way, length) in enumerate(story, 1):
        sent += pause
        arrivals.append((sent + way, number, sent, length))
    node_end = 0  # in true time, by the slowest reading of the node's clock
    for arrived, number, sent_at, length in sorted(arrivals):
        received_at = arrived * arbiter_rate // PARTS
        beat = LeaseBeat(
            node="node-a",
            incarnation="a",
            number=number,
            epoch=2,
            vips={"web": Hold(address=WEB.address)},
        )
        silent = LeaseBeat(node="node-b", incarnation="b", number=number, epoch=2, vips={})
        ledger = heard(heard(ledger, silent, received_at), beat, received_at)
        if ledger.lessees["node-a"].received_at != received_at:
            continue
        lessee = replace(ledger.lessees["node-a"], length_us=length)
        ledger = replace(ledger, lessees={**ledger.lessees, "node-a": lessee})
        ledger, grant = answered(ledger, "node-a", PLACED, received_at)
        if grant.vips and grant.number == number:
            # The node's clock shows `length` later than it showed when the beat went out.
            node_end = max(node_end, sent_at + -(-length * PARTS // node_rate))
            arbiter_end = end_of(ledger.lessees["node-a"], "web")
            assert node_end * arbiter_rate // PARTS <= arbiter_end


@given(
    node_rate=rates,
    arbiter_rate=rates,
    rest_us=st.integers(1, LEASE_LONGEST_US),
    way=st.integers(0, SECOND),
)
@settings(max_examples=200, deadline=None)
def test_a_reported_lease_ends_before_a_new_arbiter_counts_it_as_over(
    node_rate: int, arbiter_rate: int, rest_us: int, way: int
) -> None:
    ledger = begun(CLUSTER, 2, 0)
    hold = Hold(term=(1, 1), rest_us=rest_us, address=WEB.address)
    beat = LeaseBeat(node="node-a", incarnation="a", number=9, epoch=2, vips={"web": hold})
    ledger = heard(ledger, beat, way * arbiter_rate // PARTS)
    node_end = -(-rest_us * PARTS // node_rate)
    assert node_end * arbiter_rate // PARTS <= end_of(ledger.lessees["node-a"], "web")
