"""A change, step by step: plan, confirm, do, wait until it is verified, say how to undo it.

What was seen is what is done: the plan's number goes with the wish, and the arbiter refuses it
when the cluster has changed meanwhile.
"""

import os
import pwd
import sys
from typing import NamedTuple

import click

from services.cli.commands.names import Target, nodes_of, split
from services.cli.exits import Ended, Exit
from services.cli.lengths import MILLISECOND, SECOND, length
from services.cli.look import cleaned
from services.cli.pace import Pace
from services.cli.program import Context, look_of, nearest
from services.cli.views.change import done_lines, losses, plan_lines
from shared.api import Change, Number, Status, Truth, Wish, WishAnswer

ASK_EVERY_US = 100 * MILLISECOND
# What switches takes milliseconds; what drains or comes home takes what the policy says.
SWITCHED_WITHIN_US = 30 * SECOND
HOME_WITHIN_US = 300 * SECOND


class Flags(NamedTuple):
    """What a person said beside the target."""

    reason: str
    dry_run: bool
    wait: bool
    yes: bool
    force_unsafe: bool
    for_us: int | None = None
    to: str | None = None


class Operation:
    """One change that a person asks for."""

    def __init__(
        self, context: Context, verb: str, flags: Flags, *, until_home: bool = False
    ) -> None:
        self._context = context
        self._client = context.client
        self._verb = verb
        self._flags = flags
        self._until_home = until_home
        self._target = Target()

    def run(self, target: str | None, *, nodes_only: bool = False) -> None:
        """Do it, or end saying why not."""
        status = self._client.get("/api/v1/status", Status)
        self._aim(target, status, nodes_only=nodes_only)
        plan = status["plan"]
        if plan is None:
            text = status["knowledge"]["text"] or "no plan is known"
            raise Ended(Exit.UNREACHABLE, f"nothing can be changed now: {text}")
        expects = (plan["epoch"], plan["sequence"])
        rehearsed = self._ask(expects, dry_run=True)
        if self._flags.dry_run:
            self._finish(rehearsed, "none", 0)
            return
        self._confirm(rehearsed)
        answer = self._ask(expects, dry_run=False)
        verified, waited_us = self._wait(answer)
        self._finish(answer, verified, waited_us)

    def _aim(self, target: str | None, status: Status, *, nodes_only: bool) -> None:
        if target is None:
            return
        if nodes_only and target not in nodes_of(status):
            mend = nearest(target, nodes_of(status)) or f"known: {', '.join(nodes_of(status))}"
            raise Ended(Exit.WRONG, f"there is no node '{target}'", mend=mend)
        self._target = split(target, status)
        to = self._flags.to
        if to is None:
            return
        if self._target.vip is None:
            mend = "name a VIP, or leave --to out: load goes to all other nodes by weight"
            raise Ended(Exit.WRONG, f"--to is for VIPs, and '{target}' is none", mend=mend)
        if to not in nodes_of(status):
            mend = nearest(to, nodes_of(status)) or f"known: {', '.join(nodes_of(status))}"
            raise Ended(Exit.WRONG, f"there is no node '{to}'", mend=mend)

    def _ask(self, expects: tuple[int, int], *, dry_run: bool) -> WishAnswer:
        wish = Wish(
            node=self._target.node,
            service=self._target.service,
            vip=self._target.vip,
            to=self._flags.to,
            owner=_owner(),
            reason=self._flags.reason,
            for_us=self._flags.for_us,
            dry_run=dry_run,
            force=self._flags.force_unsafe,
            expects=expects,
        )
        answer = self._client.post(f"/api/v1/operator/{self._verb}", WishAnswer, wish)
        if answer["answer"] == "accepted":
            return answer
        mends = {
            "changed": "look at equipoise status, and ask again",
            "not-leading": "an arbiter is being elected: ask again in a second",
        }
        code = answer["exit_code"]
        text = f"refused ({code}): {answer['text']}"
        raise Ended(code, text, mend=mends.get(answer["answer"], ""))

    def _confirm(self, rehearsed: WishAnswer) -> None:
        """Show the plan and ask; whoever takes away the last spare types its name."""
        if self._flags.yes:
            return
        if not sys.stdin.isatty():
            text = "nobody can confirm this: standard input is not a terminal"
            raise Ended(Exit.WRONG, text, mend="add --yes, or see the plan with --dry-run")
        look = look_of(sys.stderr, no_color=self._context.no_color, plain=self._context.ascii)
        lines = plan_lines(cleaned(rehearsed), look)
        click.echo(look.finish("\n".join(lines)), err=True)
        name = self._target.name
        if name is not None and losses(rehearsed["before"], rehearsed["after"]):
            typed = click.prompt(f"Type {name} to go on", err=True, default="", show_default=False)
            if typed.strip() != name:
                raise Ended(Exit.FAILED, f"'{typed}' is not '{name}': nothing was done")
            return
        if not click.confirm("Go on?", err=True):
            raise Ended(Exit.FAILED, "nothing was done")

    def _wait(self, answer: WishAnswer) -> tuple[Truth, int]:
        """Wait until load balancers are verified and VIPs answer; a person's patience is first."""
        if not self._flags.wait:
            return "unknown", 0
        pace = Pace()
        begun_at, told = pace.now(), ""
        bound_us = self._context.timeout_us or self._bound_us()
        while True:
            waits_for = self._open_question(self._client.get("/api/v1/status", Status), answer)
            waited_us = pace.now() - begun_at
            if waits_for == "":
                return "yes", waited_us
            if waits_for != told:
                self._context.tell(f"… {waits_for}")
                told = waits_for
            if waited_us >= bound_us:
                return "no", waited_us
            pace.rest(ASK_EVERY_US)

    def _bound_us(self) -> int:
        return HOME_WITHIN_US if self._until_home else SWITCHED_WITHIN_US

    def _open_question(self, status: Status, answer: WishAnswer) -> str:
        """Return what the change still waits for, nothing when it is done."""
        known, plan = status["plan"], answer["plan"]
        if not status["knowledge"]["fresh"] or known is None:
            return status["knowledge"]["text"]
        if _before(known, plan):
            return "the arbiter makes the plan known"
        if self._verb in ("pause", "resume"):
            done = status["paused"] == (self._verb == "pause")
            return "" if done else "the arbiter takes note"
        open_question = _unproved(status, plan) or _unanswered(status, answer)
        if open_question or not self._until_home:
            return open_question
        return self._way_home(status) or self._vips_way_home(status)

    def _vips_way_home(self, status: Status) -> str:
        for vip in status["vips"]:
            named = self._target.vip in (None, vip["name"])
            meant = named and self._target.node in (None, vip["home"])
            if self._target.service is None and meant and vip["away"]:
                waits = f": {vip['waiting_for']}" if vip["waiting_for"] else ""
                return f"{vip['name']} is still held by {vip['holder']}{waits}"
        return ""

    def _way_home(self, status: Status) -> str:
        if self._target.vip is not None:
            return ""
        for service in status["services"]:
            for item in service["instances"]:
                meant = self._target.node in (None, item["node"])
                if self._target.service not in (None, service["name"]) or not meant:
                    continue
                if item["state"] != "home":
                    waits = f": {item['waiting_for']}" if item["waiting_for"] else ""
                    return f"{service['name']}/{item['node']} is {item['state']}{waits}"
        return ""

    def _finish(self, answer: WishAnswer, verified: Truth, waited_us: int) -> None:
        code = self._code(verified)
        change = Change(
            verb=self._verb,
            node=self._target.node,
            service=self._target.service,
            vip=self._target.vip,
            to=self._flags.to,
            dry_run=self._flags.dry_run,
            answer=answer["answer"],
            text=answer["text"],
            exit_code=int(code),
            incident=answer["incident"],
            plan=answer["plan"],
            before=answer["before"],
            after=answer["after"],
            warnings=answer["warnings"],
            verified=verified,
            waited_us=waited_us,
            undo=answer["undo"],
            vips_before=answer["vips_before"],
            vips_after=answer["vips_after"],
        )
        if self._flags.dry_run:
            self._context.show(change, plan_lines)
        else:
            self._context.show(change, done_lines)
        if code is not Exit.DONE:
            self._context.tell(f"done, but not verified within {length(waited_us)}")
            raise Ended(code)

    def _code(self, verified: Truth) -> Exit:
        if verified != "no":
            return Exit.DONE
        return Exit.TIMED_OUT if self._context.timeout_us is not None else Exit.UNVERIFIED


