"""Whether a store has been set back to before what an index has followed: by a backup, say."""

from __future__ import annotations

from requant.indexes.loaded import Loaded
from requant.store import CollectionRow, CollectionState, Reader, Store


def leads_to(
    state: CollectionState, loaded: Loaded, store: Store, reader: Reader, owner: CollectionRow
) -> bool | None:
    """Tell whether an index holds nothing but what has led to `state`, or follows it.

    None where that cannot be told. A snapshot that is older than the index is no sign of a loss, if
    one of now is not.
    """
    known = max(loaded.reaching, loaded.seen.seq)
    if state.seq >= known:
        return reader.knows(owner.id, state, loaded.seen)
    with store.reading() as further:
        now = further.state_of(owner)
        return now.seq >= known and further.knows(owner.id, now, loaded.seen)
