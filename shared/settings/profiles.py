"""How beats and leases are set: by a profile, but for what is written out."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.instant import MILLISECOND, Duration
from shared.settings.schema import HeartbeatSection, Profile


@dataclass(frozen=True, slots=True)
class Beating:
    """What a profile stands for."""

    every_us: Duration
    lease_us: Duration | None  # None means auto


PROFILES: Mapping[Profile, Beating] = {
    Profile.DEFAULT: Beating(50 * MILLISECOND, None),
    Profile.FAST: Beating(20 * MILLISECOND, 120 * MILLISECOND),
}


def beating(section: HeartbeatSection) -> tuple[Duration, Duration | None]:
    """Return how often members beat and how long leases are, None for auto."""
    profile = PROFILES[section.profile]
    written = section.model_fields_set
    every_us = section.every if "every" in written else profile.every_us
    lease_us = section.lease if "lease" in written else profile.lease_us
    return every_us, lease_us
