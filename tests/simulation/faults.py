"""How each fault is injected, proved and healed.

Every injection returns whether it took effect, and only then is counted: a fault that hit nobody
proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from services.traffic_switcher.core.installed import Gate
from shared.instant import MILLISECOND, SECOND, Duration
from shared.messages.traffic import Command, Failover, Plan
from shared.rules import WEIGHT_MAX, Admission, Rule, original
from tests.simulation.broker import BUS
from tests.simulation.outside import Application, Health
from tests.simulation.processes import Process
from tests.simulation.weather import WITNESS, Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.simulation.world import World

T = TypeVar("T")

POINTS_MAX = 40  # a doomed process dies at one of its next so many points
COMMANDS_MAX = 200  # remembered for replays
FORGED_EPOCH = 1_000_000
OTHER_CONFIGURATION = "beef"


class Faults:
    """Injects what the weather wants, and heals all of it at the end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._blowing = False
        self._doomed: dict[Process, int] = {}
        self._remembered: list[tuple[str, Command]] = []
        self._inject: dict[Fault, Callable[[], bool]] = {
            Fault.ARBITER_CRASH: lambda: self._crash(world.arbiter),
            Fault.SWITCHER_CRASH: lambda: self._crash(self._one(world.switchers)),
            Fault.PROBE_CRASH: lambda: self._crash(self._one(world.observers)),
            Fault.HEARTBEAT_CRASH: lambda: self._crash(self._one(world.hearts)),
            Fault.CRASH_BETWEEN: self._doom,
            Fault.ARBITER_FREEZE: lambda: self._freeze(world.arbiter),
            Fault.SWITCHER_FREEZE: lambda: self._freeze(self._one(world.switchers)),
            Fault.PROBE_FREEZE: lambda: self._freeze(self._one(world.observers)),
            Fault.HEARTBEAT_FREEZE: lambda: self._freeze(self._one(world.hearts)),
            Fault.STUTTER: self._stutter,
            Fault.NODE_CRASH: self._darken,
            Fault.BUS_AWAY: self._bus_away,
            Fault.STREAM_AWAY: self._stream_away,
            Fault.CUT_ONE_WAY: self._cut_one_way,
            Fault.CUT_PEER: self._cut_peer,
            Fault.LOSS: lambda: self._disturb("loss", (0.02, 0.3)),
            Fault.DELAY: lambda: self._disturb("late", (0.05, 0.5)),
            Fault.DUPLICATION: lambda: self._disturb("doubled", (0.05, 0.5)),
            Fault.REPLAY: self._replay,
            Fault.EMPTY_PLAN: self._order_nothing,
            Fault.INSTANCE_KILL: self._kill,
            Fault.INSTANCE_HANG: lambda: self._ail(Health.HUNG),
            Fault.INSTANCE_ERROR: lambda: self._ail(Health.FAILING),
            Fault.INSTANCE_SLOW: lambda: self._ail(Health.SLOW),
            Fault.INSTANCE_OTHER: self._become_other,
            Fault.BALANCER_RESTART: self._restart_balancer,
            Fault.BALANCER_HANG: self._hang_balancer,
            Fault.FOREIGN_CLOSE: self._close_by_hand,
            Fault.FOREIGN_WEIGHT: self._weigh_by_hand,
            Fault.DISK_FULL: self._fill_disk,
            Fault.PEOPLE: self._people,
            Fault.CONFIGURATION: self._configure_otherwise,
        }

    # -- the storm -----------------------------------------------------------------------

    def blow(self) -> None:
        """Begin to inject what is on, each at times of its own."""
        self._blowing = True
        for fault in self._world.weather.every_us:
            self._later(fault)

    def _later(self, fault: Fault) -> None:
        every_us = self._world.weather.every_us[fault]
        delay_us = int(self._world.rng.expovariate(1) * every_us) + 1
        self._world.agenda.after(delay_us, self._strike, fault)

    def _strike(self, fault: Fault) -> None:
        if not self._blowing:
            return
        if self._inject[fault]():
            self._world.record.faults[fault] += 1
        self._later(fault)

    def calm(self) -> None:
        """Heal everything, at once."""
        self._blowing = False
        self._doomed.clear()
        world, network = self._world, self._world.network
        network.cut.clear()
        network.loss = network.late = network.doubled = 0.0
        world.broker.away = world.broker.stream_away = False
        for node in sorted(world.dark):
            self._power(node)
        for process in world.processes:
            process.wake(process.generation)
        for _, application in sorted(world.applications.items()):
            application.recover()
        for node in world.weather.cluster.nodes:
            world.switchers[node].disk.full = False
            world.balancers[node].start()
            self._unhang(node)
            self._open_by_hand(node)
        for name in world.hearts:
            self._configure(name, world.weather.cluster.configuration)
        self._note("the storm is over")

    def remember(self, node: str, command: Command) -> None:
        """Keep some commands, to be heard again."""
        if len(self._remembered) < COMMANDS_MAX:
            self._remembered.append((node, command))
        else:
            self._remembered[self._world.rng.randrange(COMMANDS_MAX)] = (node, command)

    def crashes_between(self, process: Process) -> bool:
        """Whether a process dies at this point."""
        if process not in self._doomed:
            return False
        self._doomed[process] -= 1
        if self._doomed[process] > 0:
            return False
        del self._doomed[process]
        self._world.record.faults[Fault.CRASH_BETWEEN] += 1
        return True

    # -- drawing -------------------------------------------------------------------------

    def _one(self, named: dict[str, T]) -> T:
        return named[self._world.rng.choice(sorted(named))]

    def _node(self) -> str:
        return self._world.rng.choice(list(self._world.weather.cluster.nodes))

    def _for_us(self, low_us: Duration, high_us: Duration) -> Duration:
        """Return a length of time, short ones more often."""
        share = self._world.rng.random()
        return low_us + int((high_us - low_us) * share * share)

    def _note(self, what: str) -> None:
        self._world.record.note(self._world.agenda.now, "fault", what)

    def _heal_after(self, low_us: Duration, high_us: Duration, heal: Callable[[], None]) -> None:
        def healed() -> None:
            if self._blowing:
                heal()

        self._world.agenda.after(self._for_us(low_us, high_us), healed)

    # -- processes and machines ----------------------------------------------------------

    def _crash(self, process: Process) -> bool:
        was_alive = process.alive
        process.crash()
        return was_alive and not process.alive

    def _doom(self) -> bool:
        """Let a process die between two of its next actions; counted when it does."""
        world = self._world
        chosen = world.rng.choice([world.arbiter, *world.switchers.values()])
        self._doomed[chosen] = world.rng.randrange(1, POINTS_MAX)
        return False

    def _freeze(self, process: Process, low_us: Duration = 0, high_us: Duration = 0) -> bool:
        if not process.alive or process.frozen_since is not None:
            return False
        process.freeze()
        slept_us = self._for_us(low_us or 100 * MILLISECOND, high_us or 6 * SECOND)
        self._world.agenda.after(slept_us, process.wake, process.generation)
        return True

    def _stutter(self) -> bool:
        process = self._world.rng.choice(self._world.processes)
        return self._freeze(process, 5 * MILLISECOND, 450 * MILLISECOND)

    def _darken(self) -> bool:
        """Take the power from a node."""
        world, node = self._world, self._node()
        if node in world.dark:
            return False
        self._note(f"{node} loses power")
        world.dark.add(node)
        for process in world.processes:
            if process.machine == node and process is not world.person:
                process.crash()
        world.balancers[node].stop()
        for (_, where), application in sorted(world.applications.items()):
            if where == node:
                application.die()
        self._heal_after(500 * MILLISECOND, 5 * SECOND, lambda: self._power(node))
        return True

    def _power(self, node: str) -> None:
        world = self._world
        if node not in world.dark:
            return
        self._note(f"{node} has power again")
        world.dark.discard(node)
        world.balancers[node].start()
        for (_, where), application in sorted(world.applications.items()):
            if where == node:
                application.recover()
        for process in world.processes:
            if process.machine == node:
                world.agenda.after(self._for_us(50_000, 800_000), process.start)

    # -- the bus and the network ---------------------------------------------------------

    def _bus_away(self) -> bool:
        broker = self._world.broker
        if broker.away:
            return False
        broker.away = True
        self._note("the bus is away")
        self._heal_after(100 * MILLISECOND, 5 * SECOND, self._bus_back)
        return True

    def _bus_back(self) -> None:
        self._world.broker.away = False
        self._note("the bus is back")

    def _stream_away(self) -> bool:
        broker = self._world.broker
        if broker.stream_away:
            return False
        broker.stream_away = True
        self._note("the stream is away")
        self._heal_after(100 * MILLISECOND, 5 * SECOND, self._stream_back)
        return True

    def _stream_back(self) -> None:
        self._world.broker.stream_away = False
        self._note("the stream is back")

    def _cut_one_way(self) -> bool:
        """Cut one direction between a machine and the bus."""
        machine = self._world.rng.choice([*self._world.weather.cluster.nodes, WITNESS])
        pair = (machine, BUS) if self._world.rng.random() < 0.5 else (BUS, machine)
        return self._cut(pair)

    def _cut_peer(self) -> bool:
        one, other = self._world.rng.sample([*self._world.weather.cluster.nodes, WITNESS], 2)
        return self._cut((one, other))

    def _cut(self, pair: tuple[str, str]) -> bool:
        cut = self._world.network.cut
        if pair in cut:
            return False
        cut.add(pair)
        self._note(f"nothing goes from {pair[0]} to {pair[1]}")

        def heal() -> None:
            cut.discard(pair)
            self._note(f"all goes from {pair[0]} to {pair[1]} again")

        self._heal_after(100 * MILLISECOND, 6 * SECOND, heal)
        return True

    def _disturb(self, what: str, share: tuple[float, float]) -> bool:
        network = self._world.network
        if getattr(network, what):
            return False
        setattr(network, what, self._world.rng.uniform(*share))
        self._note(f"{what} {getattr(network, what):.2f}")

        def heal() -> None:
            setattr(network, what, 0.0)
            self._note(f"no {what} any more")

        self._heal_after(200 * MILLISECOND, 5 * SECOND, heal)
        return True

    def _replay(self) -> bool:
        if not self._remembered:
            return False
        node, command = self._world.rng.choice(self._remembered)
        switcher = self._world.switchers[node]
        if not switcher.alive:
            return False
        self._note(f"{node} hears {command.plan.epoch}.{command.plan.sequence} again")
        switcher.deliver(command)
        return True

    def _order_nothing(self) -> bool:
        """Order that a service be left with nothing, with a number that any fence lets pass."""
        switcher = self._one(self._world.switchers)
        services = {
            name: dict(rules) for name, rules in original(self._world.weather.cluster).items()
        }
        emptied = self._world.rng.choice(sorted(services))
        services[emptied] = dict.fromkeys(services[emptied], Rule(Admission.OUT, 0))
        plan = Plan(epoch=FORGED_EPOCH, sequence=1, services=services, reason="a mistake")
        if not switcher.alive:
            return False
        self._note(f"{switcher.node} is told to leave {emptied} with nothing")
        switcher.deliver(Failover(plan=plan))
        return True

    # -- instances -----------------------------------------------------------------------

    def _application(self, healths: Sequence[Health]) -> Application | None:
        candidates = [
            application
            for (_, node), application in sorted(self._world.applications.items())
            if application.health in healths and node not in self._world.dark
        ]
        return self._world.rng.choice(candidates) if candidates else None

    def _kill(self) -> bool:
        application = self._application((Health.WELL, Health.SLOW, Health.HUNG, Health.FAILING))
        if application is None:
            return False
        self._note(f"{'/'.join(application.target)} is killed")
        application.die()
        self._heal_after(50 * MILLISECOND, 5 * SECOND, lambda: self._recover(application))
        return application.health is Health.DEAD

    def _ail(self, health: Health) -> bool:
        application = self._application((Health.WELL,))
        if application is None:
            return False
        application.health = health
        application.slow_us = self._world.rng.randrange(20 * MILLISECOND, 400 * MILLISECOND)
        self._note(f"{'/'.join(application.target)} is {health}")
        self._heal_after(50 * MILLISECOND, 5 * SECOND, lambda: self._recover(application))
        return True

    def _recover(self, application: Application) -> None:
        if application.target[1] not in self._world.dark:
            application.health = Health.WELL
            self._note(f"{'/'.join(application.target)} is well")

    def _become_other(self) -> bool:
        application = self._application((Health.WELL,))
        if application is None or application.identity != "1.0":
            return False
        application.die()
        application.identity = "1.1"
        self._note(f"{'/'.join(application.target)} is killed, and comes back as 1.1")
        self._heal_after(50 * MILLISECOND, 2 * SECOND, lambda: self._recover(application))
        self._heal_after(3 * SECOND, 9 * SECOND, lambda: self._downgrade(application))
        return True

    def _downgrade(self, application: Application) -> None:
        application.identity = "1.0"
        self._note(f"{'/'.join(application.target)} is 1.0 again")

    # -- load balancers and disks --------------------------------------------------------

    def _restart_balancer(self) -> bool:
        node = self._node()
        balancer = self._world.balancers[node]
        if not balancer.up:
            return False
        balancer.stop()
        self._note(f"the load balancer of {node} stops")
        self._heal_after(20 * MILLISECOND, 2 * SECOND, lambda: self._start_balancer(node))
        return True

    def _start_balancer(self, node: str) -> None:
        if node not in self._world.dark:
            self._world.balancers[node].start()
            self._note(f"the load balancer of {node} starts")

    def _hang_balancer(self) -> bool:
        node = self._node()
        balancer = self._world.balancers[node]
        if not balancer.up or balancer.hung:
            return False
        balancer.hung = True
        self._note(f"the load balancer of {node} hangs")
        self._heal_after(100 * MILLISECOND, 3 * SECOND, lambda: self._unhang(node))
        return True

    def _unhang(self, node: str) -> None:
        """Let a load balancer go on; it may still do what it was told while it hung."""
        balancer = self._world.balancers[node]
        balancer.hung = False
        late, balancer.late = balancer.late, []
        for act in late:
            if self._world.rng.random() < 0.5:
                act()
                balancer.touched = True

    def _close_by_hand(self) -> bool:
        node = self._node()
        balancer = self._world.balancers[node]
        open_ones = [t for t, s in sorted(balancer.servers.items()) if s.gate is Gate.OPEN]
        if not balancer.up or not open_ones:
            return False
        target = self._world.rng.choice(open_ones)
        self._note(f"somebody closes {'/'.join(target)} on {node}")
        balancer.servers[target].gate = Gate.CLOSED
        balancer.touched = True
        balancer.unseen.add(target)
        self._heal_after(SECOND, 6 * SECOND, lambda: self._open_by_hand(node))
        return True

    def _open_by_hand(self, node: str) -> None:
        balancer = self._world.balancers[node]
        if not balancer.up:
            self._heal_after(SECOND, 2 * SECOND, lambda: self._open_by_hand(node))
            return
        switcher = self._world.switchers[node]
        shown = switcher.state.memory.theirs if switcher.alive else frozenset()
        for target in sorted(balancer.unseen | balancer.foreign | shown):
            balancer.servers[target].gate = Gate.OPEN
            self._note(f"somebody opens {'/'.join(target)} on {node}")
        balancer.unseen.clear()
        balancer.foreign.clear()
        balancer.touched = True

    def _weigh_by_hand(self) -> bool:
        node = self._node()
        balancer = self._world.balancers[node]
        if not balancer.up:
            return False
        target = self._world.rng.choice(sorted(balancer.servers))
        weight = self._world.rng.randrange(1, WEIGHT_MAX)
        self._note(f"somebody gives {'/'.join(target)} on {node} weight {weight}")
        balancer.servers[target].weight = weight
        balancer.touched = True
        return True

    def _fill_disk(self) -> bool:
        node = self._node()
        disk = self._world.switchers[node].disk
        if disk.full:
            return False
        disk.full = True
        self._note(f"the disk of {node} is full")

        def heal() -> None:
            disk.full = False
            self._note(f"the disk of {node} has room")

        self._heal_after(200 * MILLISECOND, 4 * SECOND, heal)
        return True

    # -- people --------------------------------------------------------------------------

    def _people(self) -> bool:
        self._world.person.ask_something()
        return True

    def _configure_otherwise(self) -> bool:
        name = self._world.rng.choice(list(self._world.weather.cluster.nodes))
        if not self._world.hearts[name].alive:
            return False
        self._configure(name, OTHER_CONFIGURATION)
        usual = self._world.weather.cluster.configuration
        self._heal_after(2 * SECOND, 6 * SECOND, lambda: self._configure(name, usual))
        return True

    def _configure(self, name: str, configuration: str) -> None:
        """Restart a member's heartbeat with another file."""
        heart = self._world.hearts[name]
        if heart.configuration != configuration:
            heart.configuration = configuration
            self._note(f"{name} has the configuration {configuration}")
            heart.crash()
