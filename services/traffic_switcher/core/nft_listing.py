"""What the kernel's listings of our tables mean.

The language's text, because the JSON of old libraries has no comments of tables.
"""

import re

_ELEMENTS = re.compile(r"elements = \{([^}]*)\}")
_TIMED_ELEMENTS = re.compile(r"\n\s*elements = \{[^}]*\bexpires\b[^}]*\}")
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
