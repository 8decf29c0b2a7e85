"""A machine that cannot run a sandbox skips its tests, and says why; in CI that is a failure."""

import os
from collections.abc import Generator

import pytest

from tests.e2e.running import UnfitMachineError


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    """Turn the refusal of a fixture into a skip."""
    try:
        yield
    except UnfitMachineError as refusal:
        _skip(refusal)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Turn the refusal within a test into a skip."""
    try:
        yield
    except UnfitMachineError as refusal:
        _skip(refusal)


def _skip(refusal: UnfitMachineError) -> None:
    if os.environ.get("CI") == "true":
        raise AssertionError(f"CI must be able to run a sandbox: {refusal}") from refusal
    pytest.skip(str(refusal))
