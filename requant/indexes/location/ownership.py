"""Whose folder of indexes it is: two databases that are given one folder do not share its files."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from requant.store import Identity

_OWNER = "requant.json"


def folder_for(folder: Path, identity: Identity) -> Path:
    """Return `folder`, or a folder of our own in it where it is another database's.

    The folder of a copied database, which was copied along, becomes the copy's.
    """
    owner = _read(folder)
    if owner is None or owner.get("database") == identity.name:
        return folder
    copied_along = identity.knows(owner.get("database", "")) and not _is_where_it_was(folder, owner)
    if copied_along:
        _write(folder, identity)
        return folder
    return folder / identity.name[:16]


def claim(folder: Path, identity: Identity) -> bool:
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
