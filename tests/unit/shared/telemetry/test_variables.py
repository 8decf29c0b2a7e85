"""OpenTelemetry's variables are obeyed, and what they say wrong is said."""

import pytest

from shared.errors import ConfigError
from shared.telemetry.variables import Wanted, read

ENDPOINT = "http://collector:4318"


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_SAMPLER": "always_off"},
        {"OTEL_TRACES_SAMPLER": "parentbased_always_off"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
    ],
)
def test_traces_can_be_switched_off(environ: dict[str, str]) -> None:
    assert read(ENDPOINT, environ) is None


def test_without_an_endpoint_there_are_none() -> None:
    assert read(None, {"OTEL_TRACES_SAMPLER": "no such thing"}) is None
    assert read(None, {"OTEL_EXPORTER_OTLP_ENDPOINT": " "}) is None


@pytest.mark.parametrize(
    ("environ", "ratio"),
    [
        ({}, 1),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, 1),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, 1),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "0.5", "OTEL_BSP_SCHEDULE_DELAY": "500"}, 1),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, 1),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": ".25"},
            0.25,
        ),
        # The variable for traces wins over that for everything.
        (
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            1,
        ),
    ],
)
def test_what_is_asked_for_is_done(environ: dict[str, str], ratio: float) -> None:
    assert read(ENDPOINT, environ) == Wanted(url=f"{ENDPOINT}/v1/traces", ratio=ratio)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "jaeger:4318"}, "must begin with http:// or https://"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, "TIMEOUT is 'soon'; it must be a number of sec"),
        ({"OTEL_BSP_SCHEDULE_DELAY": "-1"}, "DELAY is '-1'; it must be a whole number above 0"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "SIZE is '0'; it must be a whole number above 0"),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "zip"},
            "COMPRESSION is 'zip'; it must be one of none, gzip, deflate",
        ),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "'zipkin'; it must be otlp or none"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "'grpc'; traces are sent by http/protobuf only"),
        ({"OTEL_TRACES_SAMPLER": "often"}, "'often'; it must be one of always_on"),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "25%"},
            "'25%'; it must be a number from 0 to 1",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"},
            "'nan'; it must be a number from 0 to 1",
        ),
    ],
)
def test_what_cannot_be_done_is_an_error_that_says_how_to_mend_it(
    environ: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        read(ENDPOINT, environ)
