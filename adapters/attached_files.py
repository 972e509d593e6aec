"""Files that other programs keep: whether they were written to, and a stamp of what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.files import digest_of


class FileState(NamedTuple):
    """What changes when a file is written to, and when another one takes its place."""

    inode: int
    bytes: int
    changed: int


class Mapped:
    """The files that an index maps: once they are written to, nothing may be asked any more."""

    def __init__(self, *paths: Path) -> None:
        """Remember the files as they are; raises CorruptIndexError if one cannot be read."""
        self._states = {path: state_of(path) for path in paths}

    def check(self) -> None:
        """Raise EngineError if a file was written to.

        One that took its place by a rename is of no account: the mapped one is still there.
        """
        for path, state in self._states.items():
            try:
                now = state_of(path)
            except CorruptIndexError:
                continue  # removed, and still mapped
            if now != state and now.inode == state.inode:
                raise EngineError(
                    f"{path} was written to since it was attached: attach it again, or with "
                    "params={'mmap': False}"
                )


def state_of(path: Path) -> FileState:
    """Return the state of a file; raises CorruptIndexError if there is none."""
    try:
        found = path.stat()
    except OSError as error:
        raise CorruptIndexError(f"{path} cannot be read: {error}") from error
    return FileState(found.st_ino, found.st_size, found.st_mtime_ns)


def stamp_of(*paths: Path) -> str:
    """Return the size, the time of the last change and the SHA-256 of files, as text.

    Nothing escapes it, and a file that was only touched, or copied without its time, counts as
    changed. Raises CorruptIndexError where one cannot be read, EngineError where it is being
    written to.
    """
    return "; ".join(_stamp(path) for path in paths)


def _stamp(path: Path) -> str:
    before = state_of(path)
    try:
        digest = digest_of(path)
    except OSError as error:
        raise CorruptIndexError(f"{path} cannot be read: {error}") from error
    if state_of(path) != before:
        raise EngineError(f"{path} is being written to: try again")
    return f"bytes={digest.bytes} mtime_ns={before.changed} sha256={digest.sha256}"
