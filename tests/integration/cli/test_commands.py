"""The command as people and scripts run it: a process of its own, a real console behind it."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from services.cli import operation
from services.cli.program import run
from services.cli.reference import schemas
from shared.clock import SystemClock
from shared.instant import SECOND
from shared.messages.facts import IncidentOpened, IncidentState, LeaderChanged
from shared.messages.operator import Answer, OperatorAnswer
from tests.eventually import PATIENCE_S, PATIENCE_US
from tests.fakes.running_console import RunningConsole
from tests.fakes.situations import incident, plan, without_b

ROOT = Path(__file__).parent.parent.parent.parent
SCHEMAS = schemas(closed=True)
MINIMAL = """\
version: 1
cluster: shop
key: cluster.key
nodes:
  node-a: {address: 10.0.0.11}
  node-b: {address: 10.0.0.12}
witness: {address: 10.0.0.13}
services:
  shop: {listen: 80, port: 8080, probe: {http: /healthz}}
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningConsole]:
    with RunningConsole(tmp_path) as console:
        yield console


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """One console for tests that change nothing."""
    closed = incident("CLOSED", IncidentState.CLOSED)
    with RunningConsole(
        tmp_path_factory.mktemp("s"), past=(IncidentOpened(incident=closed),)
    ) as console:
        yield console


def environment(**more: str) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return {**kept, "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT), **more}


def equipoise(
    *arguments: str,
    api: Path | None = None,
    typed: str = "",
    environ: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    reaching = {} if api is None else {"EQUIPOISE_API": str(api)}
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments],
        capture_output=True,
        text=True,
        input=typed,
        timeout=PATIENCE_S,
        env=environment(**reaching, **(environ or {})),
        check=False,
    )
    assert "Traceback" not in done.stderr + done.stdout
    assert "a bug in equipoise" not in done.stderr + done.stdout
    return done


def checked(name: str, text: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(text)
    jsonschema.Draft202012Validator(SCHEMAS[name]).validate(answer)
    return answer


CHANGE = ("--reason", "kernel", "--yes", "-o", "json")


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ("status", ("status", "-o", "json")),
        ("status", ("-o", "json", "status")),
        ("events", ("events", "-o", "json")),
        ("incidents", ("incidents", "-o", "json")),
        ("explain", ("explain", "last", "-o", "json")),
        ("explain", ("explain", "closed", "-o", "json")),
        ("why", ("why", "node-a", "-o", "json")),
        ("why", ("why", "witness", "-o", "json")),
        ("why", ("why", "shoes", "-o", "json")),
        ("why", ("why", "web", "-o", "json")),
        ("why", ("why", "shoes/node-b", "-o", "json")),
        ("rules", ("rules", "-o", "json")),
        ("rules", ("rules", "--diff", "-o", "json")),
        ("maintenance-list", ("maintenance", "list", "-o", "json")),
        ("version", ("version", "-o", "json")),
        ("change", ("failover", "node-b", "--dry-run", *CHANGE)),
        ("change", ("failover", "api", "--to", "node-a", "--dry-run", *CHANGE)),
        ("change", ("failback", "--dry-run", *CHANGE)),
        ("change", ("pause", "--for", "5m", "--dry-run", *CHANGE)),
        ("change", ("resume", "--dry-run", *CHANGE)),
        ("change", ("maintenance", "start", "node-b", "--dry-run", *CHANGE)),
        ("change", ("maintenance", "end", "node-b", "--dry-run", *CHANGE)),
    ],
)
def test_every_answer_in_json_is_as_its_schema_says(
    steady: RunningConsole, schema: str, arguments: tuple[str, ...]
) -> None:
    done = equipoise(*arguments, api=steady.socket)
    assert (done.returncode, done.stderr) == (0, "")
    checked(schema, done.stdout)


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ("why", "nodeb")),
        (2, ("explain", "nothing")),
        (2, ("failover", "nodeb", *CHANGE)),
        (2, ("failover", "node-b", "--reason", "x", "--for", "soon", "--yes")),
        (2, ("failover", "node-b", "--yes")),
        (2, ("maintenance", "start", "shoes", *CHANGE)),
        (2, ("maintenance", "list", "node-z")),
        (2, ("events", "--since", "yesterday")),
        (2, ("events", "--limit", "0")),
        (2, ("status", "--wach")),
        (2, ("stauts",)),
        (2, ("status", "-o", "xml")),
        (2, ("failover", "node-b", "--reason", "x", "--yes", "--timeout", "never")),
        (5, ("status", "--api", "/nonexistent/api.sock")),
        (5, ("events", "-f", "--api", "/nonexistent/api.sock")),
    ],
)
def test_errors_are_a_line_with_the_mend_and_json_where_that_was_asked_for(
    steady: RunningConsole, code: int, arguments: tuple[str, ...]
) -> None:
    plain = tuple(item for item in arguments if item not in ("-o", "json"))
    done = equipoise(*plain, api=steady.socket)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("✗ ")
    assert 1 <= done.stderr.count("\n") <= 3
    if "xml" not in arguments:
        done = equipoise(*plain, "-o", "json", api=steady.socket)
        assert done.returncode == code
        assert checked("error", done.stdout)["error"]["exit_code"] == code


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("stauts",), "did you mean 'status'?"),
        (("maintenance", "strat"), "did you mean 'start'?"),
        (("why", "nod-b"), "did you mean 'node-b'?"),
        (("why", "wep"), "did you mean 'web'?"),
        (("failover", "apj", "--reason", "x"), "did you mean 'api'?"),
        (("failover", "api", "--to", "nodea", "--reason", "x"), "did you mean 'node-a'?"),
        (("failover", "shoes", "--to", "node-a", "--reason", "x"), "--to is for VIPs"),
        (("failover", "shoe/node-b", "--reason", "x"), "did you mean 'shoes/node-b'?"),
        (("explain", "CLOSD"), "did you mean 'CLOSED'?"),
        (("status", "--wach"), "Did you mean"),
    ],
)
def test_what_may_be_meant_is_said(
    steady: RunningConsole, arguments: tuple[str, ...], meant: str
) -> None:
    assert meant in equipoise(*arguments, api=steady.socket).stderr


