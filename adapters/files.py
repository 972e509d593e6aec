"""Files that are whole or absent: written beside, synced, renamed, and digested."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from requant.adapters.errors import CorruptIndexError

# More than any library keeps back before it closes a file.
_ROOM = 1 << 16


@dataclass(frozen=True)
class Digest:
    """The size in bytes and the SHA-256 of a file."""

    bytes: int
    sha256: str


def publish(path: Path, write: Callable[[str], None]) -> Digest:
    """Let `write` fill a file beside `path`, make it durable, move it there; return its digest.

    Whatever goes wrong, `path` is either the whole new file or untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")
    try:
        write(str(partial))
        _check_room(partial)
        digest = digest_of(partial)
        _sync(partial)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        raise
    _sync(path.parent)
    return digest


def _check_room(path: Path) -> None:
    """Raise OSError on a full disk: engines may lose the end of a file there without a word."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.write(bytes(_ROOM))
        file.flush()
        file.truncate(size)


def digest_of(path: Path) -> Digest:
    """Return the size and SHA-256 of a file."""
    with path.open("rb") as file:
        sha = hashlib.sha256()
        while block := file.read(1 << 20):
            sha.update(block)
        return Digest(file.tell(), sha.hexdigest())


def check_digest(path: Path, expected: Digest) -> None:
    """Raise CorruptIndexError unless `path` is the file that was published.

    Engines crash on a flipped bit (usearch) or load it silently (FAISS), so no engine may see a
    file before this.
    """
    if not path.exists():
        raise CorruptIndexError(f"{path} is missing")
    size = path.stat().st_size
    if size != expected.bytes:
        raise CorruptIndexError(f"{path} has {size} bytes, {expected.bytes} were written")
    if digest_of(path) != expected:
        raise CorruptIndexError(f"{path} is damaged: its SHA-256 is not the one written")


def _sync(path: Path) -> None:
    flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) if path.is_dir() else os.O_RDWR
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder; its rename is durable by the journal.
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
