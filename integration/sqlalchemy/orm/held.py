"""The vector that an object holds, beside its columns: given, or read from the collection.

It stands in `InstanceState.info`, where it is pickled with the object, and where neither pydantic
nor dataclasses look.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy.orm import InstanceState

from requant.quantizers.arrays import Float32s

_KEY = "requant"


class Held(NamedTuple):
    """A vector, None for none; whether it was given by hand, and whether it is not yet written."""

    vector: Float32s | None
    given: bool
    unsaved: bool


def held(state: InstanceState[Any], name: str) -> Held | None:
    """Return what an object holds under the name of a Vector, None if nobody knows."""
    found = state.info.get(_KEY)
    return Held(*found[name]) if found is not None and name in found else None


def hold(
    state: InstanceState[Any],
    name: str,
    vector: Float32s | None,
    *,
    given: bool = False,
    unsaved: bool = False,
) -> None:
    """Let an object hold a vector; it is not to be changed in place, which nobody would notice."""
    if vector is not None:
        vector.setflags(write=False)
    state.info.setdefault(_KEY, {})[name] = (vector, given, unsaved)


def let_go(state: InstanceState[Any], name: str) -> None:
    """Forget what an object holds: it is read again when it is asked for."""
    state.info.get(_KEY, {}).pop(name, None)


def saved(state: InstanceState[Any], name: str, vector: Float32s | None) -> None:
    """Note what has been written for an object.

    What was given stays known as given: if the transaction is rolled back and the object added
    again, it is written again.
    """
    before = state.info.get(_KEY, {}).get(name)
    hold(state, name, vector, given=before is not None and before[1] and before[0] is vector)
