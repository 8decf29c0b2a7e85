"""Rules of the house that a machine can check: shape, size, names, documents."""

import ast
import importlib.metadata
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.messages.table import TABLE

ROOT = Path(__file__).parent.parent.parent
SERVICES = (
    "arbiter",
    "console",
    "docker_gate",
    "health_probe",
    "heartbeat",
    "traffic_switcher",
)
LINES_MAX = 450  # of a module: longer ones have more than one idea
BANNED_NAMES = {"utils", "helpers", "common", "base", "manager", "misc", "tools"}
BANNED_CALLS = {"open", "print", "input", "exec", "eval", "breakpoint"}


def tracked(pattern: str) -> list[Path]:
    """Return the files of the repository that match, as git sees them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def modules(folder: str) -> list[Path]:
    return [path for path in tracked("*.py") if path.is_relative_to(ROOT / folder)]


def test_our_import_names_are_ours_alone() -> None:
    distributions = importlib.metadata.packages_distributions()
    for name in ("services", "shared"):
        assert set(distributions.get(name, ())) <= {"equipoise"}


def test_the_changelog_begins_with_the_version_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == project["version"]


@pytest.mark.parametrize(
    "name",
    [
        "docker-compose.yml",
        ".env.example",
        *(f"deploy/compose/{x}" for x in ("node.yml", "witness.yml")),
    ],
)
def test_containers_run_the_version_of_the_project(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"EQUIPOISE_VERSION(?::-|=)([\d.]+)", (ROOT / name).read_text())
    assert set(named) == {project["version"]}


def test_the_recipe_names_images_of_the_projects_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"equipoise:(\d[\d.]*)", (ROOT / "deploy/compose/README.md").read_text())
    assert set(named) == {project["version"]}


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_same_shape(service: str) -> None:
    folder = ROOT / "services" / service
    if not folder.exists():
        pytest.fail(f"services/{service} is missing")
    names = {path.name for path in folder.iterdir() if path.name != "__pycache__"}
    core, shell = (
        (part if (folder / part).is_dir() else f"{part}.py") for part in ("core", "shell")
    )
    assert {"__init__.py", "__main__.py", shell, core} <= names
    assert names <= {"__init__.py", "__main__.py", "config.py", shell, core, "adapters"}
    assert len((folder / "__main__.py").read_text().splitlines()) < 60


def test_no_module_has_a_name_that_says_nothing() -> None:
    for path in tracked("*.py"):
        assert path.stem not in BANNED_NAMES, f"{path.relative_to(ROOT)}: name it after its idea"


def test_no_module_has_grown_past_one_idea() -> None:
    for path in [*modules("services"), *modules("shared")]:
        count = len(path.read_text().splitlines())
        assert count <= LINES_MAX, f"{path.relative_to(ROOT)} has {count} lines: split it"


def cores() -> Iterator[Path]:
    for service in SERVICES:
        folder = ROOT / "services" / service
        yield from folder.glob("core/**/*.py")
        yield from folder.glob("core.py")
    yield from (ROOT / "shared" / "messages").glob("*.py")


def test_cores_touch_nothing_outside() -> None:
    for path in cores():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await):
                pytest.fail(f"{path.relative_to(ROOT)}:{node.lineno}: a core does not wait")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in BANNED_CALLS, (
                    f"{path.relative_to(ROOT)}:{node.lineno}: a core does not call {node.func.id}"
                )


def test_every_message_is_said_by_a_service_that_exists() -> None:
    for row in TABLE:
        assert (ROOT / "services" / row.said_by).is_dir(), row


def test_every_make_target_is_explained() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (\S+)", text, re.MULTILINE)
    explained = re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE)
    assert set(phony) <= set(explained)


def test_documents_link_only_to_what_is_there() -> None:
    for path in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.relative_to(ROOT)} links to {target}"


def test_documents_name_only_files_that_are_there() -> None:
    for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"):
        for target in re.findall(
            r"`((?:shared|services|tests|deploy|docs|benchmarks)/[\w./-]+)`",
            (ROOT / name).read_text(),
        ):
            assert (ROOT / target).exists(), f"{name} names {target}"


def test_nothing_is_left_over_and_nothing_of_this_machine_is_told() -> None:
    ours = Path(__file__).name
    for path in [*tracked("*.py"), *tracked("*.md"), *tracked("*.toml"), *tracked("*.lock")]:
        if path.name == ours:
            continue
        text = path.read_text()
        for word in ("TODO", "FIXME", "XXX:", "/work/", "files.pythonhosted"):
            assert word not in text, f"{path.relative_to(ROOT)} has {word}"


def test_the_lock_names_versions_and_no_addresses() -> None:
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        assert re.fullmatch(r"(#.*)?|[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", line), line
