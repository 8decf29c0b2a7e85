"""What the load balancers do, asked of HAProxy itself and of nobody else.

A drill that took Equipoise's word for what is restored would prove nothing.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from services.sandbox.errors import DrillError
from shared.rules import Rules

ANSWER_WITHIN_S = 2.0
# Bits of srv_admin_state (HAProxy's server-t.h): any maintenance, any draining.
CLOSED = 0x01 | 0x02 | 0x20 | 0x08 | 0x10
RUNNING = "2"  # srv_op_state

# The weight that decides, by service and node; 0 is no request, None one that HAProxy holds for
# dead by its own checks.
Weights: TypeAlias = Mapping[str, Mapping[str, int | None]]


def wanted(rules: Rules) -> Weights:
    """Return the weights that rules mean."""
    return {
        service: {node: rule.weight for node, rule in of_service.items()}
        for service, of_service in rules.items()
    }


def parse(answer: str) -> Weights:
    """Read what HAProxy says to `show servers state`."""
    lines = answer.strip().splitlines()
    if len(lines) < 2 or not lines[1].startswith("# "):  # noqa: PLR2004 - a version, and the names
        raise DrillError(f"HAProxy answered nonsense: {answer[:200]!r}")
    names = lines[1][2:].split()
    found: dict[str, dict[str, int | None]] = {}
    for line in lines[2:]:
        row = dict(zip(names, line.split(), strict=False))
        node = row["srv_name"]
        if node.startswith("_"):  # no instance: what Equipoise itself needs there
            continue
        weight: int | None = int(row["srv_uweight"])
        if int(row["srv_admin_state"]) & CLOSED:
            weight = 0
        elif row["srv_op_state"] != RUNNING:
            weight = None
        found.setdefault(row["be_name"], {})[node] = weight
    return found


async def read(socket: Path) -> Weights:
    """Ask one HAProxy."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(b"show servers state\n")
                return parse((await reader.read()).decode(errors="replace"))
            finally:
                writer.close()
    except OSError as problem:
        raise DrillError(f"HAProxy at {socket} does not answer: {problem}") from problem


def differences(seen: Mapping[str, Weights], original: Weights) -> list[str]:
    """Say where HAProxys (by node) differ from the original settings."""
    return [
        f"HAProxy on {balancer} gives {service}/{node} "
        f"{'nothing, it holds it for dead' if weight is None else f'weight {weight}'}; "
        f"it must be {original[service][node]}"
        for balancer, weights in sorted(seen.items())
        for service, of_service in sorted(original.items())
        for node in sorted(of_service)
        if (weight := weights.get(service, {}).get(node)) != of_service[node]
    ]
