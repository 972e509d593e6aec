"""The archives that txtai packs an index into."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from requant.integration.errors import SourceError

_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive."""
    return path.is_file() and path.name.lower().endswith((*_TAR, ".zip"))


def members(path: Path) -> list[str]:
    """Return the names at the top of an archive, of folders too; raises SourceError."""
    with _told(path):
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as packed:
                names = packed.namelist()
        else:
            with tarfile.open(path) as archive:
                names = archive.getnames()
    return list(dict.fromkeys(_parts(name)[0] for name in names if _parts(name)))


def unpack(path: Path, names: Sequence[str], folder: Path) -> None:
    """Copy the files of these names, at the top of an archive, into a folder.

    The names are the caller's, so nothing in the archive chooses where a file goes.
    """
    with _told(path):
        for name, stream in _streams(path):
            parts = _parts(name)
            if len(parts) == 1 and parts[0] in names:
                with (folder / parts[0]).open("wb") as copy:
                    shutil.copyfileobj(stream, copy)


def _streams(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as packed:
            for entry in packed.infolist():
                if not entry.is_dir():
                    with packed.open(entry) as stream:
                        yield entry.filename, stream
        return
    with tarfile.open(path) as archive:
        for member in archive:
            # Links are not followed: they may lead out of the archive.
            found = archive.extractfile(member) if member.isreg() else None
            if found is not None:
                yield member.name, found


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise SourceError(f"{path} cannot be unpacked: {error or type(error).__name__}") from error
