"""`equipoise config`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from services.cli.exits import Ended, Exit
from services.cli.look import Look, wrapped
from services.cli.program import Command, Context, Group, write
from shared.api_config import ConfigCheck, ConfigShow, Finding, Origin

if TYPE_CHECKING:
    from shared.settings.load import Report

DEFAULT = "/etc/equipoise/equipoise.yaml"


@click.group(cls=Group)
def config() -> None:
    """Check and show the configuration; nothing here changes anything."""


@config.command(cls=Command)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--github", is_flag=True, help="Print annotations for GitHub's workflows.")
@click.pass_obj
def check(context: Context, /, *, file: Path | None, github: bool) -> None:
    """Say every problem of a configuration at once: where, what, and how to mend it."""
    report = _report(file)
    if github:
        annotations = report.as_annotations()
        if annotations:
            write(annotations)
    else:
        answer = ConfigCheck(
            valid=report.valid,
            findings=cast("list[Finding]", report.as_json()),
            notes=report.notes(),
        )
        context.show(answer, lambda _answer, look: _lines(report, look))
    if not report.valid:
        raise Ended(Exit.WRONG)


@config.command(cls=Command)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@click.pass_obj
def show(context: Context, /, *, file: Path | None, origin: bool) -> None:
    """Show the configuration in force, with all defaults."""
    from shared.settings.show import as_json, as_yaml  # noqa: PLC0415 - YAML costs 40 ms

    report = _report(file)
    if not report.valid:
        raise Ended(Exit.WRONG, report.text())
    answer = ConfigShow(values=cast("dict[str, Origin]", as_json(report)))
    context.show(answer, lambda _answer, _look: as_yaml(report, origins=origin).splitlines())


@config.command(cls=Command)
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from shared.settings.json_schema import as_text  # noqa: PLC0415 - pydantic costs 150 ms

    write(as_text().rstrip())


def _lines(report: "Report", look: Look) -> list[str]:
    """Return the report with its notes before the verdict, which stays last."""
    *findings, verdict = report.text().splitlines()
    notes = [
        line
        for note in report.notes()
        for line in wrapped(note, look.width, indent=" " * 6, first="note: ")
    ]
    return [*findings, *notes, verdict]


def _report(file: Path | None) -> "Report":
    from shared.settings.load import examine  # noqa: PLC0415 - YAML and pydantic cost 200 ms

    path = file or Path(os.environ.get("EQUIPOISE_CONFIG", DEFAULT))
    return examine(path, os.environ)
