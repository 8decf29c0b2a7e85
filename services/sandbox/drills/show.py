"""What the launcher shows of a sandbox: that it is ready, drills one after the other, what next.

With `--once` the cluster ends after the drills, and the exit code says whether all went well; else
it stays, with the commands to try.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from services.sandbox.audit import Summary, audit_orders
from services.sandbox.configuration import SERVICES
from services.sandbox.control import SOCKET, ControlClient
from services.sandbox.drills import telling
from services.sandbox.drills.catalogue import DRILLS
from services.sandbox.drills.catalogue.drill import Aim, Injected
from services.sandbox.drills.console import Console
from services.sandbox.drills.names import Name
from services.sandbox.drills.play import PATIENCE, Play, until_fit
from services.sandbox.drills.report import DrillResult, Report, report, wall_us
from services.sandbox.drills.scene import Scene
from services.sandbox.drills.screen import Screen
from services.sandbox.network import node_names
from services.sandbox.options import Options, Output
from services.sandbox.parts import journal, read_journals
from services.sandbox.supervisor import Stage
from shared.api import Event, IncidentView
from shared.clock import Clock
from shared.errors import EquipoiseError
from shared.instant import MILLISECOND, SECOND, Duration, Instant

LOOK_EVERY_US: Duration = 100 * MILLISECOND
FIT_WITHIN_US: Duration = 60 * SECOND
EARLY_US: Duration = 100 * MILLISECOND  # a probe on its way when the fault came began before it
LATE_EVENTS_US: Duration = 100 * MILLISECOND  # an incident's last lines, before it is explained


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """Everything that is said about one sandbox."""

    folder: Path
    options: Options
    found: bool  # whether other commands find this sandbox unasked
    clock: Clock
    environ: Mapping[str, str]  # for other programs of ours
    screen: Screen

    async def run(self) -> int:
        """Wait until the cluster is there, play, and stay or end with an exit code."""
        await self._until_ready()
        self._warn()
        if not self.options.plays:
            self._leave(None)
            await asyncio.Event().wait()
        try:
            played = await self._play()
        except EquipoiseError as problem:
            played = report([], nodes=0, rate=0, findings=[str(problem)])
        self._close(played)
        if not self.options.once:
            self._leave(next((x["incident"] for x in reversed(played["drills"])), None))
            await asyncio.Event().wait()
        return 0 if played["ok"] else 1

    def _warn(self) -> None:
        """Say it if a safety was taken out: figures of such a sandbox are no figures of ours."""
        if self.options.weak is not None:
            self.screen.line(
                f"WEAKENED ON PURPOSE ({self.options.weak}): VIPs may have two holders"
            )

    async def _until_ready(self) -> None:
        """Wait for all programs; if one does not come up, the cluster's keeper says why."""
        begin_at = self.clock.now()
        self.screen.line(f"starting {self.options.nodes} nodes and a witness on this machine …")
        while not (self.folder / SOCKET).exists():
            await self.clock.sleep(LOOK_EVERY_US)
        control = await ControlClient.connect(self.folder / SOCKET)
        try:
            while True:
                sights = (await control.programs()).values()
                ready = sum(sight.stage is Stage.READY for sight in sights)
                if ready == len(sights):
                    break
                self.screen.progress(f"  {ready} of {len(sights)} programs are ready")
                await self.clock.sleep(LOOK_EVERY_US)
        finally:
            control.close()
        took_us = self.clock.now() - begin_at
        self.screen.line(
            f"{self.folder.name} is ready after {took_us / SECOND:.1f} s: "
            f"{len(sights)} programs, {self.options.rate} requests/s; logs in {self.folder}/logs"
        )

    async def _play(self) -> Report:
        """Play every drill as often as asked for."""
        results: list[DrillResult] = []
        findings: list[str] = []
        scene = await Scene.open(self.folder, self.clock)
        narrator = Narrator(show=self, console=scene.console)
        following = asyncio.create_task(narrator.follow()) if self.options.repeat == 1 else None
        try:
            for place, name in enumerate(self.options.plays):
                for number in range(self.options.repeat):
                    await until_fit(scene, narrator, FIT_WITHIN_US)
                    if not results:
                        scene.drop()
                    aims = DRILLS[name].aims(scene.cluster)
                    aim = aims[(place + number) % len(aims)]  # others in turn
                    results.append(await self._play_one(scene, name, aim, narrator))
                    self._count(results[-1], number)
        except EquipoiseError as problem:
            findings.append(str(problem))
        finally:
            if following:
                following.cancel()
            scene.close()
        doubled = audit_orders([], read_journals(self.folder)).doubled
        if doubled and not any(play["requests"]["doubled"] for play in results):
            findings.append(f"{len(doubled)} POSTs were done twice, such as {doubled[0]}")
        if self.options.weak is not None:
            findings.append(f"this sandbox was weakened on purpose: {self.options.weak}")
        return report(results, nodes=self.options.nodes, rate=self.options.rate, findings=findings)

    async def _play_one(
        self, scene: Scene, name: Name, aim: Aim, narrator: "Narrator"
    ) -> DrillResult:
        narrator.begin()
        play = Play(
            scene=scene,
            drill=DRILLS[name],
            aim=aim,
            audience=narrator,
            patience=PATIENCE,
            findings=[],
        )
        played = await play.run()
        if self.options.repeat == 1:
            await self.clock.sleep(LATE_EVENTS_US)
            await narrator.end(played)
        return played

    def _count(self, played: DrillResult, number: int) -> None:
        """Say a line of each of many plays."""
        of = self.options.repeat
        if of > 1:
            self.screen.line(telling.play_line(played, number + 1, of, colour=self.screen.colour))

    def _close(self, played: Report) -> None:
        if self.options.output is Output.JSON:
            print(json.dumps(played, indent=2), flush=True)
        else:
            self.screen.line()
            self.screen.lines(telling.summary_table(played, colour=self.screen.colour))

    def _leave(self, last: str | None) -> None:
        """Say what to do with a cluster that goes on running."""
        service = SERVICES[0].name
        last_node = node_names(self.options.nodes)[-1]
        victim = journal(self.folder, last_node, service)
        self.screen.line()
        self.screen.line("The cluster goes on running. In another terminal, try:")
        self.screen.line()
        self.screen.lines(telling.next_steps(self._command(), last, service, victim))
        self.screen.line()
        self.screen.line("Ctrl-C ends it and leaves nothing behind.")

    def _command(self) -> str:
        """Return how a person calls `equipoise` for this sandbox."""
        script = Path(sys.executable).with_name("equipoise")
        command = f"{sys.executable} -m services.cli"
        if script.exists():
            inside = script.is_relative_to(Path.cwd())
            command = str(script.relative_to(Path.cwd()) if inside else script)
        return command if self.found else f"EQUIPOISE_API={self._api()} {command}"

    def _api(self) -> Path:
        return self.folder / "node-a" / "api.sock"

    async def explain(self, incident: str) -> None:
        """Let the command line explain an incident."""
        command = [sys.executable, "-m", "services.cli", "--api", str(self._api())]
        await self.screen.carry([*command, "explain", incident], self.environ)


