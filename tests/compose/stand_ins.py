"""Images under the very names that the compose file uses, for machines that cannot pull any.

    python -m tests.compose.stand_ins        builds what is neither here nor to be had

The programs in them are real ones: Python from Debian's packages, HAProxy and nats-server from
their wheels. Users, entry points and signals are those of the images they stand in for. Jaeger's is
the exception: a receiver of our own (`jaeger_stand_in`). None of them is ever pushed.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.sandbox.machine import find_tools
from tests.compose.engine import install_tools

ROOT = Path(__file__).parents[2]
PYTHON = "python:3.13-slim-trixie"
HAPROXY = "haproxy:2.8-alpine"
NATS = "nats:2.15-alpine"
JAEGER = "jaegertracing/jaeger:2.19.0"
MADE_HERE = "io.equipoise.stand-in"  # the label by which a stand-in is known
WITHIN_S = 300
# How this machine reaches its package registries; a build within a container must know it too.
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
APT_OPTIONS = Path("/etc/apt/apt.conf.d")
NATS_ENTRY = """#!/bin/sh
case "$1" in -*) set -- nats-server "$@" ;; esac
exec "$@"
"""


def run(*command: str, within: Path | None = None, content: bytes | None = None) -> str:
    """Run something to its end; what it complains of is the error."""
    done = subprocess.run(
        command, cwd=within, input=content, capture_output=True, timeout=WITHIN_S, check=False
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode("utf-8", "replace")[-4_000:]
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
    return done.stdout.decode()


def is_here(image: str) -> bool:
    """Whether the engine has an image of this name."""
    asked = ("docker", "image", "inspect", image)
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def pulled(image: str) -> bool:
    """Whether a registry gave it to us."""
    asked = ("docker", "pull", "--quiet", image)
    try:
        done = subprocess.run(asked, capture_output=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def python_image(folder: Path) -> str:
    """Make a root of Debian with its Python, from which packages can be installed."""
    root = folder / "root.tar"
    wanted = "python3,python3-venv,python-is-python3,ca-certificates,passwd"
    bootstrap("trixie", wanted, root, "apt")
    with tarfile.open(root, "a") as made:
        for path in (CERTIFICATES, *_apt_options()):
            made.add(path, arcname=str(path).lstrip("/"))
        if (options := Path("/etc/pip.conf")).exists():
            made.add(options, arcname="etc/pip.conf")
    return from_root('CMD ["python3"]')


def haproxy_image(folder: Path) -> str:
    """Make a root with the wheel's HAProxy 2.8, what it needs of Debian, and a shell."""
    root = folder / "root.tar"
    bootstrap("trixie", "libc6,zlib1g,busybox-static", root, "extract")
    with tarfile.open(root, "a") as made:
        _busybox(made, ("sh", "sleep", "test", "["))
        # It finds its libraries beside itself.
        made.add(Path(find_tools(None).haproxy).parent, arcname="usr/local/lib/haproxy")
        link(made, "usr/local/sbin/haproxy", "/usr/local/lib/haproxy/haproxy")
        text(made, "etc/passwd", "root:x:0:0::/:/bin/sh\nhaproxy:x:99:99::/:/bin/sh\n")
        text(made, "etc/group", "root:x:0:\nhaproxy:x:99:\n")
    return from_root("USER haproxy\nSTOPSIGNAL SIGUSR1")


def nats_image(folder: Path) -> str:
    """Make a root with the wheel's nats-server, which needs nothing else, and a shell."""
    busybox_root = folder / "busybox.tar"
    bootstrap("trixie", "busybox-static", busybox_root, "extract")
    root = folder / "root.tar"
    with tarfile.open(busybox_root) as shell, tarfile.open(root, "w") as made:
        for name in ("./bin/busybox", "./usr/bin/busybox"):
            if name in shell.getnames():
                made.addfile(shell.getmember(name), shell.extractfile(name))
        _busybox(made, ("sh", "sleep", "wget", "test"))
        made.add(find_tools(None).nats_server, arcname="usr/local/bin/nats-server")
        text(made, "usr/local/bin/docker-entrypoint.sh", NATS_ENTRY, mode=0o755)
        text(made, "etc/passwd", "root:x:0:0::/:/bin/sh\n")
    return from_root(
        'ENV PATH=/usr/local/bin:/usr/bin:/bin\nENTRYPOINT ["docker-entrypoint.sh"]\n'
        'CMD ["nats-server"]'
    )


