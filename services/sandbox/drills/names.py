"""The drills' names, as people say them."""

from enum import StrEnum


class Name(StrEnum):
    """A drill."""

    KILL_INSTANCE = "kill-instance"
    HANG_INSTANCE = "hang-instance"
    ERROR_INSTANCE = "error-instance"
    KILL_SWITCHER_MEANWHILE = "kill-switcher-meanwhile"
    KILL_ARBITER_MEANWHILE = "kill-arbiter-meanwhile"
    PLANNED_FAILOVER = "planned-failover"
