"""What a database gives its indexes, and the paths and addresses made of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from requant.adapters.own_files import check_own, check_remote
from requant.indexes.trust import Secrets
from requant.store import IndexConfig, Store


@dataclass(frozen=True)
class Workspace:
    """What a database gives its indexes: the store, a folder, and what is told to no store."""

    store: Store
    folder: Path
    secrets: Secrets = field(repr=False)

    def folder_of(self, index: int) -> Path:
        """Return the folder of an index, by its number in the store."""
        return self.folder / str(index)

    def address_of(self, index: int, config: IndexConfig, name: str) -> str:
        """Return the path or URL at which an engine keeps an index as `name`.

        Raises CorruptIndexError, EngineError where that is no place of ours.
        """
        if config.url is None:
            return str(check_own(self.folder_of(index), name))
        return f"{config.url.rstrip('/')}/{check_remote(name)}"


def on_disk(path: Path) -> int:
    """Return the bytes that a file or folder takes: engines make files that are mostly holes."""
    found = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(_allotted(each.stat()) for each in found)


def _allotted(stat: os.stat_result) -> int:
    return 512 * stat.st_blocks if hasattr(stat, "st_blocks") else stat.st_size  # none on Windows
