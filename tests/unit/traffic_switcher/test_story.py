"""What the log says of plans: each thing once, though commands are repeated until acknowledged."""

from services.traffic_switcher.adapters.story import Story
from shared.messages.traffic import Applied, Stage
from tests.fakes.grounds import KeptLog


def applied(sequence: int, stage: Stage, detail: str = "") -> Applied:
    return Applied(
        node="a",
        boot_id="aa" * 8,
        epoch=1,
        sequence=sequence,
        stage=stage,
        digest="",
        incident=None,
        detail=detail,
    )


def test_an_answer_that_is_repeated_is_written_once() -> None:
    log = KeptLog()
    story = Story(log)
    for message in (
        *3 * [applied(1, Stage.FAILED, "haproxy is not running")],
        *3 * [applied(1, Stage.INSTALLED)],
        *3 * [applied(2, Stage.INSTALLED)],
    ):
        story.said(message)
    written = [(level, event, fields["sequence"]) for level, event, fields in log.lines]
    assert written == [
        ("warning", "plan_failed", 1),
        ("info", "plan_installed", 1),
        ("info", "plan_installed", 2),
    ]
