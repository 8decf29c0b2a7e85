"""The number of the kernel's rule set: it rises with every change, whoever made it.

As long as only our own changes were counted, our tables are as we made them, and need not be
read again: one message instead of several listings, twenty times a second.
"""

import socket
import struct

from shared.errors import SwitchError
from shared.instant import SECOND, Duration

NETLINK_NETFILTER = 12
GET_GENERATION = (10 << 8) | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
NLM_F_REQUEST = 1
NFTA_GEN_ID = 1
ANSWER_WITHIN_US: Duration = SECOND  # it is answered within the call
ANSWER_MAX = 4_096
HEADERS = 20  # of netlink and of netfilter's messages
# length, type, flags, number, port; family, version, resource
_QUESTION = struct.pack("=IHHIIBBH", HEADERS, GET_GENERATION, NLM_F_REQUEST, 1, 0, 0, 0, 0)


class RuleGeneration:
    """Asks the kernel of this network namespace."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.settimeout(ANSWER_WITHIN_US / SECOND)

    def read(self) -> int:
        """Return the number."""
        try:
            self._socket.send(_QUESTION)
            answer = self._socket.recv(ANSWER_MAX)
        except OSError as error:
            raise SwitchError(f"the kernel does not say its rules' number: {error}") from error
        return _number(answer)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _number(answer: bytes) -> int:
    at = HEADERS
    while at + 4 <= len(answer):
        length, kind = struct.unpack_from("=HH", answer, at)
        if kind == NFTA_GEN_ID:
            return int.from_bytes(answer[at + 4 : at + 8], "big")
        at += max(4, (length + 3) & ~3)
    raise SwitchError("the kernel does not say its rules' number: no right to ask?")
