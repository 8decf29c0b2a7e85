"""Nodes and their load balancers, lost in every way in a real cluster, and what it costs.

All of them in one sandbox, as an ordinary user; every figure and finding is of the drills' own
eyes: kernels, the wire, clients. That these eyes see two holders is proved in test_weak.
"""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from services.sandbox.drills.catalogue import DRILLS
from services.sandbox.drills.judgement import Toll
from services.sandbox.drills.names import Name
from services.sandbox.network import vips
from services.sandbox.parts import NODE_SERVICES
from tests.e2e.running import Ran, ordinary_user, ran

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(420)]

NODES = ("node-a", "node-b")
LOSSES = [name for name, drill in DRILLS.items() if drill.toll is Toll.TAKEOVER]
PLAYED = [*LOSSES, Name.RESTART_EVERYTHING]


@pytest.fixture(scope="module")
def all_drills() -> Ran:
    """Play each of them once."""
    drills = [f"--drill={name}" for name in PLAYED]
    with ordinary_user() as user:
        return ran("--once", "-o", "json", *drills, whom=user, within_s=400)


def play_of(all_drills: Ran, name: Name) -> Mapping[str, Any]:
    (play,) = (x for x in json.loads(all_drills.out)["drills"] if x["drill"] == name)
    return dict(play)


def test_every_loss_is_survived_and_undone(all_drills: Ran) -> None:
    report = json.loads(all_drills.out)
    found = {play["drill"]: play["findings"] for play in report["drills"] if play["findings"]}
    assert (found, report["findings"]) == ({}, [])
    assert [play["drill"] for play in report["drills"]] == PLAYED
    assert all(play["ok"] and play["restored"] for play in report["drills"])
    assert (report["ok"], all_drills.code) == (True, 0)


@pytest.mark.parametrize("name", PLAYED)
def test_never_do_two_nodes_hold_one_address(all_drills: Ran, name: Name) -> None:
    assert play_of(all_drills, name)["vip_overlap_ms"] == 0


@pytest.mark.parametrize("name", LOSSES)
def test_the_vip_of_the_node_that_was_hit_answers_elsewhere(all_drills: Ran, name: Name) -> None:
    play = play_of(all_drills, name)
    (lost,) = (vip for vip, each in vips(NODES).items() if each.home == play["target"])
    assert play["vip_moved_ms"][lost] > 0
    # Whose kernel lives holds back who comes meanwhile, and passes them on: it may never be dark.
    speaks = name in (Name.KILL_BALANCER, Name.HANG_BALANCER)
    assert speaks or play["vip_dark_ms"][lost] > 0


def test_a_node_that_hears_nothing_is_known_by_its_own_beats_or_by_its_peers(
    all_drills: Ran,
) -> None:
    """Its beats come for as long as its kernel sends what is not acknowledged: it is soon over."""
    sentence = play_of(all_drills, Name.CUT_NODE_IN)["sentence"]
    by_beats = "it beats, but has heard no answer for" in sentence
    by_peers = "silent on the bus for" in sentence and "every probe of" in sentence
    assert by_beats or by_peers


@pytest.mark.parametrize("name", LOSSES)
def test_requests_fail_only_while_nobody_can_answer_and_no_post_is_done_twice(
    all_drills: Ran, name: Name
) -> None:
    play = play_of(all_drills, name)
    requests = play["requests"]
    assert requests["safe_sent"] > 0
    assert requests["safe_failed"] == play["excused"]
    assert requests["doubled"] == requests["lost"] == 0
    assert play["after_heal"]["sent"] > 0
    # A node that was killed starts all its programs at once, here on the machine of the other
    # nodes: what they miss meanwhile is this machine's fault, and excused only if it was dark.
    if name is not Name.KILL_NODE:
        assert play["after_heal"]["safe_failed"] == 0


def test_every_service_of_ours_is_restarted_and_the_darkness_is_measured(all_drills: Ran) -> None:
    play = play_of(all_drills, Name.RESTART_EVERYTHING)
    steps = {step["program"]: step for step in play["steps"]}
    of_nodes = {f"{node}/{name}" for node in NODES for name in NODE_SERVICES}
    of_witness = {f"witness/{name}" for name in ("heartbeat", "arbiter", "console", "nats")}
    assert steps.keys() == of_nodes | of_witness
    assert all(step["vip_dark_ms"] is not None and step["sent"] > 0 for step in steps.values())
    assert play["incident"] is None
