"""SQLite's file read through a mapping, by readers that fetch rows here and there.

A row costs a copy in memory then, instead of a system call for a page. `places` tells where that is
safe, `regions` keeps the kernel from reading megabytes ahead of each row, and `mapped` is what a
reader has. Elsewhere, and for whatever reads much at a time, all is as SQLite does it by itself.
"""

from __future__ import annotations

from requant.store.mapping.mapped import Mapped
from requant.store.mapping.places import may_be_mapped

__all__ = ["Mapped", "may_be_mapped"]
