"""The guard of virtual IPs in the kernel (rules 4 and 5 of docs/vip-safety.md).

Why a lease cannot outlive what was granted, whatever happens to this process in between. The
permit is committed at p and the clock read at c > p; the transaction reaches the kernel at b and
its lease element is made at x, to live for (end - c - PERMIT_US), rounded down to the kernel's
ticks. So it ends at or before its time if x - c <= PERMIT_US.

1. The kernel takes the transaction only if the permit still stands when it looks: then
   b - c < b - p <= PERMIT_US. Older kernels look when they come to the permit's deletion, which is
   last in the transaction: x <= b, and nothing is left to prove. Kernels since 6.8 (and stable
   ones since the beginning of 2024) fix the moment when the transaction begins: b <= x.
2. There, x - b is what the kernel itself needs within one system call: 0.1 ms, or more only if
   the processor is taken away from it right there. So the clock is read again afterwards, and a
   renewal that took longer than `PERMIT_US` since before its permit is at once done again with
   what is left then, or closed.
3. What remains is a process that loses the processor between b and x for longer than what was
   left of the permit, and is then stopped before its next instruction. The arbiter's own margin
   (one tick of the kernel, 10 ms) is on top of that.
"""

import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

from services.traffic_switcher.adapters.nft_line import NftLine
from services.traffic_switcher.adapters.ports import PERMIT_US
from services.traffic_switcher.core import connected, nft_elements, nft_listing, nft_words
from services.traffic_switcher.core.connected import Network
from services.traffic_switcher.core.nft_words import FAMILIES, GUARDING, TABLE, Guarded, Neighbour
from shared.clock import Clock
from shared.cluster import Cluster
from shared.errors import SwitchError
from shared.instant import SECOND, Duration, Instant
from shared.libnftables import AbsentError

NETWORKS = Path("/proc/net")
RENEWALS_MAX = 3  # of one lease, each because the one before took too long
# An interface that came or went needs the guard of packet sockets only when somebody wakes there.
EGRESS_EVERY_US: Duration = SECOND
# By name and number: one that went and came back under its name has lost its hook.
Interfaces: TypeAlias = tuple[tuple[str, int], ...]
# As long as nobody else changes any rule, what is open is what we opened, and time ends it. That
# the kernel's own time-outs do so is looked at as often as this.
LIST_EVERY_US: Duration = SECOND
NEVER = -1  # no generation of rules has this number


class Kernel(Protocol):
    """What takes our words: `shared.libnftables.Libnftables`."""

    def run(self, text: str) -> str:
        """Hand over one transaction, or questions, and return what is answered."""


