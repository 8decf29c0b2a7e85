"""Observations cross a file unchanged, and the frames of the wire's eyes are what they claim."""

from pathlib import Path

import pytest

from services.sandbox.network import asker, hardware, packed
from services.sandbox.observers.observations import (
    Asked,
    Look,
    Observation,
    Reader,
    Writer,
    decode,
    encode,
)
from services.sandbox.observers.wire import asker_6, checksum, question, read
from shared.errors import StateError

LOOK = Look(
    node="node-a",
    begin_at=10,
    end_at=20,
    open=frozenset({"web", "api"}),
    present=frozenset({"web"}),
    events=3,
)
ASKED = Asked(vip="web", at=5, answers=((6, "node-a"), (7, "node-b")))
OURS = packed(hardware(asker(0)))
THEIRS = packed("02:00:0a:4e:00:0b")


@pytest.mark.parametrize("observation", [LOOK, ASKED, Asked(vip="web", at=1)])
def test_what_is_written_is_read(observation: Observation) -> None:
    assert decode(encode(observation)) == observation


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"look": "a"}', b"\xff"])
def test_what_is_no_observation_is_refused(line: bytes) -> None:
    with pytest.raises(StateError, match="is no observation"):
        decode(line)


def test_a_reader_follows_over_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "observations"
    reader = Reader(path)
    assert reader.read() == []
    writer = Writer(path, size_max=300)
    wanted: list[Observation] = []
    for number in range(20):
        wanted.append(Asked(vip="web", at=number))
        writer.add(wanted[-1])
        writer.flush()
        if number % 3 == 0:
            assert reader.read() == wanted
            wanted.clear()
    assert reader.read() == wanted
    assert path.with_name("observations.old").exists()
    writer.close()
    reader.close()


def test_a_torn_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "observations"
    line = encode(ASKED)
    reader = Reader(path)
    path.write_bytes(line[:10])
    assert reader.read() == []
    with path.open("ab") as file:
        file.write(line[10:])
    assert reader.read() == [ASKED]
    reader.close()


def test_what_a_node_holds_needs_address_and_open_guard() -> None:
    assert LOOK.holds == {"web"}
    assert Look(node="a", begin_at=0, end_at=1, present=frozenset({"web"})).holds == set()
    bare = Look(node="a", begin_at=0, end_at=1, present=frozenset({"web"}), guarded=False)
    assert bare.holds == {"web"}


def arp_answer(frame: bytes) -> bytes:
    """Answer a question as a kernel does: sender and target change places."""
    body = frame[14:]
    sender, asker_address, target = body[8:14], body[14:18], body[24:28]
    answer = body[:6] + b"\0\2" + THEIRS + target + sender + asker_address
    return sender + THEIRS + b"\x08\x06" + answer


def test_an_arp_question_is_asked_of_everybody_and_its_answer_tells_which_it_is() -> None:
    frame = question("10.78.0.201", asker(3), OURS)
    assert frame[:6] == b"\xff" * 6
    assert len(frame) == 14 + 28
    reply = read(arp_answer(frame))
    assert reply is not None
    assert reply == ("10.78.0.201", asker(3), "02:00:0a:4e:00:0b")


def test_a_solicitation_is_whole_and_its_answer_tells_which_it_is() -> None:
    frame = question("fd78::201", str(asker_6(3)), OURS)
    assert frame[:6] == bytes.fromhex("3333ff000201")
    source, group, body = frame[22:38], frame[38:54], frame[54:]
    pseudo = source + group + len(body).to_bytes(4, "big") + (58).to_bytes(4, "big")
    assert checksum(pseudo + body) == 0
    target = body[8:24]
    header = frame[14:22] + target + source
    answer = OURS + THEIRS + b"\x86\xdd" + header + b"\x88" + body[1:24]
    reply = read(answer)
    assert reply == ("fd78::201", str(asker_6(3)), "02:00:0a:4e:00:0b")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0" * 14,
        question("10.78.0.201", asker(0), OURS),
        question("fd78::201", str(asker_6(0)), OURS),
    ],
)
def test_other_frames_are_no_answers(frame: bytes) -> None:
    assert read(frame) is None


def test_questions_of_one_round_come_from_different_addresses() -> None:
    assert len({asker(number) for number in range(16)}) == 16
    assert asker(16) == asker(0)
