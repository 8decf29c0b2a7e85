"""What a node means by a VIP's name: while files differ, one name may be two addresses.

Leases are of names; kernels hold addresses. A node that runs another file could be granted a name
here and open another's address there. So every beat says which address each name is on its node.

Rule 1: who means another address by a name is not granted it.
Rule 2: who shows an address of ours running under whatever name may hold our VIP of that address,
        until that lease has certainly ended. Only time ends it: floors are of the other name.
"""

from collections.abc import Iterator, Mapping

from shared.instant import Duration
from shared.messages.leases import Hold, LeaseBeat


def differs(hold: Hold, address: str) -> str:
    """Return why a node is not to be granted a VIP of this address; "" it means the same."""
    if hold.address == address:
        return ""
    if not hold.address:
        return "its switcher does not say which address it means: run the same version everywhere"
    return f"its file says {hold.address} for it, not {address}: run the same file everywhere"


def strays(beat: LeaseBeat, addresses: Mapping[str, str]) -> Iterator[tuple[str, Duration]]:
    """Yield our VIPs whose addresses a node has open under other names, and for how long yet."""
    names = {address: vip for vip, address in addresses.items()}
    for name, hold in beat.vips.items():
        vip = names.get(hold.address)
        if hold.rest_us > 0 and vip is not None and vip != name:
            yield vip, hold.rest_us
