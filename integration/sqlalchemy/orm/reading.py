"""Vectors read back: of one object when it is asked for, of many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import object_session
from sqlalchemy.orm.attributes import instance_state

from requant.errors import InputError
from requant.integration.sqlalchemy.orm.held import held, hold
from requant.integration.sqlalchemy.orm.mapped import Mapped, connection_of
from requant.quantizers.arrays import Float32s

_AT_ONCE = 500


def vector_of(mapped: Mapped, instance: Any) -> Float32s | None:
    """Return the vector of an object, read from the collection if it is not known.

    It is known until the object is expired: at the end of its transaction, as its columns are.
    """
    state = instance_state(instance)
    known = held(state, mapped.name)
    if known is not None:
        return known.vector
    if state.transient or state.pending:
        return None
    session = object_session(instance)
    if session is None:
        raise InputError(
            f"{mapped.row_name(state)}: the object is detached and its vector was not loaded; "
            "add it to a session"
        )
    load(mapped, session, [instance])
    found = held(state, mapped.name)
    return None if found is None else found.vector


def load(mapped: Mapped, session: Any, instances: Sequence[Any]) -> list[Float32s | None]:
    """Return the vectors of objects, read many at a time where they are not known."""
    states = [instance_state(instance) for instance in instances]
    unknown = [
        state for state in states if held(state, mapped.name) is None and state.key is not None
    ]
    if unknown:
        connection = connection_of(session, mapped.home)
        for start in range(0, len(unknown), _AT_ONCE):
            some = unknown[start : start + _AT_ONCE]
            part = {state.key[1][0]: state for state in some if state.key is not None}
            items = mapped.collection.get(list(part), vectors=True, connection=connection)
            found = {mapped.as_key(item.id): item.vector for item in items}
            for key, state in part.items():
                hold(state, mapped.name, found.get(key))
    every = [held(state, mapped.name) for state in states]
    return [None if one is None else one.vector for one in every]
