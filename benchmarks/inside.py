"""The one place where the benchmarks reach into what is private: to measure the parts alone."""

from __future__ import annotations

from contextlib import AbstractContextManager

from requant.collection import Collection
from requant.indexes import Loaded
from requant.store import Reader, key_range


def reading(items: Collection) -> AbstractContextManager[Reader]:
    """Return a snapshot that is read as a search does."""
    return items._store.reading()


def first_key(items: Collection) -> int:
    """Return the key of the first item."""
    return key_range(items._row.id)[0]


def loaded(items: Collection, name: str) -> Loaded:
    """Return an index by name, caught up."""
    with items._store.reading() as reader:
        found = items._indexes.current(reader, reader.state_of(items._row), name)
    assert found is not None
    return found


def held(items: Collection, name: str) -> int:
    """Return how many items index `name` holds by now, without catching up."""
    following = items._indexes._following.values()
    index = next(one for one in following if one.row.name == name)._loaded
    assert index is not None
    return index.size


def place(items: Collection, name: str) -> str:
    """Return where the engine of index `name` would keep another one."""
    following = items._indexes._following.values()
    location = next(index for index in following if index.row.name == name)._location
    where: str = location._address(location._made_up())
    return where
