"""What the kernel's listings of our tables mean.

The language's text, because its JSON has whole seconds only, and no comments of tables.
"""

import re
from collections.abc import Mapping

from shared.errors import SwitchError
from shared.instant import HOUR, MILLISECOND, MINUTE, SECOND, Duration

_UNITS: Mapping[str, Duration] = {
    "d": 24 * HOUR,
    "h": HOUR,
    "m": MINUTE,
    "s": SECOND,
    "ms": MILLISECOND,
}
_ELEMENTS = re.compile(r"elements = \{([^}]*)\}")
_TIMED_ELEMENTS = re.compile(r"\n\s*elements = \{[^}]*\bexpires\b[^}]*\}")
_LENGTH = re.compile(r"(\d+)(ms|[dhms])")
_COMMENT = re.compile(r'^\tcomment "([^"]*)"', re.MULTILINE)
_TABLE = re.compile(r"^table (\w+) (\S+)$", re.MULTILINE)


def tables(listing: str) -> frozenset[tuple[str, str]]:
    """Return the (family, name) of every table there is."""
    return frozenset((family, name) for family, name in _TABLE.findall(listing))


def comment(listing: str) -> str:
    """Return a table's comment; "" if it has none."""
    found = _COMMENT.search(listing)
    return found[1] if found else ""


def structure(listing: str) -> str:
    """Return what of a table does not change by itself: all but the elements that expire."""
    kept = _TIMED_ELEMENTS.sub("", listing)
    return _ELEMENTS.sub(lambda found: " ".join(sorted(re.split(r"[\s,]+", found[1]))), kept)


def rests(listing: str) -> Mapping[str, Duration]:
    """Return what is left of every element of listed sets."""
    found = {}
    for elements in _ELEMENTS.findall(listing):
        for element in elements.split(","):
            words = element.split()
            if "expires" not in words:
                raise SwitchError(
                    f"the kernel lists {element.strip()!r}, a lease that does not expire:"
                    " somebody else changed our tables"
                )
            found[words[0]] = _length(words[words.index("expires") + 1])
    return found


def _length(text: str) -> Duration:
    parts = _LENGTH.findall(text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise SwitchError(f"nftables says {text!r}, which is no length of time that we know")
    return sum(int(number) * _UNITS[unit] for number, unit in parts)
