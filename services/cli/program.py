"""The root of the command: global options, commands that are loaded when needed, how it ends."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from services.cli.client import Client
from services.cli.exits import Ended, Exit
from services.cli.lengths import SECOND, length_of
from services.cli.look import Look, cleaned
from services.cli.places import places

WIDTH_MAX = 400  # columns; wider is a mistake of the terminal's
WIDTH_UNKNOWN = 80

# Name -> module; each has a click command of the same name with dashes as underscores.
COMMANDS: Mapping[str, str] = {
    "status": "status",
    "events": "events",
    "incidents": "incidents",
    "explain": "incidents",
    "why": "why",
    "rules": "rules",
    "failover": "changes",
    "failback": "changes",
    "maintenance": "maintenance",
    "pause": "changes",
    "resume": "changes",
    "config": "config",
    "sandbox": "sandbox",
    "version": "version",
    "completion": "completion",
}


class Context:
    """What the options say, and what follows from them; one for each run."""

    def __init__(self) -> None:
        self.output = "table"
        self.quiet = False
        self.verbose = False
        self.no_color = False
        self.ascii = False
        self.api: str | None = None
        self.member: str | None = None
        self.timeout_us: int | None = None
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """Return who asks the console, made on first use."""
        if self._client is None:
            self._client = Client(places(self.api, self.member, os.environ))
        return self._client

    @property
    def as_json(self) -> bool:
        """Whether a machine reads standard output."""
        return self.output in ("json", "jsonl")

    def look(self) -> Look:
        """Return what standard output can show."""
        return look_of(sys.stdout, no_color=self.no_color, plain=self.ascii)

    def show(self, answer: object, lines: Callable[[Any, Look], Sequence[str]]) -> None:
        """Print an answer as it was asked for: as JSON, or as lines for people."""
        if self.output == "json":
            write(json.dumps(answer, indent=2, ensure_ascii=False))
        elif self.output == "jsonl":
            write(json.dumps(answer, ensure_ascii=False))
        else:
            look = self.look()
            write(look.finish("\n".join(lines(cleaned(answer), look))))
        self.mention_silence()

    def mention_silence(self) -> None:
        """Say on standard error which members did not answer."""
        if self._client is not None and self._client.silent:
            self.tell(f"no console answers on {', '.join(self._client.silent)}")
            self._client.silent = []
        if self.verbose and self._client is not None and self._client.answering is not None:
            self.tell(f"answered by {self._client.answering.path}")

    def tell(self, text: str) -> None:
        """Talk to a person, on standard error, unless asked not to."""
        if not self.quiet:
            look = look_of(sys.stderr, no_color=self.no_color, plain=self.ascii)
            click.echo(look.finish(cleaned(text)), err=True)


def look_of(stream: Any, *, no_color: bool, plain: bool) -> Look:  # noqa: ANN401 - a text stream
    """Return what a stream can show: colours only on a terminal, unless they are forced."""
    environ = os.environ
    dumb = environ.get("TERM") == "dumb"
    terminal = stream.isatty() and not dumb
    colour = (terminal or bool(environ.get("FORCE_COLOR"))) and not environ.get("NO_COLOR")
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
    return Look(
        colour=colour and not no_color,
        ascii=plain or not encoding.startswith("utf") or dumb,
        width=_width(stream),
        links=terminal,
    )


def _width(stream: Any) -> int:  # noqa: ANN401
    text = os.environ.get("COLUMNS", "")
    if text.isascii() and text.isdigit() and int(text[:4]) > 0:
        return min(int(text[:4]), WIDTH_MAX)
    try:
        return min(os.get_terminal_size(stream.fileno()).columns or WIDTH_UNKNOWN, WIDTH_MAX)
    except (OSError, ValueError):
        return WIDTH_UNKNOWN


def write(text: str) -> None:
    """Print data; who reads it may have read enough, which is no error."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError as error:
        # What is left in the buffer must not be flushed into the pipe at our end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Ended(Exit.DONE) from error


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> Any:  # noqa: ANN401
    """Remember a global option, wherever it stands on the line."""
    if value is not None and value is not False and parameter.name is not None:
        setattr(context.ensure_object(Context), parameter.name, value)
    return value


