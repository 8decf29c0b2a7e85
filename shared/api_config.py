"""What the command line says of a configuration with `-o json`: as `shared.api`, by its rules."""

from typing import Literal, TypedDict


class Finding(TypedDict):
    """One problem of a configuration: where, what, and how to mend it."""

    file: str
    line: int
    column: int
    length: int
    severity: Literal["error", "warning"]
    code: str
    path: str
    message: str
    help: str


class ConfigCheck(TypedDict):
    """Every problem of a configuration: `equipoise config check`."""

    valid: bool
    findings: list[Finding]
    notes: list[str]


class Origin(TypedDict):
    """One value in force, and where it comes from."""

    value: object
    origin: str


class ConfigShow(TypedDict):
    """The configuration in force, by path: `equipoise config show`."""

    values: dict[str, Origin]
