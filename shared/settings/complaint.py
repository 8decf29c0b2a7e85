"""A relation between keys that does not hold, and where it is shown."""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.settings.findings import Code, KeyPath, Severity


@dataclass(frozen=True, slots=True)
class Complaint:
    """A relation that does not hold."""

    severity: Severity
    code: Code
    about: tuple[KeyPath, ...]  # the first is where it is shown; the others it depends on
    text: str
    help: str
    at_key: bool = False  # whether the key is the culprit, not its value


def error(
    code: Code, about: Iterable[KeyPath], text: str, mend: str, *, at_key: bool = False
) -> Complaint:
    """Return a complaint that stops everything."""
    return Complaint(Severity.ERROR, code, tuple(about), text, mend, at_key)


def warning(
    code: Code, about: Iterable[KeyPath], text: str, mend: str, *, at_key: bool = False
) -> Complaint:
    """Return a complaint that people should know of."""
    return Complaint(Severity.WARNING, code, tuple(about), text, mend, at_key)
