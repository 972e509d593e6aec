"""Files and folders of our own: told by their names, and never reached through a link."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from requant.adapters.errors import CorruptIndexError, EngineError

# 32 hex digits and the engine; with a dot before and more behind while it is being written.
_OWN = re.compile(r"[0-9a-f]{32}\.[A-Za-z0-9_.-]{1,64}")
_IN_THE_MAKING = re.compile(r"\.?[0-9a-f]{32}\.[A-Za-z0-9_.-]{1,96}")
# On a server: as it was asked for, or made of the names of collection and index.
_REMOTE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,299}")
LOCK = "turn.lock"


def check_own(folder: Path, name: str) -> Path:
    """Return the path of what we keep in `folder` as `name`.

    Raises CorruptIndexError where we name nothing like that (a database of unknown origin may say
    `../../other`), and EngineError where a link leads elsewhere.
    """
    if not _OWN.fullmatch(name):
        raise CorruptIndexError(f"{name[:80]!r} is no name that requant gives to a file")
    refuse_link(folder)
    path = folder / name
    refuse_link(path)
    return path


def check_remote(name: str) -> str:
    """Return the name of an index on a server; raises CorruptIndexError for anything else.

    >>> check_remote("requant-notes-main-0a1b2c3d")
    'requant-notes-main-0a1b2c3d'
    """
    if not _REMOTE.fullmatch(name) or ".." in name:
        raise CorruptIndexError(f"{name[:80]!r} is no name that requant gives to an index")
    return name


def refuse_link(path: Path) -> None:
    """Raise EngineError if `path` is a link: what it leads to is somebody else's."""
    if path.is_symlink() or (hasattr(path, "is_junction") and path.is_junction()):
        raise EngineError(
            f"{path} is a link, and requant follows none inside its folder of indexes: remove it "
            "(the index is made again), or let the whole folder be elsewhere by "
            "requant.open(folder=...)"
        )


def own_entries(folder: Path) -> Iterator[Path]:
    """Yield what stands in `folder` under names of ours; nothing if it is a link, or gone."""
    if folder.is_symlink():
        return
    for path in folder.glob("*"):
        if _IN_THE_MAKING.fullmatch(path.name) and not path.is_symlink():
            yield path


def clear(folder: Path) -> None:
    """Remove what is ours in `folder`, and the folder unless something else stands in it."""
    for path in own_entries(folder):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)  # which follows no links either
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    if folder.is_symlink():
        return
    with contextlib.suppress(OSError):
        (folder / LOCK).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
