"""How output looks: colours, symbols and widths, all pure.

Colour is never alone: a state is a shape, a word and a colour. Blue is up, amber is degraded, and
red is only what does not serve.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

UP, AMBER, RED, DIM, BOLD = "38;5;39", "38;5;178", "1;38;5;203", "2", "1"
# What a terminal does not show: colours, and where a text leads to (OSC 8).
_ANSI = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;;[^\x1b]*\x1b\\")
# What a terminal would obey instead of showing it: control characters, and reversals of direction.
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_PLAIN = {"✓": "ok", "▲": "?!", "✗": "XX", "⏸": "||", "↗": "^^", "→": "->", "…": "...", "·": "-"}


class Look(NamedTuple):
    """What the place that we write to can show."""

    colour: bool = False
    ascii: bool = False
    width: int = 80
    links: bool = False

    def paint(self, style: str, text: str) -> str:
        """Return a text in a colour, where there are any."""
        return f"\x1b[{style}m{text}\x1b[0m" if self.colour and text else text

    def link(self, url: str) -> str:
        """Return an address that can be clicked, where there is something to click with.

        Terminals find addresses by themselves, but not those that are wrapped.
        """
        return f"\x1b]8;;{url}\x1b\\{url}\x1b]8;;\x1b\\" if self.links else url

    def finish(self, text: str) -> str:
        """Return a whole output as the place can show it."""
        if not self.ascii:
            return text
        for symbol, plain in _PLAIN.items():
            text = text.replace(symbol, plain)
        return text.encode("ascii", "replace").decode("ascii")

    def good(self, text: str) -> str:
        """Return what is as it should be."""
        return self.paint(UP, text)

    def amber(self, text: str) -> str:
        """Return what needs attention while all is served."""
        return self.paint(AMBER, text)

    def red(self, text: str) -> str:
        """Return what does not serve."""
        return self.paint(RED, text)

    def dim(self, text: str) -> str:
        """Return what is not to be read first."""
        return self.paint(DIM, text)

    def bold(self, text: str) -> str:
        """Return what is to be read first."""
        return self.paint(BOLD, text)


def visible(text: str) -> int:
    """Return how many columns a text takes."""
    return len(_ANSI.sub("", text))


def cleaned(value: Any) -> Any:  # noqa: ANN401 - JSON is anything
    """Return an answer without anything that a terminal would obey."""
    if isinstance(value, str):
        return _HARMFUL.sub("\N{REPLACEMENT CHARACTER}", value).replace("\n", " ")
    if isinstance(value, Mapping):
        return {cleaned(key): cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    return value


def wrapped(text: str, width: int, *, indent: str = "", first: str | None = None) -> list[str]:
    """Return a text in lines of a width; `first` is what the first line begins with."""
    lines, line = [], indent if first is None else first
    begun = False
    for word in text.split():
        if begun and visible(line) + 1 + visible(word) > width:
            lines.append(line)
            line, begun = indent, False
        line = f"{line} {word}" if begun else line + word
        begun = True
    return [*lines, line]
