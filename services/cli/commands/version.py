"""`equipoise version`."""

import platform
from importlib.metadata import PackageNotFoundError, version as installed

import click

from services.cli.exits import Ended
from services.cli.look import Look
from services.cli.program import Command, Context
from shared.api import Status, Version


@click.command(cls=Command)
@click.pass_obj
def version(context: Context) -> None:
    """Say which version this is, and which one answers."""
    try:
        status: Status | None = context.client.get("/api/v1/status", Status)
    except Ended:
        status = None
    answer = Version(
        version=_version(),
        python=platform.python_version(),
        member=status["seen_from"] if status is not None else None,
        member_version=status["version"] if status is not None else None,
    )
    context.show(answer, _lines)


def _version() -> str:
    try:
        return installed("equipoise")
    except PackageNotFoundError:  # run from its source
        return "unpackaged"


def _lines(answer: Version, _look: Look) -> list[str]:
    lines = [f"equipoise {answer['version']} on Python {answer['python']}"]
    if answer["member"] is None:
        return [*lines, "no console answers"]
    return [*lines, f"{answer['member']} runs {answer['member_version']}"]
