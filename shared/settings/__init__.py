"""The configuration: one YAML file, the same on every member, and variables that win over it.

Everything is read, every problem is collected, and one report is made of them all. Nothing reads
the environment at import, and this module costs nothing: programs that only need the type
`Settings` do not import YAML or pydantic.

    load.load(path, environ) -> Settings            a member's program; raises one ConfigError
    load.examine(path, environ) -> Report           a person's look: no member's name needed, and
                                                    a key that only others may read is a warning
        report.valid, .findings, .settings          what was found; settings when there is no error
        report.text()                               the report, its last line the verdict
        report.as_json()                            [{file, line, column, length, severity, code,
                                                      path, message, help}]
        report.as_annotations()                     lines for GitHub's workflow log
    show.as_yaml(report, origins=False) -> str      the configuration in force, with all defaults
    show.as_json(report) -> dict                    {path: {"value", "origin"}}, of the same
    json_schema.json_schema() -> dict               for editors; json_schema.as_text() as a file
    schema.MODELINE, schema.MODELINE_JETBRAINS      the comments that lead editors to it

`python -m shared.settings` rewrites `docs/configuration.md` from the schema.
"""

from dataclasses import dataclass, field
from pathlib import Path

from shared.cluster import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a program of one member runs by."""

    cluster: Cluster
    member: str  # who we are: a node's name, or `witness`; "" for the command line
    key: bytes = field(repr=False)  # of the cluster, for UDP beats; never printed
    run_directory: Path  # sockets and what a restart may lose
    state_directory: Path  # what a restart must find again
    otlp_endpoint: str | None  # None: traces are off and cost nothing
    trace_ui: str | None  # a link with {trace_id}
    log_format: str  # "text" | "json" | "auto": text on a terminal, else JSON
    log_level: str
    # TCP addresses and ports; Unix sockets are there anyway.
    health_at: tuple[str, int] | None = None
    api_at: tuple[str, int] | None = None  # of the console
    docker_socket: Path | None = None  # where Docker's engine is asked; None: it is not
    warnings: tuple[str, ...] = ()  # one line each, for the log at start
