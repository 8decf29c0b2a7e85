"""Sandboxes that play drills: what they say, how they end, and that nothing of them stays.

Each has a sandbox of its own, so none runs beside them: a machine with two cores has enough to do.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import IO

import pytest

from services.sandbox.control import SOCKET
from services.sandbox.parts import journal
from shared.instant import SECOND
from tests.e2e.running import (
    ended,
    in_namespace,
    launched,
    namespace_of,
    ran,
    read_from,
    runtime_directory,
    wait_until,
)
from tests.eventually import PATIENCE_S

pytestmark = pytest.mark.sandbox


def test_two_at_once_each_play_a_drill_and_only_one_has_done_an_order_twice() -> None:
    line = ("--once", "-o", "json", "--rate", "100", "--drill", "kill-instance")
    with (
        runtime_directory() as runtime,
        tempfile.TemporaryFile() as said_1,
        tempfile.TemporaryFile() as said_2,
        tempfile.TemporaryFile() as talk,
        launched((*line, "--name", "one"), runtime, said_1, talk=talk) as first,
        launched((*line, "--name", "two"), runtime, said_2, talk=talk) as second,
    ):
        order = plant_a_double(second, runtime / "equipoise" / "two", talk)
        good, bad = ended(first, said_1, talk), ended(second, said_2, talk)
    assert (good.code, json.loads(good.out)["findings"]) == (0, []), good.talk
    assert bad.code == 1
    assert f"1 POSTs were done twice, such as {order}" in json.loads(bad.out)["findings"]


def plant_a_double(launcher: subprocess.Popen[bytes], folder: Path, talk: IO[bytes]) -> str:
    """Write an order that one instance did into another's journal, as if both had done it."""
    done, other = (journal(folder, node, "orders") for node in ("node-a", "node-b"))
    wait_until(
        lambda: launcher.poll() is not None or (done.exists() and done.stat().st_size > 64),
        "orders are done",
        60 * SECOND,
    )
    assert launcher.poll() is None, read_from(talk)
    order = done.read_text().split()[0]
    with other.open("a") as file:
        file.write(f"{order}\n")
    return order


def test_killed_with_9_in_the_middle_of_a_drill_it_leaves_nothing() -> None:
    with (
        runtime_directory() as runtime,
        tempfile.TemporaryFile() as said_here,
        launched(("--drill", "hang-instance"), runtime, said_here) as launcher,
    ):
        wait_until(
            lambda: "▶ kill -STOP" in read_from(said_here), "the drill has begun", 60 * SECOND
        )
        namespace = namespace_of(launcher)
        assert len(in_namespace(namespace)) > 15
        launcher.kill()
        launcher.wait()
        wait_until(lambda: not in_namespace(namespace), "no process is left")


def test_whoever_reads_may_leave() -> None:
    with runtime_directory() as runtime, tempfile.TemporaryFile() as talk:
        inside, outside = os.pipe()
        with (
            os.fdopen(outside, "wb") as said_here,
            launched(("--only", "infrastructure"), runtime, said_here, talk=talk) as launcher,
        ):
            said_here.close()
            os.read(inside, 1)
            os.close(inside)
            assert launcher.wait(60) == 141
        assert "Traceback" not in read_from(talk)


def test_interrupted_drills_are_no_success() -> None:
    with (
        runtime_directory() as runtime,
        tempfile.TemporaryFile() as said_here,
        launched(("--once",), runtime, said_here) as launcher,
    ):
        control = runtime / "equipoise" / "sandbox" / SOCKET
        wait_until(control.exists, "it starts", 60 * SECOND)
        launcher.terminate()
        assert launcher.wait(PATIENCE_S) == 130


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--drill", "smoke"), "invalid choice: 'smoke'"),
        (("--repeat", "3"), "are about drills"),
        (("--once", "--repeat", "0"), "--repeat is 0"),
        (("--once", "--rate", "0"), "need the whole cluster and clients"),
        (("--once", "--only", "infrastructure"), "need the whole cluster and clients"),
    ],
)
def test_senseless_wishes_for_drills_are_refused(line: tuple[str, ...], said: str) -> None:
    result = ran(*line)
    assert result.code == 2
    assert said in result.talk