@dataclass(slots=True, kw_only=True)
class Narrator:
    """Tells one play to people, as it goes."""

    show: Show
    console: Console
    _choice: telling.Choice = field(default_factory=telling.Choice)
    _begin_wall_us: int | None = None
    _waiting_since: Instant | None = None
    _heard: set[str] = field(default_factory=set)  # a console that was restarted says all again

    @property
    def _silent(self) -> bool:
        return self.show.options.repeat > 1

    async def follow(self) -> None:
        """Tell what happens, from the console's stream of events."""
        while True:  # the console itself may be restarted
            with suppress(OSError, EOFError):
                async for event in self.console.follow():
                    self._tell(event)
            await self.show.clock.sleep(LOOK_EVERY_US)

    def _tell(self, event: Event) -> None:
        begin_us = self._begin_wall_us
        if begin_us is None or wall_us(event["time"]) < begin_us - EARLY_US:
            return
        if event["id"] in self._heard or not self._choice.tells(event):
            return
        self._heard.add(event["id"])
        after_us = wall_us(event["time"]) - begin_us
        screen = self.show.screen
        colour, width = screen.colour, screen.width
        screen.line(telling.event_line(event, after_us, colour=colour, width=width))

    def begin(self) -> None:
        """Begin with another play."""
        self._choice.begin()
        self._waiting_since = None

    def injected(self, words: str, injected: Injected) -> None:
        """Tell that a fault was made."""
        self._begin_wall_us = injected.begin_wall_us
        if not self._silent:
            screen = self.show.screen
            screen.line()
            screen.line(telling.act_line(words, colour=screen.colour))

    def handled(self, incident: IncidentView, felt: Summary) -> None:
        """Tell how Equipoise coped."""
        if not self._silent:
            self._aside(telling.handled_line(incident))
            self._aside(telling.felt_line(felt))

    def healed(self, words: str) -> None:
        """Tell that a fault was ended."""
        if self._silent or self._begin_wall_us is None:
            return
        at = telling.since(self.show.clock.wall() - self._begin_wall_us)
        colour = self.show.screen.colour
        self.show.screen.line(telling.act_line(words, at, colour=colour))

    def waits(self, text: str) -> None:
        """Show what is waited for, and for how long."""
        if self._waiting_since is None:
            self._waiting_since = self.show.clock.now()
        waited_us = self.show.clock.now() - self._waiting_since
        self.show.screen.progress(f"  … waiting {text}, {waited_us // SECOND} s")

    def _aside(self, text: str) -> None:
        screen = self.show.screen
        screen.line(telling.MARGIN + telling.painted(telling.BOLD, text, colour=screen.colour))

    async def end(self, played: DrillResult) -> None:
        """Tell how it ended, and let the incident be explained."""
        self._begin_wall_us = None
        screen = self.show.screen
        screen.lines(telling.steps_lines(played))
        screen.line(telling.verdict_line(played, colour=screen.colour))
        if played["incident"]:
            screen.line()
            await self.show.explain(played["incident"])


async def attend(
    folder: Path, options: Options, clock: Clock, *, found: bool, environ: Mapping[str, str]
) -> int:
    """Show one sandbox, from its start on; return the exit code, or stay until cancelled."""
    stream = sys.stderr if options.output is Output.JSON else sys.stdout
    show = Show(
        folder=folder,
        options=options,
        found=found,
        clock=clock,
        environ=environ,
        screen=Screen(stream, os.environ),
    )
    return await show.run()
