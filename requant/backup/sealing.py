"""The seal of a backup: what it is, and that no byte of it has changed.

The first 16 bytes are ours instead of SQLite's, so that nothing opens a backup as a database and
writes to it. Behind the database stand a line of JSON, which describes it, and the SHA-256 of all
that comes before.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from requant.errors import CorruptDataError, StoreError

_SQLITE = b"SQLite format 3\0"
_MAGIC = b"requant backup 1"
_ANY_FORMAT = b"requant backup "
_SHA_LINE = 65
_LONGEST_LINE = 1 << 24
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Backup:
    """What a backup says of itself.

    `made` is its time (ISO 8601, UTC), `requant` the version that made it, `database` where it
    came from ("sqlite" or "postgresql"), `indexes` the numbers of the indexes whose files it
    carries, and `bytes` the size of the database in it.
    """

    made: str
    requant: str
    schema: int
    database: str
    collections: int
    items: int
    indexes: tuple[int, ...]
    bytes: int


def seal(path: Path, backup: Backup) -> None:
    """Make a backup of a SQLite file that nobody has open."""
    line = json.dumps(asdict(backup)).encode()
    with path.open("r+b") as file:
        file.write(_MAGIC)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + line + b"\n")
        end = file.tell()
        file.seek(0)
        sha = _hashed(file, end)
        file.write(sha.encode() + b"\n")


def unseal(path: Path, target: Path) -> Backup:
    """Copy the database in a backup to `target`, and check every byte on the way.

    Raises:
        CorruptDataError: no backup, or one that is damaged or cut off.
        StoreError: it has a format that a later requant has made.
    """
    with path.open("rb") as source, target.open("wb") as copy:
        _check_magic(path, source.read(len(_MAGIC)))
        end = source.seek(0, os.SEEK_END) - _SHA_LINE
        source.seek(0)
        sha = _hashed(source, end, copy)
        if source.read() != sha.encode() + b"\n":
            raise CorruptDataError(
                f"{path} is damaged or cut off: its SHA-256 is not the one written; use another "
                "backup"
            )
    backup = _described(path, end)
    with target.open("r+b") as file:
        file.truncate(backup.bytes)
        file.write(_SQLITE)
    return backup


def _check_magic(path: Path, found: bytes) -> None:
    if found == _MAGIC:
        return
    if found.startswith(_ANY_FORMAT):
        raise StoreError(f"{path} was made by a later requant: upgrade requant")
    raise CorruptDataError(f"{path} is not a backup that requant has made, or its head is damaged")


def _hashed(source: BinaryIO, end: int, copy: BinaryIO | None = None) -> str:
    """Return the SHA-256 of what is before `end`, writing it to `copy` as well."""
    sha = hashlib.sha256()
    while block := source.read(min(_BLOCK, max(end - source.tell(), 0))):
        sha.update(block)
        if copy is not None:
            copy.write(block)
    return sha.hexdigest()


def _described(path: Path, end: int) -> Backup:
    """Return what the line before `end` says; it is as it was written, by its digest."""
    with path.open("rb") as file:
        file.seek(max(0, end - _LONGEST_LINE))
        line = file.read(end - file.tell()).rstrip(b"\n").rpartition(b"\n")[2]
    try:
        values = json.loads(line)
        return Backup(**{**values, "indexes": tuple(values["indexes"])})
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptDataError(f"{path} does not say what is in it: {error}") from error
