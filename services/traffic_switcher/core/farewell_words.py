"""How HAProxy is told whose clients are to leave: lists of addresses, read back before changed.

A list is HAProxy's own (`haproxy_file.farewells`), and empty again when HAProxy starts anew: then
there is nothing left of what drained, either.
"""

import re
from collections.abc import Collection, Mapping, Set as AbstractSet
from typing import TypeAlias

from services.traffic_switcher.core.haproxy_file import NO_ADDRESS
from services.traffic_switcher.core.haproxy_words import PREFIX
from shared.errors import SwitchError

Lists: TypeAlias = Mapping[int, AbstractSet[str]]  # by their numbers

_ENTRY = re.compile(r"^0x[0-9a-f]+ (\S+)$")


def question(numbers: Collection[int]) -> str:
    """Ask for these lists."""
    return ";".join((PREFIX, *(f"show acl #{number}" for number in sorted(numbers)))) + "\n"


def order(wanted: Lists) -> str:
    """Replace these lists, and ask for them."""
    changes = [
        command
        for number, addresses in sorted(wanted.items())
        for command in (
            f"clear acl #{number}",
            *(f"add acl #{number} {address}" for address in sorted({*addresses, NO_ADDRESS})),
        )
    ]
    return f"{PREFIX};{';'.join(changes)};{question(wanted).removeprefix(f'{PREFIX};')}"


def read(answer: str, numbers: Collection[int]) -> Lists:
    """Return what lists hold; whatever else is said is a complaint."""
    blocks = [block for block in re.split(r"\n\s*\n", answer) if block.strip()]
    found = [{_address(line) for line in block.strip("\n").split("\n")} for block in blocks]
    if len(found) != len(numbers):
        raise SwitchError(f"has {len(found)} lists of who is to leave, not {len(numbers)}")
    return {n: of - {NO_ADDRESS} for n, of in zip(sorted(numbers), found, strict=True)}


def _address(line: str) -> str:
    entry = _ENTRY.match(line)
    if entry is None:
        raise SwitchError(f'does not know who is to leave: it said "{line[:200]}"')
    return entry[1]
