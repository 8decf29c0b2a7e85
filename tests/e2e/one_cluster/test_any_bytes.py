"""Any bytes on any subject, another cluster's messages, replays in any order: nothing moves."""

import sys
from pathlib import Path

import pytest

from services.sandbox.drills.catalogue import DRILLS
from services.sandbox.drills.catalogue.drill import Aim
from services.sandbox.drills.names import Name
from shared.instant import SECOND
from tests.e2e import hostile_speaker
from tests.e2e.drilling import played, until_ready_for_drills
from tests.e2e.running import RunningSandbox

pytestmark = pytest.mark.sandbox

SPEAKER = Path(hostile_speaker.__file__)


def test_noise_foreign_messages_and_replays_neither_move_traffic_nor_end_a_service(
    sandbox: RunningSandbox,
) -> None:
    until_ready_for_drills(sandbox)
    before = {name: each.restarts for name, each in sandbox.control.programs().items()}
    for seed in (1, 2):
        command = [sys.executable, str(SPEAKER), "10.77.0.5", "4222", "sandbox", str(seed)]
        code, out, complaints = sandbox.control.run("node-b", command, 30 * SECOND)
        assert code == 0, complaints
        assert int(out) > 10, "it heard the cluster speak"
    after = {name: each.restarts for name, each in sandbox.control.programs().items()}
    assert after == before, "no service has ended"
    drill = DRILLS[Name.KILL_INSTANCE]
    result = played(sandbox, drill, Aim(service="shop", node="node-b"))
    assert result["ok"], result["findings"]