def test_status_says_by_its_exit_code_whether_all_is_well(running: RunningConsole) -> None:
    assert equipoise("status", "--exit-code", api=running.socket).returncode == 0
    running.arbiter.plan = plan(42, rules=without_b())
    running.do(running.arbiter.say)
    assert equipoise("status", api=running.socket).returncode == 0
    assert equipoise("status", "--exit-code", api=running.socket).returncode == 4
    nothing = {
        service: dict.fromkeys(rules, rule)
        for service, rules in without_b().items()
        for rule in [without_b()["shoes"]["node-b"]]
    }
    running.arbiter.plan = plan(43, rules=nothing)
    running.do(running.arbiter.say)
    assert equipoise("status", "--exit-code", api=running.socket).returncode == 8


def test_rules_end_with_1_where_something_differs(running: RunningConsole) -> None:
    assert equipoise("rules", "--diff", api=running.socket).returncode == 0
    running.arbiter.silent = True
    clock, end = SystemClock(), SystemClock().now() + PATIENCE_US
    while equipoise("rules", "--diff", api=running.socket).returncode != 1:
        assert clock.now() < end


def test_a_change_is_planned_done_verified_and_says_how_to_undo_it(running: RunningConsole) -> None:
    done = equipoise("failover", "node-b", "--reason", "kernel", "--yes", api=running.socket)
    assert done.returncode == 0
    assert "(verified)" in done.stdout
    assert (
        'Incident 7M0CAA (planned).   Undo: equipoise failback node-b --reason "…"' in done.stdout
    )
    rehearsal, real = running.arbiter.asked
    assert (rehearsal.dry_run, real.dry_run) == (True, False)
    assert rehearsal.expects == real.expects == (3, 41)
    back = equipoise("failback", "node-b", *CHANGE, api=running.socket)
    assert checked("change", back.stdout)["verified"] == "yes"


