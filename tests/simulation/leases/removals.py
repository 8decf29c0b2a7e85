"""The rules of docs/vip-safety.md, and how each is taken out of the real sources."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.planted.planting import Bug, planted
from tests.simulation.leases.weather import Fault

LEDGER = "services.arbiter.core.leases"
NODE = "services.traffic_switcher.core.leases"
SHELL = "services.traffic_switcher.shell"

MESSAGES = (Fault.LATE, Fault.DOUBLED, Fault.CUT)
SWITCHERS = (Fault.SWITCHER_KILL, Fault.SWITCHER_DIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One part of a rule, taken out of the source."""

    rule: int
    part: str  # what no longer holds
    place: str  # module:function
    correct: str
    wrong: str
    example: str  # how two holders come about
    storm: frozenset[Fault] = field(default=frozenset())  # the weather that brings it out
    known_seed: int = 0  # where the quick hunt begins, in that weather

    def __str__(self) -> str:
        return f"rule {self.rule}: {self.part}"


@contextmanager
def taken_out(removal: Removal) -> Iterator[None]:
    """Let a rule be missing for a while."""
    bug = Bug(
        name=removal.part,
        place=removal.place,
        correct=removal.correct,
        wrong=removal.wrong,
        caught_by="",
    )
    with planted(bug):
        yield