class NftGuard:
    """The kernel's gate for the VIPs of one cluster, on this machine."""

    def __init__(self, kernel: Kernel, cluster: Cluster, clock: Clock) -> None:
        self._kernel = kernel
        self._clock = clock
        self._guarded = Guarded.of(cluster)
        self._handing: set[str] = set()
        self._draining: set[str] = set()
        self._permitted_at: Instant = 0
        self._line = NftLine()
        self._checked = NEVER  # the generation in which our tables were as we made them
        self._structure: Mapping[str, str] = {}
        self._egress = Egress(kernel, cluster, self._guarded)
        self._egress_after: Instant = 0
        self._open_until: dict[str, Instant] = {}  # as it was listed, and as we changed it since
        self._list_after: Instant = NEVER

    @property
    def lacks(self) -> str:
        """What this kernel cannot do for us, in words; "" it can all."""
        return self._egress.lacks

    def stand(self) -> None:
        """Make our tables anew, all at once, with every managed VIP closed: quarantine."""
        self._refuse_foreign()
        self._checked, self._structure = NEVER, {}
        self._run(nft_words.stand(self._guarded))
        self._draining.clear()
        self._handing.clear()
        self._open_until.clear()
        self._structure = self._found()
        self._egress.stand()

    def permit(self, token: int) -> None:
        """Commit an element that the kernel forgets after `PERMIT_US`."""
        self._permitted_at = self._clock.now()
        self._commit(nft_elements.permit(token, PERMIT_US))

    def renew(self, token: int, rests: Mapping[str, Duration]) -> bool:
        """Open the guard of these VIPs for so long, if the permit still stands; it is used up.

        False also if the kernel took so long that nothing could be proved: then they are closed.
        """
        since = self._permitted_at
        if not self._use_up(token, rests):
            return False
        for _ in range(RENEWALS_MAX):
            if self._clock.now() - since <= PERMIT_US:
                return True
            before = since
            self.permit(token)
            since, passed_us = self._permitted_at, self._clock.now() - before
            rests = {address: rest_us - passed_us for address, rest_us in rests.items()}
            if not self._use_up(token, rests):
                break
        self._shut(rests)
        return False

    def close(self, address: str, *, drain_us: Duration = 0) -> None:
        """Close it at once. For `drain_us`, connections that are open already are served on."""
        self._shut([address], drain_us=drain_us)
        if drain_us:
            self._draining.add(address)

    def hand_over(self, address: str, *, to: str, for_us: Duration) -> None:
        """Pass on to `to` what belongs to no connection begun here; to be set before `renew`."""
        if nft_words.family_of(to) != nft_words.family_of(address):
            raise SwitchError(f"{address} is not handed over to {to}: another version of IP")
        interface = connected.interface_of(to, _networks())
        if interface is None:
            raise SwitchError(
                f"{to} is in no network of this machine: {address} is not handed over"
            )
        neighbour = Neighbour(to, interface)
        self._run(nft_words.hand_over(self._guarded, address, neighbour, for_us))
        self._handing.add(address)

    def keep(self, address: str) -> None:
        """End handing over: what belongs to no connection is answered by a reset again."""
        if address not in self._handing:
            return
        self._handing.remove(address)
        family = nft_words.family_of(address)
        last = all(nft_words.family_of(other) != family for other in self._handing)
        self._run(nft_words.keep(self._guarded, address, last=last))

    def shows(self) -> Mapping[str, Duration]:
        """Return what is left of every running lease, as the kernel has it."""
        generation = self._line.generation()
        if generation != self._checked:
            self._check()
            self._checked = generation
            self._egress.is_doubtful = True
            self._list_after = NEVER
        self._look_at_egress()
        now = self._clock.now()
        if now >= self._list_after:
            found = self._line.leases(self._guarded.vips)
            self._open_until = {address: now + rest_us for address, rest_us in found.items()}
            self._list_after = now + LIST_EVERY_US
        return {at: end - now for at, end in self._open_until.items() if end > now}

    def _run(self, text: str) -> None:
        """Change tables, chains or rules."""
        self._kernel.run(text)
        self._count()

    def _commit(self, transaction: bytes) -> None:
        """Change elements."""
        self._line.commit(transaction)
        self._count()

    def _count(self) -> None:
        """Each transaction raises the generation by one."""
        if self._checked != NEVER:
            self._checked += 1

    def _use_up(self, token: int, rests: Mapping[str, Duration]) -> bool:
        ended = self._draining.intersection(rests)
        renewal = nft_elements.renew(token, rests, ended, egress=self._egress.stands)
        try:
            self._commit(renewal)
        except AbsentError:
            self._check()
            self._egress.is_doubtful = True
            self._egress.follow()
            return False
        self._draining -= ended
        self._open_until |= {at: self._permitted_at + rest_us for at, rest_us in rests.items()}
        return True

    def _shut(self, addresses: Iterable[str], *, drain_us: Duration = 0) -> None:
        """Close the guard, and end all draining that is not begun with it."""
        closed = frozenset(addresses)
        egress = self._egress.stands
        self._commit(nft_elements.close(closed, drain_us=drain_us, egress=egress))
        self._draining -= closed
        for address in closed:
            self._open_until.pop(address, None)

    def _check(self) -> None:
        """Raise `SwitchError` if our tables are not as we made them."""
        if not self._structure:
            raise SwitchError("the guard of virtual IPs does not stand: it was never made")
        for family, found in self._found().items():
            if found != self._structure[family]:
                raise SwitchError(f"table {family} {TABLE} was changed by somebody else")

    def _found(self) -> Mapping[str, str]:
        return {family: _structure(self._kernel, family) for family in GUARDING}

    def _look_at_egress(self) -> None:
        now = self._clock.now()
        if now >= self._egress_after:
            self._egress_after = now + EGRESS_EVERY_US
            self._egress.follow()

    def _refuse_foreign(self) -> None:
        tables = nft_listing.tables(self._kernel.run("list tables\n"))
        for family in FAMILIES:
            if (family, TABLE) not in tables:
                continue
            comment = nft_listing.comment(self._kernel.run(nft_words.look_at(family)))
            if comment != self._guarded.owner:
                raise SwitchError(
                    f"table {family} {TABLE} is not ours, and the guard of virtual IPs needs its"
                    f" name: its comment is {comment!r}, ours is {self._guarded.owner!r}."
                    " If nobody needs it, delete it:"
                    f" nft delete table {family} {TABLE}"
                )


