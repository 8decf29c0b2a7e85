import json
import subprocess
import sys

import click
import pytest

from services.cli.exits import MEANINGS, Exit
from services.cli.program import COMMANDS, equipoise
from services.cli.reference import files, schemas

# What costs a person who types `status` in an emergency; each was measured at 20 ms or more.
HEAVY = (
    "nats",
    "pydantic",
    "orjson",
    "structlog",
    "starlette",
    "uvicorn",
    "yaml",
    "asyncio",
    "opentelemetry",
    "difflib",
    "importlib.metadata",
    "shared.messages",
    "shared.settings.load",
    "shared.bus",
)

PROBE = """
import sys
from services.cli.program import run
code = run(sys.argv[1:])
sys.stderr.write(" ".join(sorted(sys.modules)))
sys.exit(code)
"""


def modules_of(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("command", ["status", "rules", "explain", "incidents", "why"])
def test_looking_imports_nothing_heavy(command: str) -> None:
    arguments = ["shoes"] if command == "why" else []
    loaded = modules_of(command, *arguments, "--api", "/nonexistent/api.sock")
    assert f"services.cli.commands.{COMMANDS[command]}" in loaded
    assert "http.client" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_every_command_is_there_and_says_what_it_is_for() -> None:
    context = click.Context(equipoise)
    for name in COMMANDS:
        command = equipoise.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.get_short_help_str()


def test_the_reference_and_the_schemas_are_current() -> None:
    stale = [
        path.name
        for path, text in files().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run: python -m services.cli.reference"


def test_published_schemas_let_newer_versions_add_fields_and_tests_do_not() -> None:
    assert "additionalProperties" not in schemas()["version"]
    assert schemas(closed=True)["version"]["additionalProperties"] is False
    assert json.dumps(schemas()["explain"])


def test_every_exit_code_that_scripts_meet_is_documented() -> None:
    assert set(Exit) - set(MEANINGS) == {Exit.INTERRUPTED}
    assert {code.value for code in MEANINGS} >= {*range(9), 124}
