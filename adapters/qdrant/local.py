"""The client's local mode: brute force in Python, for tests and small collections.

Its own folders hold pickles, which requant never loads: an index is kept in memory, and `flush`
writes one NumPy file.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from qdrant_client import QdrantClient

from requant.adapters.errors import CorruptIndexError, EngineError, LocationTakenError
from requant.adapters.files import publish
from requant.adapters.guards import check_codes, check_keys
from requant.adapters.locks import Sharing
from requant.adapters.protocol import IndexSpec, Keys
from requant.adapters.qdrant.client import ClientConnection, Manner
from requant.adapters.qdrant.codec import codes_of, vectors_of
from requant.adapters.qdrant.collection import settings_of
from requant.adapters.qdrant.collection_layout import Layout, check_mark, mark_of
from requant.quantizers.arrays import Codes

T = TypeVar("T")
_NAME = "requant"
_PAGE = 8192
# RuntimeError: a flag in an archive says that it is encrypted, or compressed in some new way.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile)


class LocalConnection(ClientConnection):
    """A collection in memory; it is not safe to use in two threads at once."""

    sharing: Sharing = "none"
    alone = True
    tunable = False  # it warns of search parameters

    def __init__(self, spec: IndexSpec, layout: Layout, path: Path | None) -> None:
        """Begin empty."""
        client = _run(lambda: QdrantClient(":memory:"))
        super().__init__(client, _NAME, _run, Manner())
        self._spec = spec
        self._path = path
        self._note: str | None = None
        self._in_file: str | None = None
        _run(lambda: client.create_collection(_NAME, **settings_of(layout)))

    def flush(self) -> None:
        """Replace the file by a new one."""
        if self._path is not None:
            try:
                publish(self._path, self._save)
                self._in_file = self._note
            except OSError as error:
                raise EngineError(f"cannot write {self._path}: {error}") from error

    def note(self, text: str) -> None:
        """Keep the text with what `flush` will write: until then, the file is another's to see."""
        self._note = text

    def noted(self) -> str | None:
        """Return the text: that of the file, if somebody else has written it anew."""
        found = noted_at(self._spec, self._path) if self._path is not None else self._in_file
        return self._note if found == self._in_file else found

    def refill(self, keys: Keys, codes: Codes, note: str | None) -> None:
        """Take in what `flush` wrote."""
        self._note = self._in_file = note
        for start in range(0, len(keys), _PAGE):
            part = slice(start, start + _PAGE)
            self.upsert(iter([(keys[part].tolist(), vectors_of(codes[part], self._spec))]))

    def _save(self, target: str) -> None:
        keys, codes, start = [], [], None
        while True:
            records, start = self.scroll(start, _PAGE)
            if records:
                keys += [record.id for record in records]
                codes.append(codes_of([record.vector for record in records], self._spec))
            if start is None:
                break
        code = self._spec.code
        with Path(target).open("wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                requant=np.array(json.dumps(mark_of(self._spec))),
                note=np.array(json.dumps(self._note)),
                keys=np.array(keys, np.int64),
                codes=np.concatenate(codes) if codes else np.empty((0, code.width), code.dtype),
            )


def create(spec: IndexSpec, layout: Layout, path: Path | None, overwrite: bool) -> LocalConnection:
    """Begin an index, and hold its place with a file."""
    if path is not None and (path.exists() or path.is_symlink()):
        if not overwrite:
            raise LocationTakenError(f"{path} exists: drop that index, or give another location")
        remove(path)
    connection = LocalConnection(spec, layout, path)
    connection.flush()
    return connection


def load(spec: IndexSpec, layout: Layout, path: Path | None) -> LocalConnection:
    """Open what `flush` wrote."""
    if path is None:
        raise CorruptIndexError("an index in memory is gone when it is closed: create it again")
    keys, codes, note = _read(path, spec)
    connection = LocalConnection(spec, layout, path)
    connection.refill(keys, codes, note)
    return connection


def noted_at(spec: IndexSpec, path: Path | None) -> str | None:
    """Return the text of a file, None if it is not one of ours."""
    if path is None or not _is_ours(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return json.loads(str(file["note"])) if "note" in file else None
    except _DAMAGE:
        return None


def remove(path: Path | None) -> None:
    """Remove a file of ours; raises LocationTakenError if it is not ours."""
    if path is None or not (path.exists() or path.is_symlink()):
        return
    if not _is_ours(path):
        raise LocationTakenError(
            f"{path} was not made by requant, so it is not removed: give another location, or "
            "remove it yourself"
        )
    path.unlink()


def _read(path: Path, spec: IndexSpec) -> tuple[Keys, Codes, str | None]:
    if not path.exists():
        raise CorruptIndexError(f"there is no index at {path}")
    if not _is_ours(path):
        raise CorruptIndexError(f"{path} is not an index that requant made")
    try:
        with np.load(path, allow_pickle=False) as file:
            check_mark(json.loads(str(file["requant"])), spec, str(path))
            keys = check_keys(file["keys"])
            note = json.loads(str(file["note"])) if "note" in file else None
            return keys, check_codes(file["codes"], spec, len(keys)), note
    except _DAMAGE as error:
        raise CorruptIndexError(f"{path} cannot be read: {error}") from error


def _is_ours(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            return "requant.npy" in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _run(call: Callable[[], T], *, repeat_slow: bool = True) -> T:
    """Call local mode, which raises whatever Python raises; nothing is repeated."""
    try:
        return call()
    except EngineError:
        raise
    except Exception as error:
        raise EngineError(f"qdrant's local mode failed: {type(error).__name__}: {error}") from error
