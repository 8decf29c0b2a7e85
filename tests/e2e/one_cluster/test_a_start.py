"""What a start must not look like: a failure."""

import json

import pytest

from tests.e2e.holding import until_home
from tests.e2e.running import RunningSandbox

pytestmark = pytest.mark.sandbox


def test_a_cluster_that_starts_opens_no_incident(sandbox: RunningSandbox) -> None:
    until_home(sandbox)
    code, out, _ = sandbox.equipoise("incidents", "-o", "json")
    assert code == 0
    # A machine that starves at the start may have others: a lease that ran out, a hung process.
    causes = [incident["cause"] for incident in json.loads(out)["incidents"]]
    assert not [cause for cause in causes if "not started" in cause or "dead" in cause], causes
