"""Lets an ordinary user run these tests: each in a user namespace, where he is root."""

import os
import subprocess
import sys

import pytest

WITHIN_S = 100  # below the tests' own limit


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the test here as root, else within `unshare`; both are the same test."""
    if os.geteuid() == 0:
        return None
    isolated = ("unshare", "--user", "--map-root-user", "--net", "--")
    test = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", pyfuncitem.nodeid)
    done = subprocess.run(
        (*isolated, *test),
        cwd=pyfuncitem.config.rootpath,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )
    if done.returncode != 0:
        pytest.fail(f"within unshare:\n{done.stdout}\n{done.stderr}", pytrace=False)
    return True
