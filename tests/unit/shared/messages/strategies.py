"""Any message of a type, made from its annotations."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from shared.messages.codec import NUMBER_MAX
from shared.rules import WEIGHT_MAX, Admission, Rule

json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)

_RULES = st.one_of(
    st.builds(Rule, st.just(Admission.SERVING), st.integers(1, WEIGHT_MAX)),
    st.builds(Rule, st.sampled_from([a for a in Admission if a != "serving"]), st.just(0)),
)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Return any value of a type that messages are made of."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        inner = next(argument for argument in arguments if argument is not NoneType)
        return st.none() | values(inner)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return st.lists(values(arguments[0]), max_size=3).map(tuple)
        return st.tuples(*(values(argument) for argument in arguments))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(st.text(max_size=8), values(arguments[1]), max_size=3)
    if kind is Rule:
        return _RULES
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return st.builds(kind, **{item.name: values(hints[item.name]) for item in fields(kind)})
    return _scalars(kind)


def _scalars(kind: type) -> st.SearchStrategy[Any]:
    if kind is str:
        return st.text(max_size=20)
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(-NUMBER_MAX, NUMBER_MAX)
    assert issubclass(kind, StrEnum)
    return st.sampled_from(list(kind))
