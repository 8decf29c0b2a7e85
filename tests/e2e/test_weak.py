"""The observers are proved: where a safety is taken out, a drill reports two holders and fails.

That they see none where everything is in place is shown in test_node_drills.
"""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from services.sandbox.options import Weak
from tests.e2e.running import ran

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]

OVERLAP_MIN_MS = 100.0  # what is taken out costs much more, and nothing else costs so much


def played(weak: Weak, drill: str) -> Mapping[str, Any]:
    """Play one drill in a sandbox that was weakened; it must fail."""
    result = ran("--weak", weak, "--once", "--drill", drill, "-o", "json", within_s=150)
    report = json.loads(result.out)
    assert (result.code, report["ok"]) == (1, False)
    assert f"this sandbox was weakened on purpose: {weak}" in report["findings"]
    (play,) = report["drills"]
    return dict(play)


def test_without_the_guard_a_frozen_node_goes_on_answering_and_both_pairs_of_eyes_see_it() -> None:
    play = played(Weak.NO_GUARD, "freeze-node")
    assert play["vip_overlap_ms"] > OVERLAP_MIN_MS
    assert any("node-a and node-b both held" in text for text in play["findings"])
    assert any("both answered for" in text for text in play["findings"])


def test_without_waiting_for_leases_a_node_that_is_cut_off_still_holds_and_is_seen() -> None:
    play = played(Weak.NO_LEASE_WAIT, "cut-node")
    assert play["vip_overlap_ms"] > OVERLAP_MIN_MS
    assert any("node-a and node-b both held" in text for text in play["findings"])
