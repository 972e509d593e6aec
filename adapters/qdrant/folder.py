"""Folders of ours: marked, locked, made whole and removed whole; nobody else's is touched."""

from __future__ import annotations

import json
import os
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any, BinaryIO

from requant.adapters.errors import CorruptIndexError, EngineError, LocationTakenError
from requant.adapters.files import publish
from requant.adapters.forks import keep_from_children
from requant.adapters.qdrant.collection_layout import is_mark

MARK = "requant.json"
_LOCK = "requant.lock"
# Beyond what is ever written: Windows lets nobody read a byte that is locked.
_BYTE = 1 << 30
# Qdrant writes to mapped files, and the system kills a process that does so on a full disk. Its
# files grow by 32 MB at a time.
_RESERVE = 128 << 20


class FolderLock:
    """Says that a process works in a folder; the system lets go of it when the process ends."""

    def __init__(self, path: Path) -> None:
        """Lock the folder; raises EngineError, naming the process, if somebody else has."""
        try:
            self._file: BinaryIO | None = (path / _LOCK).open("a+b", buffering=0)
        except OSError as error:
            raise EngineError(f"cannot lock {path}: {error}") from error
        self._pid = os.getpid()
        try:
            _lock(self._file)
        except OSError as error:
            raise EngineError(
                f"process {_owner(self._file)} has the index in {path} open: close it there, or "
                "give each process an index of its own, or use a Qdrant server"
            ) from error
        try:
            self._file.truncate(0)
            self._file.write(str(self._pid).encode())
        except OSError as error:
            self._file.close()
            raise EngineError(f"cannot lock {path}: {error}") from error
        # A child would keep it locked after this process has ended.
        self._end = keep_from_children(path / _LOCK)

    def release(self) -> None:
        """Let others in. In a forked child, the lock stays the parent's."""
        file, self._file = self._file, None
        if file is None:
            return
        if os.getpid() == self._pid:
            self._end()
            _unlock(file)
        file.close()


def _owner(file: BinaryIO) -> str:
    """Return what a file says of who has locked it, and close it."""
    with file:
        try:
            file.seek(0)
            return file.read(20).decode("ascii", "replace") or "unknown"
        except OSError:
            return "unknown"


def has_room(path: Path, needed: int) -> bool:
    """Whether the disk takes `needed` bytes more, and something to spare."""
    return _free(path) >= needed + _RESERVE


def check_room(path: Path, needed: int = 0) -> None:
    """Raise EngineError unless `has_room`."""
    if not has_room(path, needed):
        free = _free(path)
        raise EngineError(
            f"the disk of {path} is nearly full, {free >> 20} MB are left of the "
            f"{(needed + _RESERVE) >> 20} MB that this may take: make room and write again"
        )


def _free(path: Path) -> int:
    try:
        return shutil.disk_usage(path).free
    except OSError as error:
        raise EngineError(f"the folder {path} has gone: {error}") from error


def reserve(path: Path, mark: dict[str, Any], overwrite: bool) -> None:
    """Make a folder with a mark in it, whole or not at all.

    Raises LocationTakenError where something stands already, unless it is ours and `overwrite`.
    """
    if _stands(path):
        if not overwrite:
            raise LocationTakenError(f"{path} exists: drop that index, or give another location")
        remove(path)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.mkdir(parents=True)
        try:
            text = json.dumps(mark, indent=1).encode()
            publish(partial / MARK, lambda target: _write(target, text))
            partial.rename(path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        if _stands(path):
            raise LocationTakenError(f"{path} exists: it was made meanwhile") from error
        raise EngineError(f"cannot make the folder {path}: {error}") from error


def read_mark(path: Path) -> Any:
    """Return the mark of a folder, None if there is no readable one."""
    if not path.exists():
        raise CorruptIndexError(f"there is no index at {path}")
    try:
        return json.loads((path / MARK).read_bytes())
    except (OSError, ValueError):
        return None


def remove(path: Path) -> None:
    """Remove a folder of ours as a whole; raises LocationTakenError if it is not ours."""
    if not _stands(path):
        return
    if not is_mark(read_mark(path)):
        raise LocationTakenError(
            f"{path} was not made by requant, so it is not removed: give another location, or "
            "remove it yourself"
        )
    lock = FolderLock(path)
    gone = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.gone")
    try:
        if os.name == "nt":
            lock.release()  # a folder with an open file in it cannot be renamed
        path.rename(gone)
        shutil.rmtree(gone)
    except OSError as error:
        raise EngineError(f"cannot remove {path}: {error}") from error
    finally:
        lock.release()


def _stands(path: Path) -> bool:
    """Whether there is anything but an empty folder."""
    if path.is_dir():
        return any(path.iterdir())
    return os.path.lexists(path)


def _write(target: str, text: bytes) -> None:
    Path(target).write_bytes(text)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        file.seek(_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _unlock(file: BinaryIO) -> None:
        file.seek(_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
