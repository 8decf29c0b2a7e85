"""Puts a bug into a named function of a real core, and takes it out again.

The function's source is changed at one place and its code exchanged in place, so that everybody
who has imported it runs the changed one. A text that is no longer found is an error: a bug that
is not planted proves nothing.
"""

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import FunctionType

from tests.simulation.weather import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """A rule of the protocol, broken."""

    name: str  # a sentence: what is wrong
    place: str  # module:function
    correct: str
    wrong: str
    caught_by: str  # the invariant that must find it, or a test as module:function
    storm: frozenset[Fault] = frozenset()  # the weather that brings it out
    first_seed: int = 0  # where the quick hunt begins, so that a rare bug is found soon

    def __str__(self) -> str:
        return self.name


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Let a function be wrong for a while."""
    module, name = bug.place.split(":")
    function = getattr(import_module(module), name)
    assert isinstance(function, FunctionType), f"{bug.place} is no plain function"
    sound = function.__code__
    function.__code__ = _changed(bug, function).__code__
    try:
        yield
    finally:
        function.__code__ = sound


def _changed(bug: Bug, function: FunctionType) -> FunctionType:
    source = textwrap.dedent(inspect.getsource(function))
    count = source.count(bug.correct)
    assert count == 1, f"'{bug.correct}' is {count} times in {bug.place}; it must be there once"
    made: dict[str, FunctionType] = {}
    exec(source.replace(bug.correct, bug.wrong), function.__globals__, made)
    return made[function.__name__]
