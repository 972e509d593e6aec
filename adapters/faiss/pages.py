"""Codes in huge pages, where Linux gives them to whoever asks.

A scan reads all codes, and in pages of 4 KB a good part of its time goes into finding them. What
most distributions are set to, `madvise`, lets each program ask for pages of 2 MB instead; what is
in memory already is moved there at once from Linux 6.1 on, and by and by before. Nothing that is
read changes, and whoever reads meanwhile goes on.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import faiss

from requant.adapters.advice import advise
from requant.adapters.faiss.files import downcast
from requant.adapters.faiss.layers import core_of

_HUGEPAGE, _COLLAPSE = 14, 25  # MADV_HUGEPAGE, MADV_COLLAPSE
SETTINGS = Path("/sys/kernel/mm/transparent_hugepage")


class HugePages:
    """The pages of one index's codes that have been asked for."""

    __slots__ = ("_codes", "_done", "_start")

    def __init__(self, index: Any) -> None:
        """Ask for what a FAISS index holds by now; it has to outlive this."""
        self._codes = _own_codes(index)
        self._start = self._done = 0
        self.follow()

    def follow(self) -> None:
        """Ask for what was added, or for all where FAISS has moved it; nobody else writes.

        A page is asked for once it is full of codes: huge pages take no memory that had no use.
        """
        page = _page_bytes()
        if not page or self._codes is None:
            return
        size = int(self._codes.size())
        start = int(self._codes.data()) if size else 0
        if start != self._start:
            self._start = self._done = start
        first, last = -(-self._done // page) * page, (start + size) // page * page
        if first < last:
            self._done = last
            if "[never]" not in _setting("enabled"):
                # Both may be refused (an old kernel, no memory in one piece), and all is as before.
                advise(first, last, _HUGEPAGE)
                advise(first, last, _COLLAPSE)


def _own_codes(index: Any) -> Any:
    """Return the codes of an index where they lie in one piece of FAISS's own memory, or None."""
    store = _store(index)
    if not isinstance(store, (faiss.IndexFlatCodes, faiss.IndexFastScan, faiss.IndexBinaryFlat)):
        return None
    codes = store.xb if isinstance(store, faiss.IndexBinary) else store.codes
    # Bytes that are not owned are a view of a file that is mapped.
    return codes if getattr(codes, "is_owned", True) else None


def _store(index: Any) -> Any:
    """Return what keeps the codes, below keys, transforms and links."""
    if isinstance(index, (faiss.IndexIDMap, faiss.IndexBinaryIDMap)):
        return _store(downcast(index.index))
    core = core_of(index)
    return _store(downcast(core.storage)) if hasattr(core, "storage") else core


@cache
def _page_bytes() -> int:
    """Return the size of a huge page, 0 where there are none."""
    size = _setting("hpage_pmd_size") if sys.platform == "linux" else ""
    return int(size) if size.isdecimal() else 0


def _setting(name: str) -> str:
    try:
        return (SETTINGS / name).read_text().strip()
    except OSError:
        return ""
