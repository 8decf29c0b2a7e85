"""What OpenTelemetry's variables ask for (its specification: SDK configuration, OTLP exporter).

Those that only the exporter or its batches need are read by the SDK itself; here they are only
judged, since the SDK would end by some of them, and none of its words names the variable.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared.errors import ConfigError

PROTOCOL = "http/protobuf"
SECONDS = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
NUMBERS = (
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
)
_NUMBER = re.compile("[1-9][0-9]{0,8}")
_LENGTH = re.compile(r"(?=.*[1-9])[0-9]{1,8}(\.[0-9]{1,8})?")
COMPRESSIONS = ("none", "gzip", "deflate")
# `parentbased_…` is the same here: our traces begin with us.
SAMPLERS = ("always_on", "always_off", "traceidratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Where traces go, and how many of them."""

    url: str
    ratio: float  # 0 to 1


def read(endpoint: str | None, environ: Mapping[str, str]) -> Wanted | None:
    """Return what is wanted, None for no traces; raise `ConfigError` for what cannot be done."""
    url = _url(endpoint, environ)
    exporter = _value(environ, "OTEL_TRACES_EXPORTER") or "otlp"
    disabled = _value(environ, "OTEL_SDK_DISABLED").lower() == "true"
    if url is None or disabled or exporter == "none":
        return None
    if exporter != "otlp":
        raise ConfigError(f"OTEL_TRACES_EXPORTER is '{exporter}'; it must be otlp or none")
    _demand_http(environ)
    _demand_what_the_sdk_can_read(environ)
    if not url.startswith(("http://", "https://")):
        raise ConfigError(
            f"the endpoint of traces is '{url}'; it must begin with http:// or https://,"
            " as in http://jaeger:4318 (OTEL_EXPORTER_OTLP_ENDPOINT, or telemetry.otlp)"
        )
    ratio = _ratio(environ)
    return Wanted(url=url, ratio=ratio) if ratio > 0 else None


def _value(environ: Mapping[str, str], name: str) -> str:
    """Return a variable without blanks around it; an empty one is as good as none."""
    return environ.get(name, "").strip()


def _url(endpoint: str | None, environ: Mapping[str, str]) -> str | None:
    """Return where traces go: the variable for traces as it is, a base with the usual path."""
    if traces := _value(environ, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        return traces
    base = _value(environ, "OTEL_EXPORTER_OTLP_ENDPOINT") or endpoint
    return f"{base.rstrip('/')}/v1/traces" if base else None


def _demand_http(environ: Mapping[str, str]) -> None:
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if protocol := _value(environ, name):
            if protocol != PROTOCOL:
                raise ConfigError(
                    f"{name} is '{protocol}'; traces are sent by {PROTOCOL} only,"
                    " which collectors and Jaeger take on port 4318"
                )
            return


def _demand_what_the_sdk_can_read(environ: Mapping[str, str]) -> None:
    """Refuse what the SDK would end by, or silently take its own default for."""
    for name in (*SECONDS, *NUMBERS):
        text = _value(environ, name)
        if text and (_NUMBER if name in NUMBERS else _LENGTH).fullmatch(text) is None:
            what = "a whole number" if name in NUMBERS else "a number of seconds"
            raise ConfigError(f"{name} is '{text}'; it must be {what} above 0, as in 10")
    for name in ("OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"):
        text = _value(environ, name)
        if text and text not in COMPRESSIONS:
            one_of = ", ".join(COMPRESSIONS)
            raise ConfigError(f"{name} is '{text}'; it must be one of {one_of}")


def _ratio(environ: Mapping[str, str]) -> float:
    """Return which part of all incidents is traced."""
    said = _value(environ, "OTEL_TRACES_SAMPLER") or SAMPLERS[0]
    sampler = said.removeprefix("parentbased_")
    if sampler not in SAMPLERS:
        one_of = ", ".join(SAMPLERS)
        raise ConfigError(f"OTEL_TRACES_SAMPLER is '{said}'; it must be one of {one_of}")
    if sampler != "traceidratio":
        return float(sampler == "always_on")
    argument = _value(environ, "OTEL_TRACES_SAMPLER_ARG") or "1"
    try:
        ratio = float(argument)
    except ValueError:
        ratio = -1
    if not 0 <= ratio <= 1:
        raise ConfigError(
            f"OTEL_TRACES_SAMPLER_ARG is '{argument}'; it must be a number from 0 to 1, as in 0.25"
        )
    return ratio