def _timeout(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    duration_us = length_of(value) or (int(value) * SECOND if value.isdigit() else None)
    if not duration_us:
        raise click.BadParameter("write a length of time, as 30s or 5m", context, parameter)
    context.ensure_object(Context).timeout_us = duration_us


def global_options() -> list[click.Parameter]:
    """Return the options that every command has."""
    return [
        click.Option(
            ["-o", "--output"],
            type=click.Choice(["table", "json", "jsonl"]),
            expose_value=False,
            callback=_keep,
            help="How to print: for people, as JSON, or as a JSON line an item.",
        ),
        _flag("-q", "--quiet", "Print data only, no talk."),
        _flag("-v", "--verbose", "Say on standard error who answered."),
        _flag("--no-color", "--no-colour", "Print without colours, as NO_COLOR does."),
        _flag("--ascii", None, "Print no symbols beyond ASCII."),
        click.Option(
            ["--api"],
            metavar="PATH",
            expose_value=False,
            callback=_keep,
            help="The socket of the console to ask; or set EQUIPOISE_API.",
        ),
        click.Option(
            ["--from", "member"],
            metavar="MEMBER",
            expose_value=False,
            callback=_keep,
            help="Whose console to ask, in a sandbox.",
        ),
    ]


def _flag(name: str, other: str | None, text: str) -> click.Option:
    names = [name, *([other] if other else [])]
    if other == "--no-colour":
        names.append("no_color")
    return click.Option(names, is_flag=True, expose_value=False, callback=_keep, help=text)


def timeout_option() -> click.Option:
    """Return the option of commands that wait."""
    return click.Option(
        ["--timeout"],
        metavar="LENGTH",
        expose_value=False,
        callback=_timeout,
        help="Give up waiting after so long (30s, 5m); exit code 124.",
    )


class Command(click.Command):
    """A command that takes the global options too."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*arguments, **named)
        self.params = [*self.params, *global_options()]


class Group(click.Group):
    """A group whose commands are modules, loaded when they are used."""

    command_class = Command

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **named)
        self.params = [*self.params, *global_options()]
        self.lazy: Mapping[str, str] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which they are explained."""
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loaded now."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"services.cli.commands.{self.lazy[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or say which one may be meant."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise Ended(
                Exit.WRONG,
                f"there is no command '{name}'",
                mend=nearest(name, self.list_commands(ctx)) or f"see {ctx.command_path} --help",
            )
        return super().resolve_command(ctx, args)


def nearest(name: str, known: Sequence[str]) -> str:
    """Return which name may be meant, as a question, or nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - 10 ms that only mistakes pay

    near = get_close_matches(name, list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else ""


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes and every option: docs/commands.md",
)
def equipoise() -> None:
    """Keep a service up on two or more machines, and say why it moved."""


root = equipoise
assert isinstance(root, Group)
root.lazy = COMMANDS


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code; no traceback ever reaches a person."""
    try:
        return _run(arguments)
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the top: whatever this is, it is our mistake
        return _end(_of_bug(error), arguments)


def _run(arguments: Sequence[str]) -> int:
    try:
        root.main(list(arguments), prog_name="equipoise", standalone_mode=False, obj=Context())
    except Ended as ended:
        return _end(ended, arguments)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        return _end(_of_click(error), arguments)
    return Exit.DONE


def _of_click(error: click.ClickException) -> Ended:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "equipoise"
    text = error.format_message().rstrip(".")
    return Ended(Exit.WRONG, text[:1].lower() + text[1:], mend=f"see {path} --help")


def _of_bug(error: Exception) -> Ended:
    import traceback  # noqa: PLC0415 - 15 ms that only our mistakes pay

    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    text = f"a bug in equipoise: {type(error).__name__}: {error} ({where})"
    return Ended(Exit.BUG, text, mend="please report this line")


def _end(ended: Ended, arguments: Sequence[str]) -> int:
    """Say why it ended; where a machine reads, as JSON in the place of the answer."""
    if ended.text and _wants_json(arguments):
        trouble = {"text": ended.text, "exit_code": int(ended.code), "help": ended.mend}
        write(json.dumps({"error": trouble}, indent=2, ensure_ascii=False))
    elif ended.text:
        look = look_of(sys.stderr, no_color="--no-color" in arguments, plain=False)
        text = f"{look.amber('✗')} {cleaned(ended.text)}"
        if ended.mend:
            text = f"{text}\n  {cleaned(ended.mend)}"
        click.echo(look.finish(text), err=True)
    return int(ended.code)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Return whether JSON is wanted, even if the line could not be understood."""
    line = " ".join(arguments)
    return any(f"{form}json" in line for form in ("-o ", "-o", "--output ", "--output="))
