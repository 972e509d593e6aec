"""The items of one collection: what is read of them, and what is written."""

from __future__ import annotations

from requant.store.contents.among import items_among
from requant.store.contents.one_state import settled
from requant.store.contents.paging import Part
from requant.store.contents.reading import Contents
from requant.store.contents.selection import Page, Selection
from requant.store.contents.values import Extent, ValueCount
from requant.store.contents.writing import ContentsWriter

__all__ = [
    "Contents",
    "ContentsWriter",
    "Extent",
    "Page",
    "Part",
    "Selection",
    "ValueCount",
    "items_among",
    "settled",
]
