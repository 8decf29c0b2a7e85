"""The keys about what an instance is: its identity, its container, and the engine that runs it."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from shared.cluster import Unhealthy
from shared.instant import Duration
from shared.settings import kinds
from shared.settings.section import Section, defaulting, optional, schema_of_section


def _schema_of_identity(schema: dict[str, Any]) -> None:
    """Tell editors that an identity consists of something."""
    schema_of_section(schema)
    schema["type"] = "object"
    schema["anyOf"] = [{"required": ["http"]}, {"required": ["image"]}]


class IdentitySection(Section):
    """What must be equal on every node, so that one instance may take another's work."""

    model_config = ConfigDict(json_schema_extra=_schema_of_identity)

    http: Annotated[str | None, kinds.http_path()] = optional(
        "Ask this path of the instance.", example="/version"
    )
    header: Annotated[str | None, kinds.header()] = optional(
        "The identity is this header of the answer; without it, the answer's body.",
        example="X-Version",
    )
    every: Annotated[Duration, kinds.duration("1s", "24h")] = defaulting(
        "30s", "How often identities are compared; also at each return."
    )
    image: Annotated[bool | None, kinds.yes()] = optional(
        "The image of the instance's container counts too, or alone; it needs `docker`. Images "
        "for other processors differ.",
        example=True,
    )


class ContainedSection(Section):
    """The container that an instance runs in, of which its node's Docker engine tells."""

    container: Annotated[str, kinds.container()] = Field(
        description="The container's name; `{node}` in it becomes the node's name.",
        examples=["shop-{node}"],
    )
    unhealthy: Annotated[Unhealthy, kinds.choice(Unhealthy)] = defaulting(
        "suspicious",
        "What it is worth that the container's own health check fails: nothing (`ignored`), a "
        "suspicion that needs company, or `conclusive`. That it died always is.",
    )


class DockerSection(Section):
    """Where a node asks Docker's engine about the containers of its instances."""

    socket: Annotated[str | None, kinds.socket()] = optional(
        "The Unix socket, best that of `services.docker_gate`, which lets only reading "
        "through: docs/docker.md. Default: no engine is asked.",
        example="/run/equipoise-docker/docker.sock",
    )
