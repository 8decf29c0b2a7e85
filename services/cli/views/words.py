"""Symbols and colours of states: the same everywhere."""

from collections.abc import Callable
from typing import cast

from services.cli.look import Look
from shared.api import IncidentBrief, Level, RuleView, Truth, Verdict

_NODE = {"up": "✓", "suspect": "▲", "dead": "✗", "maintenance": "⏸"}
_INSTANCE = {
    "home": "✓",
    "suspect": "▲",
    "held": "▲",
    "draining": "▲",
    "out": "✗",
    "observed": "↗",
    "matched": "↗",
    "ramping": "↗",
}
_VERDICT = {"serving": "✓", "degraded": "▲", "not-serving": "✗", "unknown": "?"}
_LEVEL = {"good": "✓", "attention": "▲", "bad": "✗", "plain": " "}


def verdict_text(verdict: Verdict, text: str, look: Look, *, dark: bool = False) -> str:
    """Return the verdict; red is only what does not serve, as a dark VIP does not."""
    if verdict == "degraded" and dark:
        return look.red(f"✗ {text}")
    paint: dict[str, Callable[[str], str]] = {"serving": look.good, "not-serving": look.red}
    return paint.get(verdict, look.amber)(f"{_VERDICT[verdict]} {text}")


def node_text(state: str, was: str, look: Look) -> str:
    """Return a node's state with its symbol; what is not known now says what it was."""
    if state == "unknown":
        return look.dim(f"? was {was}" if was else "?")
    text = f"{_NODE.get(state, '?')} {state}"
    return look.good(text) if state == "up" else look.amber(text)


def instance_text(state: str, text: str, look: Look) -> str:
    """Return an instance's state with its symbol."""
    if state == "unknown":
        return look.dim(f"? {text}".rstrip())
    full = f"{_INSTANCE.get(state, '?')} {text}"
    return look.good(full) if state == "home" else look.amber(full)


def truth_text(truth: Truth, yes: str, look: Look, *, no: str = "") -> str:
    """Return one of the truths; unknown is unknown, and never a yes or a no."""
    match truth:
        case "yes":
            return look.good(f"✓ {yes}".rstrip())
        case "no":
            return look.amber(f"✗ {no or yes}".rstrip())
        case "none":
            return look.dim("-")
        case _:
            return look.dim("?")


def level_symbol(level: Level, look: Look) -> str:
    """Return the symbol of an event or a fact."""
    symbol = _LEVEL[level]
    if level == "good":
        return look.good(symbol)
    return symbol if level == "plain" else look.amber(symbol)


def rule_text(rule: RuleView) -> str:
    """Return a rule as people read it."""
    return f"weight {rule['weight']}" if rule["admission"] == "serving" else rule["admission"]


def target_text(service: str | None, node: str | None) -> str:
    """Return what something is about: service/node, one of them, or the cluster."""
    return "/".join(part for part in (service, node) if part) or "the cluster"


def incident_state(incident: IncidentBrief, look: Look) -> str:
    """Return how far an incident has come, with its symbol."""
    state = incident["state"]
    return look.good(f"✓ {state}") if state == "closed" else look.amber(f"▲ {state}")


def plural(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def level_of(text: str) -> Level:
    """Return a level that came as text; what a newer console says is shown plainly."""
    return cast("Level", text) if text in _LEVEL else "plain"