def test_a_vip_is_moved_where_a_person_says_and_comes_home(running: RunningConsole) -> None:
    moving = ("failover", "api", "--to", "node-a", "--reason", "kernel")
    planned = equipoise(*moving, "--dry-run", api=running.socket)
    assert planned.stdout.splitlines()[:2] == [
        "Plan 3.42  NOW     AFTER",
        "  VIP api  node-b  node-a",
    ]
    done = equipoise(*moving, "--yes", api=running.socket)
    assert done.returncode == 0
    assert "  api: node-b → node-a, answered there" in done.stdout
    assert "Undo: equipoise failback api" in done.stdout
    assert {(asked.vip, asked.to, asked.node) for asked in running.arbiter.asked} == {
        ("api", "node-a", None)
    }
    shown = equipoise("status", api=running.socket).stdout
    assert "api  10.0.0.101/24  ▲ node-a  node-b" in shown
    back = equipoise("failback", "api", *CHANGE, api=running.socket)
    assert checked("change", back.stdout)["verified"] == "yes"
    assert checked("change", back.stdout)["vips_after"]["api"] == "node-b"


def test_pause_and_resume_wait_until_it_is_known(running: RunningConsole) -> None:
    for verb in ("pause", "resume"):
        done = equipoise(verb, *CHANGE, api=running.socket)
        assert (done.returncode, done.stderr) == (0, "")
        assert checked("change", done.stdout)["verified"] == "yes"


def test_a_dry_run_shows_the_plan_and_asks_nobody(steady: RunningConsole) -> None:
    done = equipoise("failover", "node-b", "--reason", "x", "--dry-run", api=steady.socket)
    assert done.returncode == 0
    assert "  shoes/node-b   weight 100  out" in done.stdout
    assert "node-a alone would serve shoes, with no spare" in done.stdout
    assert steady.arbiter.plan.number == (3, 41)


def test_a_vip_is_known_by_its_address_too(steady: RunningConsole) -> None:
    flags = ("--reason", "x", "--dry-run")
    assert equipoise("failover", "10.0.0.101", *flags, api=steady.socket).returncode == 0
    assert steady.arbiter.asked[-1].vip == "api"
    assert equipoise("why", "10.0.0.101", api=steady.socket).stdout.startswith("api (10.0.0.101")


def test_nobody_can_confirm_without_a_terminal(steady: RunningConsole) -> None:
    done = equipoise("failover", "node-b", "--reason", "x", api=steady.socket, typed="node-b\n")
    assert done.returncode == 2
    assert "add --yes" in done.stderr
    assert steady.arbiter.plan.number == (3, 41)


