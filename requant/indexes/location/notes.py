"""What a place says of itself: whose it is, and how often it was written to.

Before a live engine's place is written to, the store is told under a new serial and a random token
(durably, in `requant_locations`), and then the place itself, in its note. So a place whose note is
ahead of the store, or tells of another token or another database, was written to by somebody else,
or by this database in a future that a restored backup knows nothing of.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import cast

from requant.adapters.protocol import Backend, Noting
from requant.store import Identity, locations


@dataclass(frozen=True)
class Note:
    """The note of a place; `seq` is how far it may have followed the collection."""

    database: str
    collection: int
    index: int
    serial: int
    token: str
    seq: int

    @property
    def mark(self) -> tuple[int, str]:
        """What changes with every write."""
        return self.serial, self.token


def write(backend: Backend, note: Note) -> None:
    """Leave a note in the place of `backend`, if its engine keeps notes."""
    if backend.capabilities.notes:
        cast("Noting", backend).note(json.dumps(asdict(note)))


def read(backend: Backend) -> Note | None:
    """Return the note in the place of `backend`; None if there is none that can be read."""
    return parsed(cast("Noting", backend).noted()) if backend.capabilities.notes else None


def parsed(text: str | None) -> Note | None:
    """Return a note that was written as text, None if it cannot be read."""
    try:
        return None if text is None else Note(**json.loads(text))
    except (ValueError, TypeError):
        return None


def objection(
    note: Note | None, place: locations.Place, identity: Identity, collection: int, index: int
) -> str | None:
    """Return what is wrong with a note, None if the place may be used.

    A note that is behind its store is not wrong in itself: whoever announced a write may have been
    killed before it was written down.
    """
    if not place.serial:
        # Nothing was written under a serial yet: it was made by an older version, or just now.
        return None if note is None else "a later or another database has written to it"
    if note is None:
        return "it does not say any more whose it is"
    if not identity.knows(note.database):
        return "it is another database's by now"
    if (note.collection, note.index) != (collection, index):
        return "it is another index's by now"
    if note.serial > place.serial:
        return (
            "it is ahead of the database, which was restored from an earlier time, or a copy of "
            "the database writes to it"
        )
    if note.serial == place.serial and note.token != place.token:
        return "a copy of the database has written to it"
    return None


def is_shared(
    note: Note | None, place: locations.Place, identity: Identity, collection: int, index: int
) -> bool:
    """Whether two clones of a database have begun the same turn: each may have the other's items.

    Both had come as far when they were told apart by nothing, and both wrote then.
    """
    if note is None or not place.serial or not identity.knows(note.database):
        return False
    same_turn = (note.collection, note.index, note.serial) == (collection, index, place.serial)
    return same_turn and note.token != place.token


def vouches(text: str | None, identity: Identity, index: int) -> bool:
    """Whether a note, as it was written, says that its place is that of an index of ours."""
    note = parsed(text)
    return note is not None and identity.knows(note.database) and note.index == index
