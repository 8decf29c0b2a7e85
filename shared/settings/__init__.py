"""The configuration: one YAML file, the same on every node, and `EQUIPOISE_*` variables.

`load` reads everything, collects every problem, and raises one `ConfigError` whose text is the
whole report. Nothing reads the environment at import.
"""

from dataclasses import dataclass
from pathlib import Path

from shared.cluster import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a program of one member runs by."""

    cluster: Cluster
    member: str  # who we are: a node's name, or `witness`; "" for the command line
    key: bytes  # of the cluster, for UDP beats; never printed
    run_directory: Path  # sockets and what a restart may lose
    state_directory: Path  # what a restart must find again
    otlp_endpoint: str | None  # None: traces are off and cost nothing
    trace_ui: str | None  # a link with {trace_id}
    log_format: str  # "text" | "json" | "auto": text on a terminal, else JSON
    log_level: str
