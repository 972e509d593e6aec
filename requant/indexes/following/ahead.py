"""What an index would take in that has no number yet: PostgreSQL's writers are numbered afterwards.

Items whose key is fresh are passed over until they have a number. An item that was there before is
read as it is now, though the index follows to what it was: a search in an earlier snapshot is then
not to ask the index, as ever where an index has come further than the snapshot.
"""

from __future__ import annotations

import numpy as np

from requant.adapters.protocol import Keys
from requant.errors import StoreError
from requant.indexes.loaded import Loaded
from requant.store import BusyError, CollectionRow, CollectionState, Reader, Store


def takes_in_more(
    loaded: Loaded, reader: Reader, owner: CollectionRow, state: CollectionState
) -> bool:
    """Whether an index that follows to `state` holds what a snapshot of that number may not see."""
    altered, mark = state.fresh.altered, loaded.watermark
    if not len(altered):
        return False
    return alters(state, mark.key) or reader.has_logged(owner.id, mark.seq, altered)


def alters(state: CollectionState, key: int) -> bool:
    """Whether items from `key` on, which have a number, were changed by what has none."""
    altered = state.fresh.altered
    return bool(((altered >= key) & (altered < state.next_key)).any())


def numbered(store: Store, owner: CollectionRow) -> int:
    """Give a number to what is committed, and return the latest.

    Raises BusyError, also where this user may give none: whoever may write does it.
    """
    try:
        seq = store.number(owner.id, wait=True)
    except StoreError as error:
        raise BusyError(f"{error}: what was written last cannot be followed meanwhile") from error
    if seq is None:
        raise BusyError(
            f"another transaction has had collection {owner.name!r} for itself for some seconds: "
            "it cannot be followed meanwhile"
        )
    return seq


def known(keys: Keys, state: CollectionState) -> Keys:
    """Return places in `keys`, which are in order: those of keys that are not fresh."""
    if not state.fresh or not len(keys):
        return np.arange(len(keys))
    fresh = state.fresh.added(int(keys[0]), int(keys[-1]) + 1)
    return np.flatnonzero(~np.isin(keys, fresh))