REMOVALS: tuple[Removal, ...] = (
    Removal(
        rule=1,
        part="the incarnation that a grant names is not compared",
        place=f"{NODE}.granting:beat_sent_at",
        correct="if grant.incarnation != state.incarnation:",
        wrong="if False:",
        example="A late answer to beat 17 of the process before is taken for one to beat 17 of the "
        "new one, which was sent much later.",
        storm=frozenset((*MESSAGES, *SWITCHERS, Fault.PEOPLE)),
        known_seed=12,
    ),
    Removal(
        rule=1,
        part="the number that a grant names is not compared",
        place=f"{NODE}.granting:beat_sent_at",
        correct="before = state.number - grant.number",
        wrong="before = 0",
        example="A late or doubled answer to an old beat counts from when the newest was sent.",
        storm=frozenset((*MESSAGES, Fault.PEOPLE, Fault.ISLE)),
    ),
    Removal(
        rule=2,
        part="the node counts a lease from when it heard the grant",
        place=f"{NODE}.granting:heard",
        correct="ends_at = lease_end(sent_at, grant.length_us)",
        wrong="ends_at = lease_end(now, grant.length_us)",
        example="The grant was on its way for longer than the margin for clocks is.",
        storm=frozenset((*MESSAGES, Fault.ISLE, Fault.SWITCHER_FREEZE)),
    ),
    Removal(
        rule=2,
        part="the arbiter counts only the newest grant",
        place=f"{LEDGER}:later",
        correct="return max(one, other)",
        wrong="return other",
        example="A new arbiter begins with shorter leases and forgets the longer one that still "
        "runs.",
        storm=frozenset((Fault.SUCCESSION, Fault.SWITCHER_FREEZE)),
        known_seed=96,
    ),
    Removal(
        rule=2,
        part="the arbiter counts as if its clock and the node's ran alike",
        place=f"{LEDGER}:bound_us",
        correct="return -(-(length_us + KERNEL_TICK_US) * faster // slower)",
        wrong="return length_us + KERNEL_TICK_US",
        example="The arbiter's clock runs 3 % fast, the node's 3 % slow.",
        storm=frozenset((Fault.ISLE, Fault.SWITCHER_FREEZE)),
        known_seed=8,
    ),
    Removal(
        rule=3,
        part="nothing is refused for its term",
        place=f"{NODE}.granting:is_above_floor",
        correct="return term > vip.floor",
        wrong="return True",
        example="A grant of the released term arrives late and opens the guard again.",
        storm=frozenset((*MESSAGES, Fault.PEOPLE, Fault.UNFIT)),
        known_seed=4,
    ),
    Removal(
        rule=3,
        part="a release clears grants of all terms",
        place=f"{LEDGER}:still_running",
        correct="if term > floor)",
        wrong="if floor == (0, 0))",
        example="A VIP goes away and comes back; the release of its first term is heard again "
        "while the second runs.",
        storm=frozenset((Fault.OVERTAKEN, Fault.DOUBLED, Fault.LATE, Fault.PEOPLE)),
    ),
    Removal(
        rule=4,
        part="the clock is read before the permit",
        place=f"{SHELL}.renewing:renew",
        correct="guard.permit(token)\n    now = clock.now()",
        wrong="now = clock.now()\n    guard.permit(token)",
        example="The process is frozen between reading the clock and its permit.",
        storm=frozenset((Fault.SWITCHER_STRIKE, Fault.ISLE)),
        known_seed=1,
    ),
    Removal(
        rule=4,
        part="what is left is not cut by the permit's life",
        place=f"{NODE}.granting:rests",
        correct="ends_at - now - PERMIT_US",
        wrong="ends_at - now",
        example="The process is frozen for a little less than the permit's life, just before its "
        "last renewal.",
        storm=frozenset((Fault.LAST_RENEWAL,)),
        known_seed=7,
    ),
    Removal(
        rule=7,
        part="a floor is forgotten with the process",
        place=f"{NODE}.deciding:start",
        correct="memory = beginning.memory or Memory()",
        wrong="memory = Memory(epoch=beginning.memory.epoch if beginning.memory else 0)",
        example="The process says a release, dies, comes back and is granted the VIP again; then "
        "the release arrives.",
        storm=frozenset((Fault.RELAPSE,)),
    ),
    Removal(
        rule=7,
        part="a floor is said before it is on the disk",
        place=f"{NODE}.beating:_hold",
        correct="floor=state.persisted.floors.get(name, NO_TERM)",
        wrong="floor=vip.floor",
        example="The disk is full, or the process dies before it has written what it said.",
        storm=frozenset((Fault.RELAPSE, Fault.DISK_FULL)),
    ),
    Removal(
        rule=7,
        part="who has lost its files goes on as if it had none to lose",
        place=f"{NODE}.granting:floors_of_the_new",
        correct="floor=max(vip.floor, floors.get(name, vip.floor))",
        wrong="floor=vip.floor",
        example="As with a forgotten floor.",
        storm=frozenset((Fault.RELAPSE, Fault.FILES_LOST)),
    ),
    Removal(
        rule=7,
        part="a floor is said before this process has closed what was left open",
        place=f"{NODE}.releasing:to_persist",
        correct="if state.is_new or not state.has_stood:",
        wrong="if state.is_new:",
        example="A switcher is killed, its successor cannot reach the kernel, in which the lease "
        "still runs, and says that it has let go.",
        storm=frozenset((Fault.KERNEL, Fault.SWITCHER_KILL, Fault.FILES_LOST, Fault.PEOPLE)),
        known_seed=6,
    ),
    Removal(
        rule=8,
        part="a new arbiter waits for nothing",
        place=f"{LEDGER}:is_unknown",
        correct="return not lessee.reports_all and now < ledger.unknown_until",
        wrong="return False",
        example="It gives the VIP to another while a lease of its predecessor runs.",
        storm=frozenset((Fault.SUCCESSION, Fault.OVERTAKEN)),
        known_seed=31,
    ),
    Removal(
        rule=8,
        part="grants of the arbiter before are taken",
        place=f"{NODE}.granting:is_of_the_past",
        correct="return grant.epoch < state.epoch",
        wrong="return False",
        example="All nodes have heard the new arbiter, which waits for nothing more; then a late "
        "grant of the old one arrives.",
        storm=frozenset((Fault.OVERTAKEN,)),
        known_seed=271,
    ),
)
