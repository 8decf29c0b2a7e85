"""Guests: what takes care of the nodes where Equipoise does not, to be compared with it.

A file names them: the configuration of every node's HAProxy, and programs, which are started in a
member's namespace, kept running, and ready when their log has a text. Both may use what every
program of the sandbox is told, such as `EQUIPOISE_RUN_DIR`:

    {"balancers": {NODE: TEXT, or null where a guest balances in its place},
     "programs": [{"member": NODE, "name": NAME, "command": [WORD, …], "ready": PATTERN}, …]}

Clients then ask the virtual IPs, and observers watch them, as with Equipoise.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from services.sandbox.options import Options
from shared.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A program."""

    member: str
    name: str
    command: tuple[str, ...]
    ready: str  # a pattern that its log has when it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Guests:
    """All of them."""

    balancers: Mapping[str, str | None]  # of HAProxy, by node; None: it is not to run there
    programs: tuple[Guest, ...] = ()

    @classmethod
    def of(cls, options: Options) -> Self:
        """Return those that were asked for."""
        return cls(balancers={}) if options.guests is None else cls.read(options.guests)

    def balance(self, node: str) -> bool:
        """Return whether one of them balances on a node, so that HAProxy does not."""
        return node in self.balancers and self.balancers[node] is None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file."""
        try:
            content = json.loads(path.read_bytes())
            programs = tuple(
                Guest(**{**fields, "command": tuple(fields["command"])})
                for fields in content["programs"]
            )
            for guest in programs:
                re.compile(guest.ready)
            return cls(balancers=dict(content["balancers"]), programs=programs)
        except (OSError, ValueError, KeyError, TypeError, re.error) as problem:
            why = f"{type(problem).__name__}: {problem}"
            raise ConfigError(f"--guests {path} cannot be used: {why}") from problem