def jaeger_image(folder: Path) -> str:
    """Put our receiver on the project's own image, which has OpenTelemetry's messages."""
    shutil.copy(Path(__file__).with_name("jaeger_stand_in.py"), folder)
    return (
        "ARG OURS\nFROM ${OURS}\nCOPY jaeger_stand_in.py /jaeger.py\n"
        'ENTRYPOINT ["/venv/bin/python", "/jaeger.py"]\nCMD []\n'
    )


IMAGES: Mapping[str, Callable[[Path], str]] = {
    PYTHON: python_image,
    HAPROXY: haproxy_image,
    NATS: nats_image,
}


def bootstrap(suite: str, packages: str, to: Path, variant: str) -> None:
    """Make a root of Debian's packages; `setsid`, since it ends its whole process group."""
    # fmt: off
    run("setsid", "-w", "mmdebstrap", "--quiet", f"--variant={variant}", f"--include={packages}",
        suite, str(to))
    # fmt: on


def from_root(more: str) -> str:
    """Return a Dockerfile for a root; `docker import` cannot say what signal stops it."""
    return f"FROM scratch\nADD root.tar /\n{more}\n"


def link(made: tarfile.TarFile, name: str, to: str) -> None:
    """Add a symbolic link."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, to
    made.addfile(entry)


def text(made: tarfile.TarFile, name: str, content: str, mode: int = 0o644) -> None:
    """Add a file."""
    path = Path(tempfile.mkstemp()[1])
    path.write_text(content)
    path.chmod(mode)
    made.add(path, arcname=name, filter=_of_root)
    path.unlink()


def _of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def _busybox(made: tarfile.TarFile, names: tuple[str, ...]) -> None:
    # Only unpacked, a root lacks the links that Debian's base-files brings.
    for name in ("bin", "sbin", "lib", "lib64"):
        link(made, name, f"usr/{name}")
    for name in names:
        link(made, f"usr/bin/{name}", "busybox")


def _apt_options() -> Iterator[Path]:
    """Tell the files that say how this machine's apt reaches its packages."""
    for path in sorted(APT_OPTIONS.iterdir()) if APT_OPTIONS.is_dir() else ():
        if "http" in path.read_text(errors="replace").lower():
            yield path


def build(image: str, recipe: Callable[[Path], str], *arguments: str) -> None:
    """Build one, and name it."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "Dockerfile").write_text(recipe(folder) + f"LABEL {MADE_HERE}=yes\n")
        run("docker", "build", "--quiet", "--tag", image, *arguments, ".", within=folder)


def ensure(ours: str | None = None) -> list[str]:
    """Make every image be there that the compose file names; return which are stand-ins."""
    wanted = dict(IMAGES) if ours is None else {JAEGER: jaeger_image}
    with ThreadPoolExecutor(len(wanted)) as pool:
        had = dict(zip(wanted, pool.map(lambda x: is_here(x) or pulled(x), wanted), strict=True))
        missing = [image for image in wanted if not had[image]]
        if missing:
            install_tools()
        arguments = ("--build-arg", f"OURS={ours}") if ours else ()
        for built in [pool.submit(build, x, wanted[x], *arguments) for x in missing]:
            built.result()
    return missing


if __name__ == "__main__":
    os.environ.setdefault("DOCKER_BUILDKIT", "1")
    for name in ensure(sys.argv[1] if len(sys.argv) > 1 else None):
        sys.stdout.write(f"made a stand-in for {name}\n")