def on_terminal(api: Path, *arguments: str, typed: str) -> tuple[int, str]:
    """Run a command on a terminal of its own, typing when it asks."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli", *arguments],
        stdin=side,
        stdout=side,
        stderr=side,
        env=environment(EQUIPOISE_API=str(api), TERM="xterm", COLUMNS="80"),
    )
    os.close(side)
    seen, asked = b"", False
    clock, end = SystemClock(), SystemClock().now() + PATIENCE_S * SECOND
    while clock.now() < end:
        if not select.select([main], [], [], 0.2)[0]:
            continue
        try:
            seen += os.read(main, 65_536)
        except OSError:  # the other side has ended
            break
        if not asked and (b"to go on: " in seen or b"[y/N]: " in seen):
            asked = True
            os.write(main, typed.encode())
    os.close(main)
    return process.wait(PATIENCE_S), seen.decode()


def test_whoever_takes_the_last_spare_types_its_name(running: RunningConsole) -> None:
    failover = ("failover", "node-b", "--reason", "kernel")
    code, seen = on_terminal(running.socket, *failover, typed="yes\n")
    assert (code, running.arbiter.plan.number) == (1, (3, 41))
    assert "nothing was done" in seen
    code, seen = on_terminal(running.socket, *failover, typed="node-b\n")
    assert (code, running.arbiter.plan.number) == (0, (3, 42))
    assert "Type node-b to go on" in seen
    assert "\x1b[38;5;39m✓" in seen


def test_a_change_without_a_loss_is_confirmed_simply(running: RunningConsole) -> None:
    pause = ("pause", "--reason", "x")
    assert on_terminal(running.socket, *pause, typed="n\n")[0] == 1
    assert running.arbiter.plan.number == (3, 41)
    assert on_terminal(running.socket, *pause, typed="y\n")[0] == 0
    assert running.arbiter.plan.number == (3, 42)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer.WRONG, 2),
        (Answer.NOT_LEADING, 5),
        (Answer.CHANGED, 6),
        (Answer.UNSAFE, 7),
    ],
)
def test_refusals_have_their_exit_codes(running: RunningConsole, answer: Answer, code: int) -> None:
    running.arbiter.refusal = OperatorAnswer(answer=answer, text="no, because")
    done = equipoise("failover", "node-b", *CHANGE, api=running.socket)
    assert done.returncode == code
    trouble = checked("error", done.stdout)["error"]
    assert trouble["text"] == f"refused ({code}): no, because"
    assert "force" not in done.stdout  # only the arbiter knows whether insisting would help


def test_a_persons_patience_that_ran_out_is_124(running: RunningConsole) -> None:
    running.arbiter.verifies = False
    arguments = ("failover", "node-b", "--reason", "x", "--yes", "--timeout", "1s")
    done = equipoise(*arguments, api=running.socket)
    assert done.returncode == 124
    assert "not verified in time" in done.stdout
    assert "… a request through node-a verifies it" in done.stderr


def test_done_but_not_verified_in_time_is_3(
    running: RunningConsole, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running.arbiter.verifies = False
    monkeypatch.setattr(operation, "SWITCHED_WITHIN_US", SECOND // 2)
    api = ("--api", str(running.socket))
    assert run(["failover", "node-b", *CHANGE, *api]) == 3
    assert checked("change", capsys.readouterr().out)["exit_code"] == 3


def test_who_does_not_wait_is_told_that_nothing_is_known_yet(running: RunningConsole) -> None:
    running.arbiter.verifies = False
    done = equipoise("failover", "node-b", "--no-wait", *CHANGE, api=running.socket)
    assert done.returncode == 0
    assert checked("change", done.stdout)["verified"] == "unknown"


def context(directory: Path, **members: Path) -> dict[str, str]:
    file = directory / "equipoise" / "context.json"
    file.parent.mkdir(exist_ok=True)
    named = {name.replace("_", "-"): str(path) for name, path in members.items()}
    file.write_text(json.dumps({"cluster": "shop", "members": named}))
    return {"XDG_RUNTIME_DIR": str(directory)}


def test_the_next_member_answers_for_one_that_does_not(
    steady: RunningConsole, tmp_path: Path
) -> None:
    environ = context(tmp_path, node_a=tmp_path / "gone.sock", node_b=steady.socket)
    done = equipoise("status", environ=environ)
    assert done.returncode == 0
    assert done.stderr == "no console answers on node-a\n"
    assert equipoise("-q", "status", environ=environ).stderr == ""
    assert equipoise("status", "--from", "node-a", environ=environ).returncode == 5
    assert equipoise("status", "--from", "node-z", environ=environ).returncode == 2
    said = equipoise("-v", "status", "--from", "node-b", environ=environ).stderr
    assert said == f"answered by {steady.socket}\n"


def test_a_sandbox_that_is_gone_is_not_replaced_by_this_machine(tmp_path: Path) -> None:
    done = equipoise("status", environ=context(tmp_path, node_a=tmp_path / "gone.sock"))
    assert done.returncode == 5
    assert "if that sandbox is gone, remove" in done.stderr


def test_colours_are_for_terminals_and_for_who_forces_them(steady: RunningConsole) -> None:
    def coloured(*arguments: str, **environ: str) -> bool:
        return "\x1b[" in equipoise("status", *arguments, api=steady.socket, environ=environ).stdout

    assert not coloured()
    assert coloured(FORCE_COLOR="1")
    assert not coloured(FORCE_COLOR="1", NO_COLOR="1")
    assert not coloured("--no-color", FORCE_COLOR="1")


def test_without_unicode_the_words_of_the_symbols_are_shown(steady: RunningConsole) -> None:
    for done in (
        equipoise("status", "--ascii", api=steady.socket),
        equipoise("status", api=steady.socket, environ={"TERM": "dumb"}),
        equipoise(
            "status", api=steady.socket, environ={"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
        ),
    ):
        assert done.returncode == 0
        assert "ok serving" in done.stdout
        assert done.stdout.isascii()


def started(api: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(EQUIPOISE_API=str(api)),
    )


def test_events_are_followed_until_ctrl_c_which_is_silent(running: RunningConsole) -> None:
    running.say(LeaderChanged(arbiter="witness", epoch=4, reason="first"))
    process = started(running.socket, "events", "-f", "-o", "jsonl")
    assert process.stdout is not None
    assert process.stderr is not None
    assert checked("event", process.stdout.readline())["id"] == "leader/4"
    running.say(LeaderChanged(arbiter="witness", epoch=5, reason="second"))
    assert checked("event", process.stdout.readline())["id"] == "leader/5"
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    assert process.stderr.read() == ""
    process.stdout.close()
    process.stderr.close()


def test_a_reader_who_goes_away_is_no_error(running: RunningConsole) -> None:
    changes = (LeaderChanged(arbiter="witness", epoch=n, reason="x" * 200) for n in range(500))
    running.say(*changes)
    process = started(running.socket, "events", "--limit", "1000")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_status_is_watched_until_ctrl_c(steady: RunningConsole) -> None:
    process = started(steady.socket, "status", "-w", "-o", "json")
    assert process.stdout is not None
    assert process.stderr is not None
    for _ in range(2):
        assert checked("status", process.stdout.readline())["verdict"] == "serving"
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    assert process.stderr.read() == ""
    process.stdout.close()
    process.stderr.close()


@pytest.mark.parametrize(
    ("shell", "needle"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")]
)
def test_shells_are_told_how_to_complete(shell: str, needle: str) -> None:
    done = equipoise("completion", shell)
    assert done.returncode == 0
    assert needle in done.stdout


def test_names_are_completed_from_the_running_cluster(steady: RunningConsole) -> None:
    completing = {"_EQUIPOISE_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
    done = equipoise(
        api=steady.socket, environ={**completing, "COMP_WORDS": "equipoise failover shoes/"}
    )
    assert done.stdout.split() == ["plain,shoes/node-a", "plain,shoes/node-b"]
    done = equipoise(environ={**completing, "COMP_WORDS": "equipoise failover no"})
    assert (done.stdout.strip(), done.returncode) == ("", 0)


def test_a_configuration_is_checked_shown_and_described(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(MINIMAL)
    bad.write_text(MINIMAL.replace("address: 10.0.0.12", "adress: 10.0.0.12"))
    key = tmp_path / "cluster.key"
    key.touch(0o600)
    key.write_text("0123456789abcdef0123456789abcdef0123456789abcdef\n")
    done = equipoise("config", "check", str(good), "-o", "json")
    assert (done.returncode, checked("config-check", done.stdout)["valid"]) == (0, True)
    done = equipoise("config", "check", str(bad), "-o", "json")
    findings = checked("config-check", done.stdout)["findings"]
    assert (done.returncode, findings[0]["line"]) == (2, 6)
    vips = "vips:\n  web: {address: 10.0.0.100/24, home: node-a}\n"
    good.write_text(MINIMAL + vips)
    done = equipoise("config", "check", str(good))
    assert "note: while the only NATS server (nats://10.0.0.13:4222) or the arbiter" in done.stdout
    assert "see docs/vip-safety.md" in " ".join(done.stdout.split())
    assert done.stdout.splitlines()[-1] == f"{good}: no errors"
    done = equipoise("config", "check", str(bad))
    assert f"{bad}:6:" in done.stdout
    assert "did you mean 'address'?" in done.stdout
    done = equipoise("config", "show", str(good), "-o", "json")
    checked("config-show", done.stdout)
    assert "policy:" in equipoise("config", "show", str(good), "--origin").stdout
    assert equipoise("config", "show", str(bad)).returncode == 2
    assert json.loads(equipoise("config", "schema").stdout)["type"] == "object"
    assert equipoise("config", "check", str(tmp_path / "none.yaml")).returncode == 2


def test_the_variable_of_the_socket_is_no_mistake_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(MINIMAL)
    (tmp_path / "cluster.key").touch(0o600)
    (tmp_path / "cluster.key").write_text("0123456789abcdef0123456789abcdef0123456789abcdef\n")
    done = equipoise("config", "check", str(file), api=tmp_path / "api.sock")
    assert "EQUIPOISE_API" not in done.stdout + done.stderr
    assert done.returncode == 0
