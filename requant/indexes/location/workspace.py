"""What a database gives its indexes, and the paths and addresses made of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from requant.errors import StoreError
from requant.indexes.location.ownership import claim
from requant.indexes.spec import Secrets
from requant.store import Identity, IndexConfig, Store


@dataclass(frozen=True)
class Workspace:
    """What a database gives its indexes: the store, a folder, and what is told to no store."""

    store: Store
    folder: Path
    secrets: Secrets = field(repr=False)
    identity: Identity

    def claim(self) -> None:
        """Make the folder ours before anything is put into it; raises StoreError."""
        if not claim(self.folder, self.identity):
            raise StoreError(
                f"{self.folder} holds indexes of another database by now: close this one and open "
                "it again, or give it a folder of its own by requant.open(folder=...)"
            )

    def folder_of(self, index: int) -> Path:
        """Return the folder of an index, by its number in the store."""
        return self.folder / str(index)

    def address_of(self, index: int, config: IndexConfig, name: str) -> str:
        """Return the path or URL at which an engine keeps an index as `name`."""
        if config.url is None:
            return str(self.folder_of(index) / name)
        return f"{config.url.rstrip('/')}/{name}"


def on_disk(path: Path) -> int:
    """Return the bytes that a file or folder takes: engines make files that are mostly holes."""
    found = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(_allotted(each.stat()) for each in found)


def _allotted(stat: os.stat_result) -> int:
    return 512 * stat.st_blocks if hasattr(stat, "st_blocks") else stat.st_size  # none on Windows
