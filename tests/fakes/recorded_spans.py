"""Keeps the spans that a program records, for tests to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.telemetry import ROOT_KEY, Attribute, Link, Telemetry
from shared.trace import SpanKind


@dataclass(frozen=True, slots=True)
class Span:
    """What was recorded."""

    incident: str
    key: str
    parent: str | None
    begin: int
    end: int
    kind: SpanKind
    links: tuple[Link, ...]
    attributes: Mapping[str, Attribute]


@dataclass
class Recording(Telemetry):
    """Keeps what is recorded."""

    enabled = True
    spans: list[Span] = field(default_factory=list)

    def record(
        self,
        *,
        name: str,
        incident: str,
        begin_wall_us: int,
        end_wall_us: int,
        parent: str | None,
        key: str,
        attributes: Mapping[str, Attribute],
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[Link] = (),
        failure: str = "",
    ) -> None:
        assert name
        assert not failure
        time = (begin_wall_us, end_wall_us)
        self.spans.append(Span(incident, key, parent, *time, kind, tuple(links), attributes))

    def whole(self, incident: str = "") -> dict[str, Span]:
        """Return an incident's spans by their keys; each once, below one that is there."""
        spans = [span for span in self.spans if incident in ("", span.incident)]
        by_key = {span.key: span for span in spans}
        assert len(by_key) == len(spans), "none twice"
        assert all(span.parent in by_key for span in spans if span.key != ROOT_KEY)
        assert by_key[ROOT_KEY].parent is None
        return by_key