class Egress:
    """The guard of what packet sockets send: where the kernel has that hook, by interface.

    A process of ours that was frozen while it announced a VIP sends when it wakes, and packet
    sockets pass by all other hooks. It is the last defence, not the only one: every announcement
    is decided anew when a process wakes. So it may be absent, and it is followed with a delay.
    """

    def __init__(self, kernel: Kernel, cluster: Cluster, guarded: Guarded) -> None:
        self._kernel = kernel
        self._guarded = guarded
        self._named = {vip.address: vip.interface for vip in cluster.vips.values()}
        self._interfaces: Interfaces = ()
        self._structure = ""
        self.is_doubtful = True  # somebody has changed some rules since it was looked at
        self.lacks = ""

    @property
    def stands(self) -> bool:
        """Whether its sets have to be kept as the others are."""
        return bool(self._structure)

    def stand(self) -> None:
        """Make it anew, closed."""
        self._interfaces, self._structure, self.lacks = self._wanted(), "", ""
        try:
            names = [name for name, _ in self._interfaces]
            self._kernel.run(nft_words.watch_egress(self._guarded, names))
            if self._interfaces:
                self._structure = _structure(self._kernel, "netdev")
        except SwitchError as error:
            self.lacks = f"what packet sockets send is not guarded: {error}"

    def follow(self) -> None:
        """Make it anew if it is not as it was made, or interfaces have come or gone."""
        is_doubtful, self.is_doubtful = self.is_doubtful, False
        if self._wanted() != self._interfaces or (is_doubtful and self._found() != self._structure):
            self.stand()

    def _found(self) -> str:
        try:
            return _structure(self._kernel, "netdev")
        except SwitchError:
            return ""

    def _wanted(self) -> Interfaces:
        """Return the interfaces of the VIPs, as far as they are there."""
        networks = _networks()
        found = {
            named or connected.interface_of(address, networks)
            for address, named in self._named.items()
        }
        there = {name: index for index, name in socket.if_nameindex()}
        return tuple(sorted((each, there[each]) for each in found if each in there))


def _structure(kernel: Kernel, family: str) -> str:
    try:
        return nft_listing.structure(kernel.run(nft_words.look_at(family)))
    except AbsentError:
        raise SwitchError(f"table {family} {TABLE} was removed by somebody else") from None


def _networks() -> tuple[Network, ...]:
    return connected.networks(_read("route"), _read("ipv6_route"))


def _read(name: str) -> str:
    """Read what the kernel says of our network namespace; without IPv6 it has no file for it."""
    try:
        return (NETWORKS / name).read_text()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise SwitchError(f"{NETWORKS / name} cannot be read: {error.strerror}") from error
