"""What a database gives its indexes, and the paths and addresses made of it.

Two databases that are given one folder do not share its files: the second gets a folder in it.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from requant.adapters.hosts import folder_of
from requant.adapters.own_files import check_own, check_remote
from requant.errors import StoreError
from requant.indexes.folders import is_admitted, is_within
from requant.indexes.memory import Room
from requant.indexes.trust import Secrets
from requant.store import Identity, IndexConfig, Store

_OWNER = "requant.json"


@dataclass(frozen=True)
class Workspace:
    """What a database gives its indexes: the store, a folder, and what is told to no store.

    `room` is the memory that the vectors of its collections may take.
    """

    store: Store
    folder: Path
    secrets: Secrets = field(repr=False)
    identity: Identity
    room: Room = field(default_factory=Room, repr=False)

    def claim(self) -> None:
        """Make the folder ours before anything is put into it; raises StoreError."""
        if not _claim(self.folder, self.identity):
            raise StoreError(
                f"{self.folder} holds indexes of another database by now: close this one and open "
                "it again, or give it a folder of its own by requant.open(folder=...)"
            )

    def owns_folder(self) -> bool:
        """Whether what is in the folder is ours to remove."""
        return folder_for(self.folder, self.identity, write=False) == self.folder

    def folder_of(self, index: int) -> Path:
        """Return the folder of an index, by its number in the store."""
        return self.folder / str(index)

    def foreign_folder(self, config: IndexConfig) -> Path | None:
        """Return the folder of an index if nobody but the store has named it, else None.

        It is outside of our own, the caller has not named it, and it was not given to us before.
        """
        folder = folder_of(config.url)
        if folder is None or self.secrets.covers(folder) or is_within(folder, self.folder):
            return None
        return None if is_admitted(folder, self.identity) else folder

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


def folder_for(folder: Path, identity: Identity, *, write: bool = True) -> Path:
    """Return `folder`, or a folder of our own in it where it is another database's.

    The folder of a copied database, which was copied along, becomes the copy's: that is written
    into it, unless nothing is to be written.
    """
    owner = _read(folder)
    if owner is None and folder.is_dir() and write:
        _write(folder, identity)  # by a version that did not say whose it is
    if owner is None or owner.get("database") == identity.name:
        return folder
    copied_along = identity.knows(owner.get("database", "")) and not _is_where_it_was(folder, owner)
    if copied_along:
        if write:
            _write(folder, identity)
        return folder
    return folder / identity.name[:16]


def _claim(folder: Path, identity: Identity) -> bool:
    """Make a folder ours before anything is put into it; whether it is."""
    owner = _read(folder)
    if owner is None:
        _write(folder, identity)
        owner = _read(folder)
    return owner is None or owner.get("database") == identity.name


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / _OWNER).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(folder: Path, identity: Identity) -> None:
    with contextlib.suppress(OSError):  # what is put there says more clearly why it cannot be
        folder.mkdir(parents=True, exist_ok=True)
        place = folder.resolve()
        owner = {"database": identity.name, "path": str(place), "inode": place.stat().st_ino}
        partial = folder / f".{_OWNER}.{identity.name[:8]}"
        partial.write_text(json.dumps(owner))
        partial.replace(folder / _OWNER)


def _is_where_it_was(folder: Path, owner: dict[str, Any]) -> bool:
    place = folder.resolve()
    return owner.get("path") == str(place) and owner.get("inode") == place.stat().st_ino
