"""`replace` for frozen dataclasses with slots, ten times as fast as the standard one.

A decision changes a state of 25 fields several times, and `dataclasses.replace` spends two
thirds of a decision's time on looking at every field and calling the constructor. This one
copies slot by slot into an unfrozen twin of the class and then gives the copy its true class;
the copying function is made once per class, as `dataclasses` makes constructors.

It is checked by mypy like the standard one, and does not run `__post_init__`: use it on values
whose fields do not constrain each other.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import replace as replace  # noqa: PLC0414 - the types of the standard one
else:
    _COPIERS: dict[type, Any] = {}

    def replace(value: object, /, **changes: object) -> object:
        """Return a copy with these fields changed."""
        kind = value.__class__
        copier = _COPIERS.get(kind)
        if copier is None:
            copier = _COPIERS[kind] = _copier_of(kind)
        made = copier(value)
        for name, changed in changes.items():
            setattr(made, name, changed)
        made.__class__ = kind
        return made

    def _copier_of(kind: type) -> Any:  # noqa: ANN401 - a function made of text
        """Return the function that copies every slot into a new unfrozen twin."""
        twin = type(f"_{kind.__name__}", (), {"__slots__": kind.__slots__})
        lines = ["def copy(value):", " made = new(twin)"]
        lines += [f" made.{name} = value.{name}" for name in kind.__slots__]
        made: dict[str, Any] = {"new": object.__new__, "twin": twin}
        exec("\n".join([*lines, " return made"]), made)  # noqa: S102 - of our own field names
        return made["copy"]
