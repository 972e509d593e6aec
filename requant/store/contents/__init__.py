"""The items of one collection: what is read of them, and what is written."""

from __future__ import annotations

from requant.store.contents.reading import Contents
from requant.store.contents.writing import ContentsWriter

__all__ = ["Contents", "ContentsWriter"]
