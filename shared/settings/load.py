"""Reading the configuration: the file, the variables that win over it, and the key's file."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ConfigError
from shared.settings import Settings, findings as found, relations, schema
from shared.settings.complaint import Complaint
from shared.settings.document import TEXT_MAX, Document, read
from shared.settings.environment import override
from shared.settings.findings import Code, Finding, Place, Severity
from shared.settings.key_file import IS_DIRECTORY, KeyFileProblem, read_key, readable
from shared.settings.meaning import cluster_of, completed
from shared.settings.notes import notes
from shared.settings.schema import File
from shared.settings.validation import validate

RUN_DIRECTORY = "/run/equipoise"
STATE_DIRECTORY = "/var/lib/equipoise"
PORT_MAX = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that is known of a configuration after reading it."""

    name: str  # of the file, as it was given
    findings: tuple[Finding, ...]  # errors and warnings, in the order of the file
    document: Document  # what is written where
    file: File | None  # with all defaults; None when there are errors
    settings: Settings | None  # None when there are errors; its key is empty when unseen

    @property
    def valid(self) -> bool:
        """Whether the cluster could run by it."""
        return self.settings is not None

    def text(self) -> str:
        """Return the report for people; its last line is the verdict."""
        return found.report(self.findings, self.name)

    def line(self) -> str:
        """Return the errors for a log, in one line."""
        return found.in_one_line(self.findings)

    def as_json(self) -> list[dict[str, str | int]]:
        """Return the findings for editors and CI."""
        return [finding.as_json() for finding in self.findings]

    def notes(self) -> list[str]:
        """Return what a valid file means when something is lost."""
        return [] if self.file is None else notes(self.file)

    def as_annotations(self) -> str:
        """Return the findings as GitHub shows them beside the lines."""
        return "\n".join(finding.as_annotation() for finding in self.findings)


def load(path: Path, environ: Mapping[str, str]) -> Settings:
    """Return the settings of one member's program; all problems are one `ConfigError`."""
    return _settings(examine(path, environ, for_member=True))


def load_text(
    text: str, name: str, environ: Mapping[str, str], *, directory: Path = Path()
) -> Settings:
    """Return the settings out of a text; relative paths begin in the directory."""
    report = examine_text(text, name, environ, directory=directory, for_member=True)
    return _settings(report)


def examine(path: Path, environ: Mapping[str, str], *, for_member: bool = False) -> Report:
    """Return what is to be said of a file; a person needs neither a member's name nor the key."""
    name = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(4 * TEXT_MAX + 1)  # UTF-8 takes four bytes for a character at most
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        return _unreadable(name, error)
    return examine_text(text, name, environ, directory=path.parent, for_member=for_member)


def examine_text(
    text: str,
    name: str,
    environ: Mapping[str, str],
    *,
    directory: Path = Path(),
    for_member: bool = False,
) -> Report:
    """Return what is to be said of a text; `name` is what it is called in findings."""
    document = read(text, name)
    if document.root is None and document.findings:
        return _failed(document, document.findings)
    if version := _other_version(document):
        return _failed(document, [version])
    problems = override(document, environ)
    validated = validate(document)
    problems += [*document.findings, *validated.findings]
    for complaint in relations.complaints(validated.file):
        if all(validated.stands(about) for about in complaint.about):
            problems.append(_of_relation(document, complaint))
    file, key = validated.file, b""
    member = environ.get("EQUIPOISE_NODE", "").strip()
    if member or for_member:
        problems += _of_member(file, member)
    health_at, of_health = _place("EQUIPOISE_HEALTH", environ)
    api_at, of_api = _place("EQUIPOISE_API_LISTEN", environ)
    problems += [*of_health, *of_api]
    if validated.stands(("key",)):
        key, of_key = _key(document, directory / file.key, for_member=for_member)
        problems += of_key
    if any(problem.severity is Severity.ERROR for problem in problems):
        return _failed(document, problems)
    file = completed(file)
    findings = found.ordered(problems, name)
    settings = Settings(
        cluster=cluster_of(file),
        member=member,
        key=key,
        run_directory=Path(environ.get("EQUIPOISE_RUN_DIR") or RUN_DIRECTORY),
        state_directory=Path(environ.get("EQUIPOISE_STATE_DIR") or STATE_DIRECTORY),
        otlp_endpoint=file.telemetry.otlp,
        trace_ui=file.telemetry.trace_ui,
        log_format=file.telemetry.log.format,
        log_level=file.telemetry.log.level,
        health_at=health_at,
        docker_socket=None if file.docker.socket is None else Path(file.docker.socket),
        api_at=api_at,
        warnings=tuple(finding.headline() for finding in findings),
    )
    return Report(name=name, findings=findings, document=document, file=file, settings=settings)


