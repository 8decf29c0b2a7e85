"""Lets whoever may make namespaces run these tests: an ordinary user in a user namespace.

A machine that allows none skips them, and says why; in CI that is a failure.
"""

import os
import subprocess
import sys
from functools import cache

import pytest

from services.sandbox.machine import AS_ROOT_OF_ONE, find_tools, isolation
from shared.errors import MachineError

WITHIN_S = 220  # below the tests' own limit


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the test here, or within `unshare`, where an ordinary user is root; it is the same."""
    refusal, needs_user_namespace = _machine()
    if refusal and os.environ.get("CI") == "true":
        pytest.fail(f"CI must be able to make namespaces: {refusal}", pytrace=False)
    if refusal:
        pytest.skip(refusal)
    if not needs_user_namespace:
        return None
    test = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", pyfuncitem.nodeid)
    done = subprocess.run(
        ("unshare", *AS_ROOT_OF_ONE, "--net", "--", *test),
        cwd=pyfuncitem.config.rootpath,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )
    if done.returncode != 0:
        pytest.fail(f"within unshare:\n{done.stdout}\n{done.stderr}", pytrace=False)
    return True


@cache
def _machine() -> tuple[str, bool]:
    """Return why no namespaces can be made here, or whether only with one of users."""
    try:
        return "", AS_ROOT_OF_ONE[0] in isolation(find_tools(None))
    except MachineError as refusal:
        return str(refusal), False
