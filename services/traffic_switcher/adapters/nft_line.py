"""A line to nftables in the kernel that stays open: a question or a transaction is two calls.

The kernel does everything within the call that sends it, and its answers are there when that
returns; the next part of a listing, when the one before has been read. So nothing is waited for.
"""

import errno
import os
import socket
from collections.abc import Iterable, Mapping

from services.traffic_switcher.core import nft_elements
from shared.errors import SwitchError
from shared.instant import Duration
from shared.libnftables import AbsentError

NETLINK_NETFILTER = 12
ANSWER_MAX = 65_536  # the kernel fills parts of 32 KiB
LISTINGS_MAX = 5  # of one set, while others change the rules
_GENERATION = nft_elements.ask_generation()


class NftLine:
    """The rules of this network namespace; for one thread."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def commit(self, transaction: bytes) -> None:
        """Hand over a transaction; raise `AbsentError` or `SwitchError` if it is refused."""
        code = nft_elements.refusal(self._ask(transaction))
        if code == 0:
            return
        self.close()  # there may be more answers: to every change that was refused
        text = f"nftables refuses: {os.strerror(code or errno.EPROTO)}"
        raise AbsentError(text) if code == errno.ENOENT else SwitchError(text)

    def generation(self) -> int:
        """Return the number of the rule set."""
        return nft_elements.generation(self._ask(_GENERATION))

    def leases(self, addresses: Iterable[str]) -> Mapping[str, Duration]:
        """Return what is left of all that is in the sets of the leases of these."""
        found: dict[str, Duration] = {}
        for question in nft_elements.ask_leases(addresses):
            found |= self._listed(question)
        return found

    def close(self) -> None:
        """Hang up; the rules stay as they are."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _listed(self, question: bytes) -> Mapping[str, Duration]:
        for _ in range(LISTINGS_MAX):
            listing = nft_elements.Listing()
            self._send(question)
            while listing.ended is None:
                listing = nft_elements.heard(listing, self._receive())
            if listing.ended:
                raise SwitchError(f"the kernel does not list leases: {os.strerror(listing.ended)}")
            if not listing.interrupted:
                return listing.rests
        raise SwitchError("the kernel does not list leases: its rules change all the time")

    def _ask(self, question: bytes) -> bytes:
        self._send(question)
        return self._receive()

    def _send(self, question: bytes) -> None:
        try:
            if self._socket is None:
                self._socket = _opened()
            self._socket.send(question)
        except OSError as error:
            raise self._failed(error) from error

    def _receive(self) -> bytes:
        assert self._socket is not None
        try:
            return self._socket.recv(ANSWER_MAX)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> SwitchError:
        self.close()  # an answer that comes late is not taken for another's
        return SwitchError(f"nftables does not answer: {error.strerror or error}")


def _opened() -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    return socket.socket(socket.AF_NETLINK, kind, NETLINK_NETFILTER)
