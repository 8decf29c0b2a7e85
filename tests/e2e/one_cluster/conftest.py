"""The sandbox of all of these tests, and where it sends its traces."""

from collections.abc import Iterator

import pytest

from tests.e2e.running import RunningSandbox, running_sandbox
from tests.fakes.otlp_receiver import OtlpReceiver


@pytest.fixture(scope="package")
def collector() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="package")
def sandbox(collector: OtlpReceiver) -> Iterator[RunningSandbox]:
    with running_sandbox("--rate", "100", "--otlp", collector.endpoint) as running:
        yield running
