"""Dead rows cleared out of an index, so that what is left stays as it was compressed."""

from __future__ import annotations

from typing import Any, NamedTuple

import faiss
import numpy as np

from requant.adapters.faiss import fastscan, files, layers
from requant.adapters.faiss.answers import among_rows
from requant.adapters.faiss.rows import FastScanRows, bytes_at
from requant.adapters.keys import Rows

_AT_ONCE = 65536


class _Woven(NamedTuple):
    """What `FastScanRows` asks of a codec."""

    row_bytes: int


def compacted(index: Any, live: Rows) -> Any:
    """Return `index` with the rows `live` only, which ascend, numbered from 0.

    The codes move as they are wherever FAISS can do that. Where it cannot (graphs, refinements),
    what it gives back of each vector is compressed once more.
    """
    core, n = layers.core_of(index), index.ntotal
    if not len(live):
        index.reset()
    elif core is not index and not isinstance(index, faiss.IndexPreTransform):
        return _again(index, live)
    elif isinstance(core, faiss.IndexIVFFastScan):
        _cut_woven_lists(core, live, n)
    elif isinstance(core, faiss.IndexFastScan) and not isinstance(core, faiss.IndexRaBitQFastScan):
        _cut_woven(core, live)
    else:
        dead = np.setdiff1d(np.arange(n), live, assume_unique=True)
        try:
            core.remove_ids(among_rows(dead, n))
        except RuntimeError:
            return _again(index, live)
        if isinstance(core, faiss.IndexIVF):
            _renumber(core, live, n)
    index.ntotal = len(live)
    return index


def starts_anew(index: Any) -> bool:
    """Whether all that is left has to be compressed once more, which takes long."""
    core = layers.core_of(index)
    if core is not index and not isinstance(index, faiss.IndexPreTransform):
        return True
    return layers.kind_of(index) == "hnsw"


def emptied(index: Any) -> Any:
    """Return an index without rows, trained as `index`."""
    fresh = files.copy(index)
    layers.mend(fresh)
    layers.hush(fresh)
    fresh.reset()
    return fresh


def _again(index: Any, live: Rows) -> Any:
    fresh = emptied(index)
    for start in range(0, len(live), _AT_ONCE):
        fresh.add(layers.reconstructed_rows(index, live[start : start + _AT_ONCE]))
    return fresh


def _cut_woven(core: Any, live: Rows) -> None:
    """Move codes by their nibbles: FAISS's own removal leaves some behind (see fastscan)."""
    rows = FastScanRows(core, _Woven(core.M2 // 2))
    holes = np.arange(len(live))
    for start in range(0, len(live), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)  # never from a row that was written to before
        rows.replace(holes[part], rows.gather(live[part]))
    rows.truncate(len(live))


def _cut_woven_lists(core: Any, live: Rows, n: int) -> None:
    lists, number = faiss.downcast_InvertedLists(core.invlists), _numbers(live, n)
    row_bytes, block = core.M2 // 2, core.bbs
    for at in range(core.nlist):
        size = lists.list_size(at)
        if not size:
            continue
        ids = faiss.rev_swig_ptr(lists.get_ids(at), size)
        stays = np.flatnonzero(number[ids] >= 0)
        room = -(-size // block) * block
        woven = fastscan.blocks_of(
            bytes_at(lists.get_codes(at), room * row_bytes), block, row_bytes
        )
        codes = np.zeros((room, row_bytes), np.uint8)
        codes[: len(stays)] = fastscan.gather(woven, stays)
        fastscan.scatter(woven, np.arange(room), codes)
        ids[: len(stays)] = number[ids[stays]]
        lists.resize(at, len(stays))
    core.ntotal = len(live)


def _renumber(core: Any, live: Rows, n: int) -> None:
    """Give the rows in lists their new numbers: lists keep the old ones on a removal."""
    lists, number = faiss.downcast_InvertedLists(core.invlists), _numbers(live, n)
    for at in range(core.nlist):
        size = lists.list_size(at)
        if size:
            ids = faiss.rev_swig_ptr(lists.get_ids(at), size)
            ids[:] = number[ids]


def _numbers(live: Rows, n: int) -> Rows:
    """Return the new number of each of n rows, -1 of a dead one."""
    number = np.full(n, -1, np.int64)
    number[live] = np.arange(len(live))
    return number
