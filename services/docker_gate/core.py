"""Which questions pass, and which parts of the answers.

Rule 1: a request is compared with the four that pass, whole and byte by byte. Nothing of it is
handed on: the gate asks the engine in its own words, so that no trick of spelling reaches it.
Rule 2: only containers that were named at the start are spoken of, by their whole names: the
engine itself would also take the beginning of an id, or in a filter of events that of a name.
Rule 3: of an answer, only what is listed here comes back. A look at a container would otherwise
tell its environment, and with it every password in there.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from urllib.parse import quote

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_TARGET = re.compile(
    r"(?P<version>/v1\.[0-9]{1,3})?(?P<path>/[A-Za-z0-9_./-]+)(?:\?.*)?", re.DOTALL
)
_LOOK = re.compile(rf"/containers/(?P<name>{NAME.pattern})/json")
EVENTS = ("destroy", "die", "health_status", "kill", "oom", "pause", "start", "unpause")
# What passes of each answer: keys, and below them keys.
Parts = Mapping[str, "Parts | None"]
VERSION: Parts = {"Version": None, "ApiVersion": None, "MinAPIVersion": None}
LOOK: Parts = {
    "Name": None,
    "Image": None,
    "RestartCount": None,
    "State": {
        "Status": None,
        "ExitCode": None,
        "OOMKilled": None,
        "Health": {"Status": None, "FailingStreak": None},
    },
}
EVENT: Parts = {
    "Type": None,
    "Action": None,
    "Actor": {"Attributes": {"name": None, "exitCode": None, "signal": None}},
    "timeNano": None,
}


class Kind(Enum):
    """What may be asked."""

    PING = auto()
    VERSION = auto()
    EVENTS = auto()
    LOOK = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the gate asks the engine."""

    kind: Kind
    target: str
    name: str = ""  # of the container, where it is about one


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request does not pass."""

    status: int
    reason: str


def question(
    method: bytes, target: bytes, headers: Collection[tuple[bytes, bytes]], names: Collection[str]
) -> Question | Refused:
    """Return what to ask the engine for a request, or why it does not pass."""
    if method != b"GET":
        return Refused(405, "this gate lets only reading through")
    if any(name in (b"content-length", b"transfer-encoding", b"upgrade") for name, _ in headers):
        return Refused(400, "questions have no body, and are not upgraded")
    found = _TARGET.fullmatch(target.decode("latin-1"))
    if found is None:
        return Refused(403, "this gate does not know the question")
    version, path = found["version"] or "", found["path"]
    if path == "/_ping":
        return Question(kind=Kind.PING, target="/_ping")
    if path == "/version":
        return Question(kind=Kind.VERSION, target=f"{version}/version")
    if path == "/events":
        return Question(kind=Kind.EVENTS, target=f"{version}/events?{_filters(names)}")
    look = _LOOK.fullmatch(path)
    if look is None or look["name"] not in names:
        return Refused(403, "this gate lets /_ping, /version, /events and named containers through")
    target_of_look = f"{version}/containers/{look['name']}/json"
    return Question(kind=Kind.LOOK, target=target_of_look, name=look["name"])


def answer(asked: Question, body: bytes) -> bytes | Refused:
    """Return what passes of the engine's answer to anything but events."""
    if asked.kind is Kind.PING:
        return b"OK"
    whole = _object(body)
    if whole is None:
        return Refused(502, "the engine's answer is no JSON object")
    if asked.kind is Kind.VERSION:
        return _written(whole, VERSION)
    if whole.get("Name") != f"/{asked.name}":
        return Refused(404, f"No such container: {asked.name}")
    return _written(whole, LOOK)


def event(line: bytes, names: Collection[str]) -> bytes | None:
    """Return what passes of an event; None: it is about another container."""
    whole = _object(line)
    if whole is None or whole.get("Type") != "container":
        return None
    reduced: Any = _reduced(whole, EVENT)
    if reduced.get("Actor", {}).get("Attributes", {}).get("name") not in names:
        return None
    return json.dumps(reduced).encode() + b"\n"


def refusal(refused: Refused) -> bytes:
    """Return a refusal as the engine words its own."""
    return json.dumps({"message": refused.reason}).encode()


def _filters(names: Collection[str]) -> str:
    filters = {"type": ["container"], "container": sorted(names), "event": list(EVENTS)}
    return f"filters={quote(json.dumps(filters))}"


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _written(whole: Mapping[str, Any], parts: Parts) -> bytes:
    return json.dumps(_reduced(whole, parts)).encode()


def _reduced(whole: Mapping[str, Any], parts: Parts) -> dict[str, Any]:
    """Return the listed parts; where a value is to stand, nothing that holds others passes."""
    found: dict[str, Any] = {}
    for key, below in parts.items():
        value = whole.get(key)
        if below is None and isinstance(value, str | int):
            found[key] = value
        elif below is not None and isinstance(value, Mapping):
            found[key] = _reduced(value, below)
    return found