def _settings(report: Report) -> Settings:
    if report.settings is None:
        raise ConfigError(report.text(), report.line())
    return report.settings


def _failed(document: Document, problems: Iterable[Finding]) -> Report:
    return Report(
        name=document.name,
        findings=found.ordered(problems, document.name),
        document=document,
        file=None,
        settings=None,
    )


def _unreadable(name: str, error: OSError | ValueError) -> Report:
    """Return the report on a file that could not even be read."""
    mend = "name another with --config or EQUIPOISE_CONFIG"
    match error:
        case FileNotFoundError():
            text = "there is no such file"
        case IsADirectoryError():
            text = "it is a directory, where a file is needed"
            mend = IS_DIRECTORY
        case PermissionError():
            text = "it may not be read by this user"
            mend = f"give it to those that the programs run as: {readable(Path(name))}"
        case UnicodeDecodeError():
            text = f"it is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}"
            mend = "save it as UTF-8"
        case OSError():
            text = f"it cannot be read: {error.strerror}"
        case _:
            text = f"it cannot be read: {error}"
    return _failed(Document(name=name, lines=[]), [_error(Code.FILE, Place(file=name), text, mend)])


def _error(code: Code, place: Place, text: str, mend: str, path: str = "") -> Finding:
    return Finding(severity=Severity.ERROR, code=code, path=path, text=text, help=mend, place=place)


def _other_version(document: Document) -> Finding | None:
    """Return the only thing worth saying about a file of another version."""
    root = document.root if isinstance(document.root, dict) else {}
    version = root.get("version", str(schema.VERSION))
    if not isinstance(version, str) or version == str(schema.VERSION) or not version.isdigit():
        return None
    text = f"this is a file of version {found.cropped(version)}"
    mend = f"this program reads version {schema.VERSION}"
    return _error(Code.VERSION, document.place(("version",)), text, mend, "version")


def _of_relation(document: Document, complaint: Complaint) -> Finding:
    path = complaint.about[0]
    place = document.key_place(path) if complaint.at_key else document.place(path)
    return Finding(
        severity=complaint.severity,
        code=complaint.code,
        path=found.dotted(path),
        text=complaint.text,
        help=complaint.help,
        place=place,
    )


def _of_member(file: File, member: str) -> list[Finding]:
    """Return what is wrong with the name of the member that we are to be."""
    names = [name for name, _ in relations.members(file).values()]
    if member in names:
        return []
    place = Place(file="EQUIPOISE_NODE")
    mend = f"members in this file: {', '.join(names)}"
    if not member:
        text = "EQUIPOISE_NODE is not set: nobody knows which member this is"
        return [_error(Code.MEMBER, place, text, mend)]
    place = Place(file="EQUIPOISE_NODE", line=1, column=1, length=len(member), excerpt=member)
    text = f"there is no member named {found.quoted(member)}"
    return [_error(Code.MEMBER, place, text, mend)]


def _place(
    variable: str, environ: Mapping[str, str]
) -> tuple[tuple[str, int] | None, list[Finding]]:
    """Return the address and port that a variable names, and what is wrong with it."""
    text = environ.get(variable, "").strip()
    if not text:
        return None, []
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        if port.isdecimal() and 0 < int(port) <= PORT_MAX:
            return (host, int(port)), []
    except ValueError:
        pass
    place = Place(file=variable, line=1, column=1, length=len(text), excerpt=text)
    wrong = f"it must be an address and a port from 1 to {PORT_MAX}, not {found.quoted(text)}"
    mend = "such as 127.0.0.1:9631 or [::1]:9631"
    return None, [_error(Code.TCP_PLACE, place, wrong, mend)]


def _key(document: Document, path: Path, *, for_member: bool) -> tuple[bytes, list[Finding]]:
    """Return the key, and what is wrong with it: who only looks need not be able to read it."""
    try:
        return read_key(path), []
    except KeyFileProblem as problem:
        excused = problem.unseen and not for_member
        return b"", [
            Finding(
                severity=Severity.WARNING if excused else Severity.ERROR,
                code=Code.KEY_UNSEEN if excused else Code.KEY_FILE,
                path="key",
                text=found.printable(problem.text),
                help=found.printable(problem.mend),
                place=document.place(("key",)),
            )
        ]
