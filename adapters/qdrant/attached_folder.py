"""The folder of somebody else's shard: copied and digested while nobody has it open."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.qdrant.folder import check_room

SEGMENTS = "segments"
_LOG = "wal"
_BLOCK = 1 << 16
_ZEROS = bytes(_BLOCK)
# What Qdrant writes to when it opens a shard, without a change to the points.
_ASIDE = {"payload_storage", "payload_index", "segment.json", "tracker_journal.dat"}


def copy(path: Path, target: Path) -> None:
    """Copy a folder while nobody has it open; raises EngineError."""
    try:
        with _alone(path):
            before = _listing(path)
            check_room(target.parent, sum(map(_on_disk, path.rglob("*"))))
            shutil.copytree(path, target, copy_function=_copy_file)
            if _listing(path) != before:
                raise EngineError(f"the shard {path} was written to while it was copied: try again")
    except (OSError, shutil.Error) as error:
        raise EngineError(f"the shard {path} cannot be copied to {target}: {error}") from error


def _listing(path: Path) -> dict[Path, tuple[int, int]]:
    """Return the size and the time of each file."""
    found = {file: file.stat() for file in path.rglob("*") if file.is_file()}
    return {file: (stat.st_size, stat.st_mtime_ns) for file, stat in found.items()}


def _on_disk(file: Path) -> int:
    """Return the bytes that a file takes, which are fewer than its size where it has holes."""
    stat = file.stat()
    return int(stat.st_blocks) * 512 if hasattr(stat, "st_blocks") else stat.st_size


def _copy_file(source: str, target: str) -> None:
    """Copy without the zeros: Qdrant reserves 32 MB for the smallest file."""
    with Path(source).open("rb") as old, Path(target).open("wb") as new:
        while block := old.read(_BLOCK):
            if block == _ZEROS[: len(block)]:
                new.seek(len(block), os.SEEK_CUR)
            else:
                new.write(block)
        new.truncate(old.tell())


def stamp_of(path: Path) -> str:
    """Return the size and a digest of what is in the files of the points, and in the log.

    Not of times, nor of what Qdrant writes whenever its owner opens the shard. A merge of segments
    counts as a change. Without a log a shard has no lock, and one that is open is not noticed.
    Raises CorruptIndexError, EngineError.
    """
    if not (path / SEGMENTS).is_dir():
        raise CorruptIndexError(f"no shard of qdrant-edge stands at {path} any more")
    digest, size = hashlib.sha256(), 0
    try:
        with _alone(path):
            before = _listing(path)
            for file in sorted(before):
                name = file.relative_to(path)
                if name.parts[0] not in (SEGMENTS, _LOG) or _ASIDE & set(name.parts):
                    continue
                digest.update(f"{name.as_posix()}:{before[file][0]}:".encode())
                size += _feed(digest.update, file)
            if _listing(path) != before:
                raise EngineError(f"the shard {path} is being written to: try again")
    except OSError as error:
        raise EngineError(f"the shard {path} cannot be read: {error}") from error
    return f"bytes={size} sha256={digest.hexdigest()}"


def _feed(update: Callable[[bytes], object], file: Path) -> int:
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            update(block)
        return opened.tell()


if sys.platform == "win32":

    @contextmanager
    def _alone(path: Path) -> Iterator[None]:
        """Do nothing: Qdrant does not lock folders here."""
        yield
else:
    import fcntl

    @contextmanager
    def _alone(path: Path) -> Iterator[None]:
        """Take Qdrant's own lock of the log, beside other readers; a shard without log has none."""
        if not (path / _LOG).is_dir():
            yield
            return
        descriptor = os.open(path / _LOG, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise EngineError(
                    f"another program has the shard {path} open: close it there"
                ) from error
            yield
        finally:
            os.close(descriptor)
