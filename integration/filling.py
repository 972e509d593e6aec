"""A framework's store that is filled from another one: with everything, or with nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from requant.collection import Collection
from requant.errors import ExistsError, StoreError

if TYPE_CHECKING:
    from requant.integration.doors import Door

# The fidelity of an origin of which only a part is there; once all is, its own takes this place.
_UNFINISHED = "unfinished"


@contextmanager
def filling(door: Door, dim: int, source: str, kind: str) -> Iterator[Collection]:
    """Make the collection of a door, to be filled; after an error it is as it was.

    Until `Collection.note_origin` tells the fidelity of the whole, no store opens it, so that what
    a process left that was killed is not taken for everything.

    Raises ExistsError: there is something in it; StoreError: of another filling.
    """
    found = door.found()
    target = found
    if target is None:
        target = door.database.create_collection(door.name, dim, door.metric)
    if not target.note_origin(source, kind, _UNFINISHED, into_empty=True):
        refuse_unfinished(target)
        raise ExistsError(
            f"collection {door.name!r} is there already and holds {len(target):,} items: open it "
            "as it is, or choose another collection_name"
        )
    # From here on nobody else fills it: all that is in it may be taken away again.
    try:
        yield target
    except BaseException:
        if found is None:
            door.dropped()
        else:
            found.clear()
        raise


def refuse_unfinished(collection: Collection) -> None:
    """Raise StoreError for a collection that is being filled, or was until its process ended."""
    for origin in collection.origins:
        if origin.fidelity == _UNFINISHED:
            raise StoreError(
                f"collection {collection.name!r} does not hold all of {origin.source} yet: wait "
                "for the process that fills it; if that has ended, remove the collection "
                f"(`requant.open(...).drop_collection({collection.name!r})`) and fill it again"
            )