def _unproved(status: Status, plan: Number) -> str:
    """Return which load balancer is still to install or to verify a plan, of those that live."""
    for node in status["nodes"]:
        if node["role"] != "node" or node["state"] in ("dead", "unknown"):
            continue
        installed = node["installed_plan"]
        if installed is None or _before(installed, plan) or node["installed"] != "yes":
            return f"{node['name']} installs the plan"
        if node["verified"] != "yes":
            return f"a request through {node['name']} verifies it"
    return ""


def _unanswered(status: Status, answer: WishAnswer) -> str:
    """Return which of the VIPs that move does not answer at its new holder yet."""
    for vip in status["vips"]:
        holder = answer["vips_after"].get(vip["name"])
        if holder in (None, answer["vips_before"].get(vip["name"])):
            continue
        if vip["holder"] != holder or vip["state"] != "held":
            return f"{vip['name']} ({vip['address']}) answers on {holder}"
    return ""


def _before(older: Number, newer: Number) -> bool:
    return (older["epoch"], older["sequence"]) < (newer["epoch"], newer["sequence"])


def _owner() -> str:
    """Return who asks: the person's login, also behind sudo."""
    sudo = os.environ.get("SUDO_USER")
    if sudo:
        return sudo
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user without a name, as in containers
        return f"uid {os.getuid()}"
