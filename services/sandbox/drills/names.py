"""The drills' names, as people say them."""

from enum import StrEnum


class Name(StrEnum):
    """A drill."""

    KILL_INSTANCE = "kill-instance"
    HANG_INSTANCE = "hang-instance"
    ERROR_INSTANCE = "error-instance"
    KILL_SWITCHER_MEANWHILE = "kill-switcher-meanwhile"
    KILL_ARBITER_MEANWHILE = "kill-arbiter-meanwhile"
    KILL_BALANCER = "kill-balancer"
    HANG_BALANCER = "hang-balancer"
    UNPLUG_NODE = "unplug-node"
    CUT_NODE = "cut-node"
    CUT_NODE_IN = "cut-node-in"
    CUT_NODE_OUT = "cut-node-out"
    FREEZE_NODE = "freeze-node"
    KILL_NODE = "kill-node"
    CLIENT_NETWORK_DOWN = "client-network-down"
    PLANNED_FAILOVER = "planned-failover"
    RESTART_EVERYTHING = "restart-everything"
