"""The drills: what each injects, how it proves that the fault was there, how it heals.

A drill that cannot fail proves nothing, so `missed` asks the kernel, the instance or HAProxy, and
never Equipoise, whether the fault was really in force, and `unhealed` whether it really ended.

    drill       what all drills have in common
    instances   one instance dies, hangs or fails
    balancers   a node's load balancer dies or hangs
    nodes       a whole node is unplugged, cut off, frozen, killed
    people      a planned move there and back, with connections that stay open meanwhile
    restarts    every service of ours in turn
"""

from collections.abc import Mapping

from services.sandbox.drills.catalogue.balancers import HangBalancer, KillBalancer
from services.sandbox.drills.catalogue.drill import Drill
from services.sandbox.drills.catalogue.instances import Fail, Hang, Kill
from services.sandbox.drills.catalogue.nodes import Cut, Freeze, KillNode, Unplug
from services.sandbox.drills.catalogue.people import Plan
from services.sandbox.drills.catalogue.restarts import RestartEverything
from services.sandbox.drills.judgement import Toll
from services.sandbox.drills.names import Name
from services.sandbox.network import Wire

DRILLS: Mapping[Name, Drill] = {
    Name.KILL_INSTANCE: Kill(),
    Name.HANG_INSTANCE: Hang(),
    Name.ERROR_INSTANCE: Fail(),
    # Without its switcher or the only arbiter, a VIP goes dark when its lease ends.
    Name.KILL_SWITCHER_MEANWHILE: Kill(name=Name.KILL_SWITCHER_MEANWHILE, toll=Toll.DARKNESS),
    Name.KILL_ARBITER_MEANWHILE: Kill(name=Name.KILL_ARBITER_MEANWHILE, toll=Toll.DARKNESS),
    Name.KILL_BALANCER: KillBalancer(),
    Name.HANG_BALANCER: HangBalancer(),
    Name.UNPLUG_NODE: Unplug(),
    Name.CUT_NODE: Cut(),
    Name.CUT_NODE_IN: Cut(name=Name.CUT_NODE_IN),
    Name.CUT_NODE_OUT: Cut(name=Name.CUT_NODE_OUT),
    Name.FREEZE_NODE: Freeze(),
    Name.KILL_NODE: KillNode(),
    Name.CLIENT_NETWORK_DOWN: Unplug(name=Name.CLIENT_NETWORK_DOWN, wires=(Wire.CLIENTS,)),
    Name.PLANNED_FAILOVER: Plan(),
    Name.RESTART_EVERYTHING: RestartEverything(),
}
