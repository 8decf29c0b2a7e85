"""The kernel's packet filter, through libnftables in this process: 0.1 ms a change.

Starting the program `nft` for each would take 16 ms, on the way of every lease.
"""

import ctypes
import os
import re
import sys
from collections.abc import Mapping
from ctypes import CDLL, c_char_p, c_int, c_uint, c_void_p
from pathlib import Path

from shared.errors import MachineError, SwitchError

NAME = "libnftables.so.1"
NAMED_BY = "EQUIPOISE_LIBNFTABLES"
# Where `deploy/setup` puts it, with the libraries it needs, if it may not install it.
OF_ENVIRONMENT = Path(sys.prefix) / "lib" / "equipoise"
SAID_MAX = 300  # characters of a complaint
REFUSED = (
    "the kernel does not let this process guard virtual IPs ({words}): run it as root with"
    " CAP_NET_ADMIN (in a container: cap_add: [NET_ADMIN, NET_RAW])"
)
STATUS = Path("/proc/self/status")
CAP_NET_ADMIN = 12  # its bit (capabilities(7))
_COMPLAINT = re.compile(r"^(?:\S+: )?Error: (.*)$", re.MULTILINE)


class AbsentError(SwitchError):
    """The kernel says that something that a transaction names is not there."""


class Libnftables:
    """One context of the library, used by one thread."""

    def __init__(self, library: CDLL) -> None:
        self._library = _declared(library)
        self._may = False
        self._context = library.nft_ctx_new(0)
        if not self._context:
            raise MachineError("libnftables has no memory for a context")
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def run(self, text: str) -> str:
        """Hand over one transaction, or questions, and return what is answered.

        Raises `AbsentError`, `MachineError` where this process lacks the right, or `SwitchError`.
        """
        if not self._may:
            # Who may not is not tried: the library would complain past our log, line by line.
            self._may = _may_administer()
            if not self._may:
                raise MachineError(REFUSED.format(words="no CAP_NET_ADMIN"))
        failed = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        answer: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        said: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        if failed:
            raise _error(said.decode("utf-8", "replace"))
        return answer.decode("utf-8", "replace")


def find(environ: Mapping[str, str], own: Path = OF_ENVIRONMENT) -> Libnftables:
    """Load the library that `EQUIPOISE_LIBNFTABLES` names, the system's, or our own copy."""
    named = environ.get(NAMED_BY, "")
    if named:
        return Libnftables(_load(Path(named), f"{NAMED_BY} is {named}, which"))
    try:
        return Libnftables(CDLL(NAME))
    except OSError as error:
        if not (own / NAME).exists():
            raise MachineError(
                f"libnftables, which guards virtual IPs in the kernel, is missing ({error}):"
                " install it (Debian and Ubuntu: sudo apt-get install libnftables1), or set"
                f" {NAMED_BY} to the path of {NAME}"
            ) from error
    return Libnftables(_load(own / NAME, f"{own / NAME}"))


def _may_administer() -> bool:
    """Whether this process has CAP_NET_ADMIN; what it has not, it never gets."""
    words = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return bool(int(words["CapEff"], 16) >> CAP_NET_ADMIN & 1)


def _load(path: Path, whose: str) -> CDLL:
    """Load a library, and before it those that lie beside it and that it may need."""
    beside = sorted(each for each in path.parent.glob("lib*.so.*") if each != path)
    if path.parent.name != OF_ENVIRONMENT.name:
        beside = []  # a folder of the system: it has its own order
    for _ in range(len(beside)):
        beside = [each for each in beside if not _loads(each)]
    try:
        return CDLL(str(path))
    except OSError as error:
        raise MachineError(f"{whose} cannot be loaded: {error}") from error


def _loads(path: Path) -> bool:
    """Load it for those that need it; one that needs another first is asked again later."""
    try:
        CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


def _declared(library: CDLL) -> CDLL:
    """Say what the functions take and return: a pointer is no int."""
    library.nft_ctx_new.argtypes, library.nft_ctx_new.restype = [c_uint], c_void_p
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [c_void_p]
        getattr(library, name).restype = c_int
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [c_void_p]
        getattr(library, name).restype = c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [c_void_p, c_char_p]
    library.nft_run_cmd_from_buffer.restype = c_int
    return library


def _error(said: str) -> SwitchError | MachineError:
    """Keep the kernel's or the library's own words, without the echo of ours."""
    found = _COMPLAINT.search(said)
    words = (found[1] if found else said.strip() or "without a word")[:SAID_MAX]
    if os.strerror(1) in words:
        return MachineError(REFUSED.format(words=words))
    text = f"nftables refuses: {words.removeprefix('Could not process rule: ')}"
    return AbsentError(text) if os.strerror(2) in words else SwitchError(text)
