"""What a valid configuration means when something is lost: told by `equipoise config check`."""

from shared.cluster import LEASE_LONGEST_US
from shared.settings.kinds import written_duration
from shared.settings.profiles import beating
from shared.settings.schema import File

SAFETY = "docs/vip-safety.md"


def notes(file: File) -> list[str]:
    """Return what people should know of a completed file that is neither error nor warning."""
    if not file.vips:
        return []
    _, lease_us = beating(file.heartbeat)
    within = written_duration(lease_us or LEASE_LONGEST_US)
    what = "the arbiter"
    if len(file.bus.servers) == 1:
        what = f"the only NATS server ({file.bus.servers[0]}) or the arbiter"
    goes = "the VIP goes" if len(file.vips) == 1 else "all VIPs go"
    goes = "the VIP goes" if len(file.vips) == 1 else "all VIPs go"
    dark = f"after at most {within} {goes} dark until it is back"
    return [f"while {what} is down, no lease is granted: {dark}; see {SAFETY}"]
